"""What the simulated cameras and adapters do when they fail."""

from __future__ import annotations

import random

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")

from wav_policy.nodes.sim_node import parse_adapters
from wav_policy.nodes.sim_workers import damaged_jpeg_message


def test_a_damaged_jpeg_still_looks_like_one_and_shows_something_else() -> None:
    columns = np.linspace(0.0, 250.0, 320)
    scene = np.stack([np.tile(columns, (240, 1)), np.tile(columns[::-1], (240, 1)), np.full((240, 320), 90.0)], axis=2)
    image, rng = scene.astype(np.uint8), random.Random(0)
    for _ in range(20):
        message = damaged_jpeg_message(image, "head", rng)
        assert bytes(message.data[:2]) == b"\xff\xd8"
        shown = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
        if shown is not None:
            assert (np.abs(shown[..., ::-1].astype(int) - image).max(axis=2) > 20).mean() > 0.05


def test_adapters_are_refused_by_name() -> None:
    assert parse_adapters("") == ("left", "right")
    assert parse_adapters("swapped") == ("right", "left")
    with pytest.raises(ValueError, match="fault.adapters is 'crossed'; 'swapped'"):
        parse_adapters("crossed")
