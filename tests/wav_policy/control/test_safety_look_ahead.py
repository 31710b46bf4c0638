"""What would collide, or leave the way, is braked for in time."""

from __future__ import annotations

import numpy as np
import pytest

from tests.wav_policy.control.filtered import ACCELERATION, FAR, MIDDLE, follow
from wav_models.types import FloatArray
from wav_policy.control.look_ahead import Approach
from wav_policy.control.safety import Cause, SafetyFilter
from wav_policy.robot.joints import JOINT_DIM


class Wall:
    """A look-ahead: joint 1 of the left arm must not come to rest beyond `end` [rad]. Keeps what it is told."""

    def __init__(self, bodies: tuple[str, str], end: float) -> None:
        self.bodies, self.end = bodies, end
        self.told: list[FloatArray] = []
        self.starts: list[FloatArray] = []

    def start_at(self, position: FloatArray) -> None:
        self.starts.append(position.copy())

    def arrived_at(self, position: FloatArray) -> None:
        self.told.append(position.copy())

    def find(self, position: FloatArray, velocity: FloatArray, tick: float) -> Approach | None:
        speed = max(abs(velocity[0]) - ACCELERATION[0] * tick / 2.0, 0.0)  # at the end of the tick, already braking
        rests_at = position[0] + velocity[0] * tick + np.copysign(speed**2 / (2.0 * ACCELERATION[0]), velocity[0])
        return Approach(self.bodies, 0.001, 0.02) if rests_at > self.end else None


@pytest.mark.parametrize(
    ("bodies", "right_goes_on"),
    [
        (("left gripper", "left link1"), True),
        (("table", "left gripper"), True),
        (("left gripper", "right link3"), False),
    ],
)
def test_what_would_collide_brakes_in_time_and_an_arm_that_has_no_part_in_it_goes_on(
    bodies: tuple[str, str], right_goes_on: bool
) -> None:
    wall, goal = Wall(bodies, MIDDLE[0] + 0.1), MIDDLE.copy()
    goal[[0, 7]] += 0.4
    safety = SafetyFilter(FAR, wall)
    targets, decisions = follow(safety, [goal] * 300)
    reached = targets[:, 0].max()
    assert MIDDLE[0] + 0.05 < reached <= wall.end + 1e-9
    assert (abs(targets[-1, 7] - goal[7]) < 1e-3) == right_goes_on
    collisions = [found for d in decisions for found in d.interventions if found.cause is Cause.COLLISION]
    assert collisions
    assert (collisions[0].joint, collisions[0].requested) == (" and ".join(bodies), 0.001)
    assert decisions[-1].holding
    np.testing.assert_array_equal(wall.starts, targets[:1])
    np.testing.assert_array_equal(wall.told, targets[1:])


class TwoWalls(Wall):
    """One for joint 1 of the right arm too, told of only while the left arm is in no danger."""

    def find(self, position: FloatArray, velocity: FloatArray, tick: float) -> Approach | None:
        turned = np.roll(position, 7), np.roll(velocity, 7)
        return super().find(position, velocity, tick) or super().find(*turned, tick)


def test_an_arm_that_has_no_part_in_one_collision_does_not_go_on_into_another() -> None:
    walls, goal = TwoWalls(("left gripper", "left link1"), MIDDLE[0] + 0.1), MIDDLE.copy()
    goal[[0, 7]] += 0.4
    targets, _ = follow(SafetyFilter(FAR, walls), [goal] * 300)
    assert (targets[:, [0, 7]].max(axis=0) <= walls.end + 1e-9).all()


def test_after_a_jump_the_look_ahead_knows_where_the_arms_are() -> None:
    wall = Wall(("left gripper", "left link1"), 10.0)
    safety = SafetyFilter(FAR, wall)
    targets, _ = follow(safety, [MIDDLE + 0.1] * 20)
    jumped, elsewhere = np.arange(JOINT_DIM) == 8, MIDDLE + 0.05
    safety.displace(jumped, elsewhere)
    np.testing.assert_array_equal(wall.starts, [MIDDLE, np.where(jumped, elsewhere, targets[-1])])
    assert (safety.velocity == 0.0).tolist() == jumped.tolist()
