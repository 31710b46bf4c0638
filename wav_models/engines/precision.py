"""Which number format the networks run in."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

from wav_models.configuration import check_choice, parse_json
from wav_models.data.durable import write_json

PRECISIONS: Final = ("auto", "fp32", "bf16", "fp16", "fp8", "int8")
"""What can be asked for; which of them there are depends on the engine. torch has "fp32", "bf16" and "fp8"."""
PAYS: Final = 0.75
"""Share of the time of a float32 product up to which bf16 pays: what lies between products gains nothing from it."""
EXACT_BYTES: Final = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
"""Flags of x86 processors that add up products of 8-bit numbers in 32 bits."""
GEMM: Final = (768, 192, 768)
"""Rows, inputs and outputs of the measured product, about those of `wav-tiny`."""
REPEATS: Final = 10


def choose_dtype(name: str, device: str) -> str:
    """What torch shall run in; "auto" is bf16 where it pays.

    Raises:
        ValueError: the name is none of `PRECISIONS`.
    """
    check_choice("dtype", name, PRECISIONS)
    return native_dtype(device) if name == "auto" else name


def native_dtype(device: str) -> str:
    """The fastest format of a device that keeps the plans: bf16 with tensor cores, or where a processor is measured to
    multiply it faster; else fp32.

    A processor is measured once and the answer kept in the user's cache, so that every start decides alike.
    """
    if device == "cpu":
        return "bf16" if _bf16_pays() else "fp32"
    import torch

    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"


def user_cache() -> Path:
    """Directory for what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wav_policy"


def processor_name() -> str:
    """Model of the processor."""
    return _told_by_processor("model name") or platform.machine()


def weight_bits() -> int:
    """Of weights in int8: 8; 7 where an x86 processor adds two products of bytes in 16 bits, which overflow."""
    flags = _told_by_processor("flags").split()
    return 7 if flags and EXACT_BYTES.isdisjoint(flags) else 8


def _told_by_processor(what: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(what)), "")


@cache
def _bf16_pays() -> bool:
    import torch

    path, key = user_cache() / "bf16.json", f"{processor_name()}, torch {torch.__version__}"
    try:
        known = parse_json(path.read_text(encoding="utf-8"))
        if isinstance(known[key], float):
            return bool(known[key] <= PAYS)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not measured yet, or not by this version
    share = bf16_share()
    with suppress(OSError):  # measured again at the next start
        write_json(path, {key: share})
    return share <= PAYS


def bf16_share(clock: Callable[[], float] = time.perf_counter) -> float:
    """Time of a bf16 linear layer on the processor as a share of that in fp32: shortest of calls in turns."""
    import torch

    rows, inputs, outputs = GEMM
    seconds: dict[torch.dtype, float] = {}
    for _ in range(REPEATS):
        for dtype in (torch.float32, torch.bfloat16):
            x, weight = torch.ones(rows, inputs, dtype=dtype), torch.ones(outputs, inputs, dtype=dtype)
            began = clock()
            torch.nn.functional.linear(x, weight)
            seconds[dtype] = min(seconds.get(dtype, float("inf")), clock() - began)
    return seconds[torch.bfloat16] / seconds[torch.float32]
