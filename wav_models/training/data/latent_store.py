"""Latents of all steps, as the stages read them.

Memory frames are encoded one by one, and so is the first image of a future: what a causal auto-encoder makes of it does
not depend on those that follow. The other latents of a future cover several images each (`temporal_compression`), which
no two steps share, so every step has its own. With one image a latent there are none of these: all latents, of memory
and of futures, are then found among those of single images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
LatentArray = NDArray[np.float16]


@dataclass(frozen=True)
class LatentStore:
    """Standardised latents of N steps, float16; as files they stay memory-mapped, shared by all workers.

    Attributes:
        images: every image on its own, shape [N, V, L, C].
        windows: the last W latents of the future seen from every step, shape [N, V, W, L, C]; W may be 0.
    """

    images: LatentArray
    windows: LatentArray

    def __len__(self) -> int:
        return len(self.images)

    def memory(self, rows: IntArray) -> LatentArray:
        """Single images at the steps `rows` [B, F] -> [B, V, F, L, C]."""
        return self.images[rows].swapaxes(1, 2)

    def future(self, steps: IntArray, rows: IntArray) -> LatentArray:
        """Futures seen from `steps` [B], whose latents end at the steps `rows` [B, F] -> [B, V, F, L, C]."""
        singles = rows.shape[1] - self.windows.shape[2]
        return np.concatenate([self.memory(rows[:, :singles]), self.windows[steps]], axis=2)
