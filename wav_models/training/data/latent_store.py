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

from wav_models.types import IndexArray

LatentArray = NDArray[np.float16]


@dataclass(frozen=True)
class LatentStore:
    """Standardised latents of N steps, float16; as files they stay memory-mapped, shared by all workers.

    Attributes:
        images: every image on its own, shape [N, V, L, C]; of every encoding, the plain one first.
        windows: the last W latents of the future seen from every step, shape [N, V, W, L, C]; W may be 0.
    """

    images: tuple[LatentArray, ...]
    windows: tuple[LatentArray, ...]

    def memory(self, rows: IndexArray, encodings: IndexArray | None = None) -> LatentArray:
        """Single images at the steps `rows` [B, F], in each sample's encoding [B], or plain -> [B, V, F, L, C]."""
        return _read(self.images, rows, encodings).swapaxes(1, 2)

    def future(self, steps: IndexArray, rows: IndexArray, encodings: IndexArray | None = None) -> LatentArray:
        """Futures seen from `steps` [B], whose latents end at the steps `rows` [B, F] -> [B, V, F, L, C]."""
        singles = rows.shape[1] - self.windows[0].shape[2]
        windows = _read(self.windows, steps, encodings)
        return np.concatenate([self.memory(rows[:, :singles], encodings), windows], axis=2)


def _read(arrays: tuple[LatentArray, ...], rows: IndexArray, encodings: IndexArray | None) -> LatentArray:
    """Rows [B, ...] of the array that each sample's encoding [B] names; of the first where none is named."""
    if encodings is None:
        return arrays[0][rows]
    latents = np.empty((*rows.shape, *arrays[0].shape[1:]), np.float16)
    for encoding, array in enumerate(arrays):
        chosen = encodings == encoding
        latents[chosen] = array[rows[chosen]]
    return latents
