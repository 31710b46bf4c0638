"""One run of the GPU benchmark: its device, its clock, its results."""

from __future__ import annotations

import gc
import json
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from wav_models.presets import ModelConfig, get_preset

RESULTS = "gpu.jsonl"
T = TypeVar("T")


@dataclass(frozen=True)
class Times:
    """Durations of one thing done repeatedly [ms]."""

    milliseconds: Sequence[float]

    @property
    def p50(self) -> float:
        return float(np.percentile(self.milliseconds, 50))

    @property
    def p99(self) -> float:
        """Between the two longest, of fewer than a hundred."""
        return float(np.percentile(self.milliseconds, 99))


@dataclass
class Session:
    """What the phases share.

    Attributes:
        device: what is measured.
        preset: of the model whose times count; correctness is shown on "wav-tiny".
        seconds: the time that all phases may take.
        out: where the results go, one JSON object a line, as soon as each is there.
        facts: what a later phase builds on, e.g. "gemm_flops" [1/s].
        began: when the time began, by the monotonic clock [s]; earlier than here where another process began it.
    """

    device: torch.device
    preset: str
    seconds: float
    out: Path
    facts: dict[str, Any] = field(default_factory=dict)
    began: float = field(default_factory=lambda: time.monotonic())

    def __post_init__(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / RESULTS).open("a").close()  # what cannot be written is known before anything is measured

    @property
    def config(self) -> ModelConfig:
        return get_preset(self.preset)

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """M, N of the plans that are timed: as on the robot, and as published."""
        return ((8, 4), (30, 5)) if self.on_gpu else ((3, 2),)

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    @property
    def left(self) -> float:
        return self.seconds - self.elapsed

    def say(self, result: str, **values: Any) -> None:
        """Print one result and keep it."""
        row = {"seconds": round(self.elapsed, 1), "result": result, **{k: _rounded(v) for k, v in values.items()}}
        line = json.dumps(row)
        print(line, flush=True)
        with (self.out / RESULTS).open("a") as file:
            file.write(line + "\n")

    def rows(self) -> list[dict[str, Any]]:
        """All results there are, also of other processes."""
        return [json.loads(line) for line in (self.out / RESULTS).read_text().splitlines()]

    def judge(self, holds: bool, result: str, otherwise: str, **values: Any) -> None:
        """As `say`; what does not hold begins with FAILED."""
        self.say(result if holds else f"FAILED: {otherwise}", **values)

    def attempt(self, work: Callable[[], T], **what: Any) -> T | None:
        """What `work` returns; what it raises, as where the memory does not hold it, is a result too, and None.

        Args:
            what: names it in that result.

        Raises:
            RuntimeError: the device is lost.
        """
        try:
            return work()
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            said = f"{type(error).__name__}: {error}"[:400]
            self.say("FAILED", **what, error=said, at=f"{Path(place.filename).name}:{place.lineno}")
            return None
        finally:
            self.forget()

    def wait(self) -> None:
        """Until the device has done what it was told."""
        if self.on_gpu:
            torch.cuda.synchronize()

    def time(self, work: Callable[[], Any], repeat: int = 5, warm: int = 2, limit: float | None = None) -> Times:
        """Of `work`, by CUDA events on a GPU; elsewhere once, to see that it runs.

        Args:
            repeat: how often it is timed, after `warm` times untimed.
            limit: no further repeat after this long [s].
        """
        if not self.on_gpu:  # what it takes there is of no interest
            repeat, warm = 1, 0
        for _ in range(warm):
            work()
        self.wait()
        times: list[float] = []
        began = time.monotonic()
        while len(times) < repeat and (not times or limit is None or time.monotonic() - began < limit):
            times.append(self._once(work))
        return Times(times)

    def _once(self, work: Callable[[], Any]) -> float:
        if not self.on_gpu:
            start = time.perf_counter()
            work()
            return 1e3 * (time.perf_counter() - start)
        start_event, end_event = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start_event.record()
        work()
        end_event.record()
        end_event.synchronize()
        return float(start_event.elapsed_time(end_event))

    def forget(self) -> None:
        """Give back memory that nothing uses, and count the peak anew.

        Compiled and recomputed blocks refer to themselves, and their memory is free only where Python has looked.
        """
        if self.on_gpu:
            gc.collect()
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peak_gigabytes(self) -> float:
        """Of the device's memory since `forget`; 0 on a CPU."""
        return torch.cuda.max_memory_allocated() / 1e9 if self.on_gpu else 0.0


def relative_error(found: Tensor, expected: Tensor) -> float:
    """|found - expected| / |expected|; NaN where a number is not finite, which is below no tolerance."""
    found, expected = found.double().cpu(), expected.double().cpu()
    return float((found - expected).norm() / expected.norm())


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, (list, tuple)) else value
