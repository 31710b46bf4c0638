"""Which joint of a robot another lab's name means: by side and number, whatever the robot is."""

from __future__ import annotations

import pytest

from wav_models.data.joint_names import joints_meant, side_of, spelled_as_ours
from wav_models.embodiment import Embodiment
from wav_models.embodiments import ALOHA, BIMANUAL_PIPER, EMBODIMENTS, LIBERO_PANDA

COUNTED = [f"{side}_joint_{number}.pos" for side in ("left", "right") for number in range(1, 8)]


@pytest.mark.parametrize("robot", EMBODIMENTS.values(), ids=lambda robot: robot.name)
def test_a_robot_spells_its_own_names(robot: Embodiment) -> None:
    for channels in (robot.state, robot.actions):
        names = [channel.name for channel in channels]
        assert spelled_as_ours(names, channels) == names


def test_a_gripper_is_the_joint_after_the_last() -> None:
    assert spelled_as_ours(COUNTED, BIMANUAL_PIPER.state) == list(BIMANUAL_PIPER.state_names)
    from_zero = [f"{side[0].upper()}.j{number}" for side in ("left", "right") for number in range(7)]
    assert joints_meant(from_zero, BIMANUAL_PIPER.state) == list(BIMANUAL_PIPER.state_names)
    assert joints_meant(["left_joint9"], BIMANUAL_PIPER.state) == [None]


def test_robots_with_joints_of_one_order_can_stand_for_each_other_but_are_not_taken_for_each_other() -> None:
    assert joints_meant(ALOHA.state_names, BIMANUAL_PIPER.state) == list(BIMANUAL_PIPER.state_names)
    assert joints_meant(BIMANUAL_PIPER.state_names, ALOHA.state) == list(ALOHA.state_names)
    assert spelled_as_ours(BIMANUAL_PIPER.state_names[:6], ALOHA.state) == [None] * 6


def test_positions_of_a_tool_are_no_numbered_joints() -> None:
    assert joints_meant(["joint1", "joint2"], LIBERO_PANDA.state) == [None, None]
    assert spelled_as_ours(["joint1", "x"], LIBERO_PANDA.actions) == [None, None]


@pytest.mark.parametrize(
    ("name", "side"),
    [("left_wrist", "left"), ("camR", "right"), ("head", None), ("left_to_right", None), ("top_camera", None)],
)
def test_a_side_is_told_by_one_word(name: str, side: str | None) -> None:
    assert side_of(name) == side
