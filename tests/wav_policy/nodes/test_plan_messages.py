from __future__ import annotations

import numpy as np
import pytest

from wav_models.types import ActionChunk, Plan, PlanRound

pytest.importorskip("rclpy")

from std_msgs.msg import MultiArrayDimension
from visualization_msgs.msg import Marker

from wav_policy.nodes.imagination import montage
from wav_policy.nodes.messages.limits import MessageError
from wav_policy.nodes.messages.plan_messages import (
    markers_message,
    rounds_from_message,
    rounds_message,
    value_from_message,
    value_message,
)
from wav_policy.policy.imagined_motion import HIGH_COLOUR, LOW_COLOUR, ImaginedMotion, gripper_paths
from wav_policy.robot.kinematics import tip_position
from wav_policy.robot.model import BASE_POSITIONS, home_positions


def make_motion(values: list[float]) -> ImaginedMotion:
    rows = np.tile(home_positions(), (4, 1))
    rows[:, 0] += np.linspace(0.1, 0.4, 4)
    return ImaginedMotion(ActionChunk(rows, 7.5, 0.1), np.array(values))


def make_plan(num_rounds: int = 2) -> Plan:
    motion = make_motion([1.0, 2.0, 3.0, 5.0])
    rounds = tuple(
        PlanRound(np.array([k, k + 1.0]), np.zeros((2, 3)), np.array([10.0 + k, 20.0]), 0.1) for k in range(num_rounds)
    )
    return Plan(motion.chunk, motion.values, rounds, "completed", {}, 0, (1, 0) if num_rounds > 1 else None)


def test_value_and_rounds_survive_the_message() -> None:
    plan = make_plan()
    times, values = value_from_message(value_message(plan))
    np.testing.assert_allclose(times, [0.1, 0.2, 0.3, 0.4], rtol=1e-6)
    np.testing.assert_allclose(values, plan.values)
    rounds = rounds_from_message(rounds_message(plan))
    np.testing.assert_allclose(rounds.scores, [[0.0, 1.0], [1.0, 2.0]])
    np.testing.assert_allclose(rounds.mean_values, [[10.0, 20.0], [11.0, 20.0]])
    assert rounds.taken == (1, 0)
    assert rounds_from_message(rounds_message(make_plan(1))).taken is None
    assert rounds_from_message(rounds_message(make_plan(0))).scores.shape == (0, 0)  # planning off
    with pytest.raises(MessageError, match="were expected"):
        rounds_from_message(value_message(plan))


@pytest.mark.parametrize("sizes", [(), (2,), (2, 5), (3, 4), (2, 2**32 - 1), (2, 0), (0, 0), (2, 4, 1), (1, 2, 4)])
@pytest.mark.parametrize("numbers", [[0.0] * 8, [float("nan")] * 8, [float("inf")] * 8, []])
def test_a_value_that_is_none_is_one_typed_error(sizes: tuple[int, ...], numbers: list[float]) -> None:
    """Also under the right names: a page that is asked to draw it would go on showing what it drew before."""
    message = value_message(make_plan())
    names = [*(dimension.label for dimension in message.layout.dim), "more"]
    message.layout.dim = [MultiArrayDimension(label=n, size=size) for n, size in zip(names, sizes, strict=False)]
    message.data = numbers
    with pytest.raises(MessageError):
        value_from_message(message)


@pytest.mark.parametrize(("sizes", "count"), [((2, 2, 3), 12), ((2, 3, 3), 17), ((0, 1, 0), 0), ((2, 3, 2), 12)])
def test_rounds_that_are_none_are_one_typed_error(sizes: tuple[int, ...], count: int) -> None:
    message = rounds_message(make_plan())
    for dimension, size in zip(message.layout.dim, sizes, strict=True):
        dimension.size = size
    message.data = [float("nan")] * count
    with pytest.raises(MessageError):
        rounds_from_message(message)


def test_markers_follow_the_gripper_and_are_coloured_by_value() -> None:
    chosen, other = make_motion([1.0, 2.0, 3.0, 5.0]), make_motion([0.0, 0.0, 0.0, 0.0])
    clear, *markers = markers_message(chosen, [other], lifetime=4.5).markers
    assert clear.action == Marker.DELETEALL
    assert {marker.header.frame_id for marker in markers} == {"world"}
    assert {(marker.lifetime.sec, marker.lifetime.nanosec) for marker in markers} == {(4, 500_000_000)}
    assert len({(marker.ns, marker.id) for marker in markers}) == len(markers) == 8
    line = next(marker for marker in markers if marker.ns == "chosen left")
    tip = BASE_POSITIONS["left"] + tip_position(chosen.chunk.positions[-1][:6])
    np.testing.assert_allclose([line.points[-1].x, line.points[-1].y, line.points[-1].z], tip)
    assert (line.header.stamp.sec, line.header.stamp.nanosec) == (7, 500_000_000)
    np.testing.assert_allclose([line.colors[-1].r, line.colors[-1].g, line.colors[-1].b], HIGH_COLOUR, atol=1e-6)
    worst = next(marker for marker in markers if marker.ns == "other right")
    np.testing.assert_allclose([worst.colors[0].r, worst.colors[0].g, worst.colors[0].b], LOW_COLOUR, atol=1e-6)
    assert {marker.text for marker in markers if marker.ns == "value left"} == {"2.75", "0.00"}


def test_both_arms_have_a_path() -> None:
    paths = gripper_paths(np.tile(home_positions(), (2, 1)))
    assert paths.shape == (2, 2, 3)
    np.testing.assert_allclose(paths[0, 0] * [1, -1, 1], paths[1, 0], atol=1e-9)  # the arms rest mirrored


def test_the_montage_has_the_real_views_above() -> None:
    real, imagined = np.full((3, 8, 8, 3), 200, np.uint8), np.full((3, 8, 8, 3), 50, np.uint8)
    picture = montage(real, imagined)
    height = len(picture) // 2
    assert (picture[:height] == 200).all()
    assert (picture[height:] == 50).all()
