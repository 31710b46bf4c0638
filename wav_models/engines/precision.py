"""Which number format the networks run in."""

from __future__ import annotations

from typing import Final

from wav_models.configuration import did_you_mean

PRECISIONS: Final = ("auto", "fp32", "bf16", "fp16", "fp8", "int8")
"""What can be asked for; which of them there are depends on the engine. torch has "fp32", "bf16" and "fp8"."""


def choose_dtype(name: str, device: str) -> str:
    """What torch shall run in; "auto" is bf16 where the processor multiplies it in hardware, so that it pays.

    Raises:
        ValueError: the name is none of `PRECISIONS`.
    """
    if name not in PRECISIONS:
        raise ValueError(f"unknown dtype {name!r}{did_you_mean(name, PRECISIONS)}")
    return native_dtype(device) if name == "auto" else name


def native_dtype(device: str) -> str:
    """The fastest format of a device that keeps the plans: bf16 with tensor cores or AMX tiles, else fp32."""
    import torch

    if device == "cpu":
        return "bf16" if torch.cpu._is_amx_tile_supported() else "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
