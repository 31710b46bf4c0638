from __future__ import annotations

import numpy as np
import pytest

from wav_policy.policy.imagined_futures import CAPTION, TAKEN_COLOUR, TILE, ImaginedFutures, contact_sheet

GREYS = np.arange(40, 240, 20).astype(np.uint8)


@pytest.mark.parametrize("taken", [None, 0, 3])
def test_futures_are_in_the_order_of_their_scores_and_the_taken_one_is_framed(taken: int | None) -> None:
    images = np.broadcast_to(GREYS[:, None, None, None], (10, 8, 8, 3)).copy()
    scores = np.array([0.1, 0.5, -0.2, 0.9, 0.3, 0.0, 0.2, 1.0, -0.3, -0.4])
    sheet = contact_sheet(ImaginedFutures(images, scores, scores, taken))
    width, height = TILE[0], TILE[1] + CAPTION
    assert sheet.shape == (2 * height, 8 * width, 3)
    places = [(row, column) for row in range(2) for column in range(8)][:10]
    tiles = [sheet[r * height : (r + 1) * height, c * width : (c + 1) * width] for r, c in places]
    order = [7, 3, 1, 4, 6, 0, 5, 2, 8, 9]
    assert [tile[TILE[1] // 2, width // 2, 0] for tile in tiles] == GREYS[order].tolist()
    framed = [bool((tile[0] == TAKEN_COLOUR).all()) for tile in tiles]
    assert framed == [future == taken for future in order]


def test_fewer_futures_than_a_row() -> None:
    sheet = contact_sheet(ImaginedFutures(np.zeros((2, 4, 4, 3), np.uint8), np.array([1.0, 2.0]), np.zeros(2), 0))
    assert sheet.shape == (TILE[1] + CAPTION, 2 * TILE[0], 3)
