"""All futures of a planning round as one picture: small, best first, with scores, the one that is acted on framed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np

from wav_models.types import FloatArray, ImageArray

COLUMNS: Final = 4
TILE: Final = (96, 72)
"""Width and height of one future [px]."""
CAPTION: Final = 16
"""Height of the line with its score [px]."""
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
        taken: index of the one that is acted on; None where that is none of them.
    """

    images: ImageArray
    scores: FloatArray
    taken: int | None


def contact_sheet(futures: ImaginedFutures) -> ImageArray:
    """Best first, four in a row; the one that is acted on has a green frame. uint8 RGB."""
    order = np.argsort(-futures.scores, kind="stable")
    tiles = [_tile(futures.images[m], f"{futures.scores[m]:.3g}", bool(m == futures.taken)) for m in order]
    columns = min(COLUMNS, len(tiles))
    tiles += [np.full_like(tiles[0], _BACKGROUND)] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    return np.vstack(rows)


def _tile(image: ImageArray, caption: str, is_taken: bool) -> ImageArray:
    bar: Any = np.full((CAPTION, TILE[0], 3), _BACKGROUND, np.uint8)
    colour = TAKEN_COLOUR if is_taken else _TEXT_COLOUR
    cv2.putText(bar, caption, (4, CAPTION - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1, cv2.LINE_AA)
    tile = np.vstack([np.asarray(cv2.resize(image, TILE, interpolation=cv2.INTER_AREA), np.uint8), bar])
    if is_taken:
        for edge in (np.s_[:_FRAME], np.s_[-_FRAME:], np.s_[:, :_FRAME], np.s_[:, -_FRAME:]):
            tile[edge] = TAKEN_COLOUR
    return tile
