"""Random draws as a function of their place: (seed, purpose, step, worker) decides every number.

There is no generator state to save, so a resumed run draws what the uninterrupted one would have drawn.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wav_models.training.transfer import to_device


@dataclass(frozen=True)
class RngStreams:
    """The generators of one step on one worker."""

    torch: torch.Generator
    numpy: np.random.Generator


def streams_at(seed: int, purpose: str, step: int, rank: int = 0) -> RngStreams:
    """Independent generators for one place."""
    sequence = np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), step, rank])
    first, second = sequence.spawn(2)
    generator = torch.Generator().manual_seed(int(first.generate_state(1, np.uint64)[0] >> np.uint64(1)))
    return RngStreams(generator, np.random.Generator(np.random.PCG64(second)))


def normal(shape: torch.Size | tuple[int, ...], streams: RngStreams, device: torch.device) -> Tensor:
    """Standard normal numbers, drawn on the CPU so that they do not depend on the device."""
    return to_device(torch.randn(shape, generator=streams.torch, device="cpu"), device)
