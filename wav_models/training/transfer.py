"""From the host's memory to a GPU's, without a wait."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """`x` of the host, there. A GPU fetches it when its turn comes, while the host goes on; from memory that is not
    pinned the host would wait until the GPU has done all it was told before."""
    return (x.pin_memory() if device.type == "cuda" else x).to(device, non_blocking=True)
