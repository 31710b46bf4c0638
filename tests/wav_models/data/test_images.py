from __future__ import annotations

import numpy as np
import pytest

from wav_models.data.images import resize_image


def test_shrinking_averages_areas() -> None:
    blocks = np.arange(12, dtype=np.uint8).reshape(2, 2, 3) * 20
    image = blocks.repeat(4, axis=0).repeat(8, axis=1)
    np.testing.assert_array_equal(resize_image(image, (2, 2)), blocks)


def test_size_is_height_then_width() -> None:
    assert resize_image(np.zeros((240, 424, 3), np.uint8), (64, 48)).shape == (64, 48, 3)


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)],
)
def test_anything_but_rgb_bytes_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8 image"):
        resize_image(image, (2, 2))
