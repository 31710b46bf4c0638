"""Pictures of a scene at rest differ, by about a grey level."""

from __future__ import annotations

import itertools

import numpy as np

from wav_policy.sim.read_noise import READ_NOISE, ReadNoise


def test_no_two_pictures_are_the_same_and_the_scene_stays_what_it_is() -> None:
    scene = np.full((240, 424, 3), 100, dtype=np.uint8)
    noise = ReadNoise(scene.size)
    pictures = np.array([noise(scene) for _ in range(50)])
    assert all((before != after).mean() > 0.5 for before, after in itertools.pairwise(pictures))
    errors = pictures.astype(float) - 100.0
    assert abs(errors.mean()) < 0.01
    assert abs(errors.std() - READ_NOISE) < 0.1
    assert (scene == 100).all()


def test_black_and_white_do_not_wrap_around() -> None:
    noise = ReadNoise(3000)
    assert noise(np.zeros((10, 100, 3), dtype=np.uint8)).max() < 10
    assert noise(np.full((10, 100, 3), 255, dtype=np.uint8)).min() > 245


def test_a_smaller_picture_takes_a_part() -> None:
    assert ReadNoise(3000)(np.full((5, 7, 3), 50, dtype=np.uint8)).shape == (5, 7, 3)
