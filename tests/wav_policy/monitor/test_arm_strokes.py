"""The arms as the page draws them are where the kinematics say."""

from __future__ import annotations

import numpy as np

from wav_models.types import FloatArray
from wav_policy.monitor.arm_strokes import stroke_ends, strokes
from wav_policy.policy.imagined_motion import gripper_paths
from wav_policy.robot.description import arm_bodies
from wav_policy.robot.model import home_positions

FINGERS = [number for number, stroke in enumerate(strokes()) if "finger" in arm_bodies()[stroke.body].name]


def from_tips(positions: FloatArray) -> list[float]:
    """Per arm, how far the middle between the lower ends of the drawn fingers is from the tip of the kinematics."""
    ends = stroke_ends(positions)[FINGERS, 1].reshape(2, 2, 3).mean(axis=1)
    return [
        float(np.linalg.norm(end - path[0])) for end, path in zip(ends, gripper_paths(positions[None]), strict=True)
    ]


def test_finger_tips_are_where_the_kinematics_have_them() -> None:
    """But for the round end of a line."""
    generator = np.random.default_rng(0)
    radius = strokes()[FINGERS[0]].radius
    for _ in range(20):
        positions = home_positions() + generator.uniform(-1, 1, 14)
        np.testing.assert_allclose(from_tips(positions), radius, atol=1e-6)


def test_limbs_keep_their_lengths() -> None:
    generator = np.random.default_rng(1)
    lengths = [
        np.linalg.norm(np.diff(stroke_ends(home_positions() + generator.uniform(-1, 1, 14)), axis=1), axis=-1)
        for _ in range(5)
    ]
    np.testing.assert_allclose(lengths, [lengths[0]] * 5, atol=1e-12)
