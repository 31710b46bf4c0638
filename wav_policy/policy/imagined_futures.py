"""All futures of a planning round as one picture: small, best first, with scores, the one that is acted on framed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np

from wav_models.types import FloatArray, ImageArray

COLUMNS: Final = 8
TILE: Final = (160, 90)
"""Width and height of one future [px]."""
CAPTION: Final = 36
"""Height of the lines with its score and value [px]."""
TAKEN_COLOUR: Final = (47, 190, 80)
_BACKGROUND: Final = 30
_TEXT_COLOUR: Final = (230, 230, 230)
_FRAME: Final = 3


@dataclass(frozen=True)
class ImaginedFutures:
    """Futures of one round.

    Attributes:
        images: how each of them ends, uint8 RGB, shape [M, H, W, 3].
        scores: shape [M]; the higher the better.
        values: mean predicted value of each, shape [M].
        taken: index of the one that is acted on; None where that is none of them.
    """

    images: ImageArray
    scores: FloatArray
    values: FloatArray
    taken: int | None


def contact_sheet(futures: ImaginedFutures) -> ImageArray:
    """Best first, eight in a row, with score and value; the one that is acted on has a green frame. uint8 RGB."""
    tiles = [_tile(futures, int(m)) for m in np.argsort(-futures.scores, kind="stable")]
    columns = min(COLUMNS, len(tiles))
    tiles += [np.full_like(tiles[0], _BACKGROUND)] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    return np.vstack(rows)


def _tile(futures: ImaginedFutures, m: int) -> ImageArray:
    bar: Any = np.full((CAPTION, TILE[0], 3), _BACKGROUND, np.uint8)
    is_taken = m == futures.taken
    words = (f"score {futures.scores[m]:.3g}", f"value {futures.values[m]:.3f}")
    for text, bottom in zip(words, (14, 29), strict=True):
        colour = TAKEN_COLOUR if is_taken else _TEXT_COLOUR
        cv2.putText(bar, text, (8, bottom), cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)
    image = np.asarray(cv2.resize(futures.images[m], TILE, interpolation=cv2.INTER_CUBIC), np.uint8)
    tile = np.vstack([image, bar])
    if is_taken:
        for edge in (np.s_[:_FRAME], np.s_[-_FRAME:], np.s_[:, :_FRAME], np.s_[:, -_FRAME:]):
            tile[edge] = TAKEN_COLOUR
    return tile
