"""piper_node in a process of its own, over simulated arms, seen only through topics and services."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

from tests.wav_policy.nodes.arms_process import LOOP, Probe, Robot, start_node
from wav_models.endings import WRONG_USE
from wav_models.types import ActionChunk, FloatArray
from wav_policy.bringup.node_parameters import PiperNodeConfig
from wav_policy.control.safety import SafetyLimits
from wav_policy.experiments.faults.motion import find_hold, is_moving
from wav_policy.nodes.messages.joint_state import stamp_to_seconds
from wav_policy.nodes.messages.trajectory import chunk_to_message
from wav_policy.robot.joints import JOINT_NAMES
from wav_policy.sim.firmware import FaultSet

pytestmark = pytest.mark.ros


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory, repository: Path, probe: Probe) -> Iterator[Robot]:
    quick = ["-p", "control_rate:=100.0", "-p", "arm.feedback_timeout:=0.3", "-p", "park_speed:=2.5"]
    robot = Robot(tmp_path_factory.mktemp("arms"), repository, quick)
    for arm in robot.arms:
        arm.start()
    yield robot
    robot.close()


@pytest.fixture
def active(robot: Robot, probe: Probe) -> Iterator[Robot]:
    """The node active, holding, without a stop; whatever a test that failed has left."""
    if not probe.change_state(Transition.TRANSITION_CONFIGURE):
        probe.change_state(Transition.TRANSITION_DEACTIVATE)
        probe.change_state(Transition.TRANSITION_CLEANUP)
        assert probe.change_state(Transition.TRANSITION_CONFIGURE)
    assert probe.change_state(Transition.TRANSITION_ACTIVATE)
    probe.wait_until(lambda: probe.messages().get(LOOP, "").startswith("holding"))
    probe.wait_until(lambda: probe.chunks.get_subscription_count() == 1)
    yield robot
    assert probe.change_state(Transition.TRANSITION_DEACTIVATE)
    assert probe.change_state(Transition.TRANSITION_CLEANUP)
    probe.diagnostics.clear()


def test_configured_it_publishes_and_moves_nothing(robot: Robot, probe: Probe) -> None:
    assert probe.change_state(Transition.TRANSITION_CONFIGURE)
    probe.wait_until(lambda: len(probe.joint_states) > 0)
    probe.joint_states.clear()
    probe.spin(1.0)
    assert 50 < len(probe.joint_states) < 105, "100 Hz, less on a busy machine"
    newest = probe.joint_states[-1]
    assert tuple(newest.name) == JOINT_NAMES
    assert len(newest.velocity) == 14
    np.testing.assert_allclose(newest.position, robot.position, atol=np.radians(0.001))
    assert abs(newest.header.stamp.sec - time.time()) < 2
    assert not any(plant.powered for plant in robot.plants)
    refused = probe.enable()
    assert not refused.success
    assert "activate" in refused.message
    probe.wait_until(lambda: "piper_node: left arm" in probe.diagnostics)
    assert probe.value("piper_node: left arm", "firmware") == "S-V1.8-8"
    assert probe.change_state(Transition.TRANSITION_CLEANUP)


def test_an_impossible_transition_harms_nothing(active: Robot, probe: Probe) -> None:
    assert not probe.change_state(Transition.TRANSITION_CONFIGURE)
    probe.diagnostics.clear()
    probe.wait_until(lambda: probe.messages().get(LOOP, "").startswith("holding"))
    assert active.process.poll() is None


def test_a_chunk_is_executed_then_held(active: Robot, probe: Probe) -> None:
    assert all(plant.powered for plant in active.plants)
    start = active.position
    said: set[str] = set()

    def arrived() -> bool:
        said.add(probe.messages()[LOOP])
        return bool(active.position[0] - start[0] > 0.195)

    probe.lead(start, 0.2, arrived)
    assert "following the chunk" in said
    probe.wait_until(lambda: probe.messages()[LOOP] == "holding: no_command")
    np.testing.assert_allclose(active.position - start, [0.2] + [0.0] * 13, atol=0.005)
    assert 50 < float(probe.value(LOOP, "control_rate_hz")) < 105
    assert float(probe.value(LOOP, "chunk_age_p99_s")) < 1.2
    assert 50 < float(probe.value("piper_node: right arm", "feedback_rate_hz")) < 120


def test_names_in_another_order_are_put_right(active: Robot, probe: Probe) -> None:
    start = active.position
    positions = np.tile(start, (10, 1))
    positions[:, 0] -= np.linspace(0.0, 0.15, 10)

    def send() -> None:
        message = chunk_to_message(ActionChunk(positions, time.time(), 0.1))
        message.joint_names = list(reversed(message.joint_names))
        for point in message.points:
            point.positions = list(reversed(point.positions))
        probe.chunks.publish(message)

    probe.repeat(send, lambda: probe.messages()[LOOP] == "following the chunk", 2.5)
    probe.wait_until(lambda: probe.messages()[LOOP] == "holding: no_command")
    assert active.position[0] == pytest.approx(start[0] - 0.15, abs=0.005)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda message: message.points[2].positions.__setitem__(3, float("nan")), "left_joint4"),
        (lambda message: message.joint_names.__setitem__(0, "elbow"), "elbow"),
        (lambda message: setattr(message, "points", []), "no points"),
        (lambda message: setattr(message.header.stamp, "sec", 1), "planned before"),
    ],
)
def test_a_bad_chunk_holds_and_says_why(
    active: Robot, probe: Probe, spoil: Callable[[JointTrajectory], None], words: str
) -> None:
    start = active.position
    message = chunk_to_message(ActionChunk(np.tile(start + 0.1, (10, 1)), time.time(), 0.1))
    spoil(message)
    probe.repeat(lambda: probe.chunks.publish(message), lambda: words in probe.messages()[LOOP])
    assert probe.messages()[LOOP].startswith("holding")
    assert probe.diagnostics[LOOP].level == DiagnosticStatus.WARN
    np.testing.assert_allclose(active.position, start, atol=np.radians(0.002))
    probe.lead(start, 0.05, lambda: probe.messages()[LOOP] == "following the chunk")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_the_arms_hold_soon_after_their_policy_is_gone(active: Robot, probe: Probe, how: signal.Signals) -> None:
    """A second and more of the chunk in force is left. 100 ms are asked for; a busy machine is granted the triple."""
    targets: list[tuple[float, FloatArray]] = []

    def note(message: JointState) -> None:
        targets.append((stamp_to_seconds(message.header.stamp), np.array(message.position)))

    subscription = probe.node.create_subscription(JointState, "joint_targets", note, qos_profile_sensor_data)
    probe.node.destroy_publisher(probe.chunks)
    command = [sys.executable, str(Path(__file__).with_name("lone_policy.py")), json.dumps(active.position.tolist())]
    policy = subprocess.Popen(command)
    try:
        probe.wait_until(lambda: bool(targets) and is_moving(*columns(targets), 0.2), 30.0)
        since = time.time()
        policy.send_signal(how)
        probe.spin(0.8)
        hold = find_hold(*columns(targets), since, 5.0)
        assert hold is not None, (probe.messages()[LOOP], targets[-1][0] - since)
        print(f"{how.name}: brakes after {1e3 * hold.reaction:.0f} ms, rests after {1e3 * hold.rest:.0f} ms")
        assert 0.0 < hold.reaction < 0.3
        probe.wait_until(lambda: "policy lost" in probe.messages()[LOOP])
        assert "holding: no_command: policy lost: " in active.log.read_text()
    finally:
        policy.kill()
        policy.wait()
        probe.node.destroy_subscription(subscription)
        probe.chunks = probe.make_chunk_publisher()


def columns(targets: list[tuple[float, FloatArray]]) -> tuple[FloatArray, FloatArray]:
    """Times [T] and targets [T, 14]."""
    return np.array([stamp for stamp, _ in targets]), np.array([target for _, target in targets])


def test_the_arms_hold_while_two_send_chunks_in_turn(active: Robot, probe: Probe) -> None:
    """They were steered by both, a chunk each."""
    start = active.position
    own, other = probe.chunks, probe.make_chunk_publisher()
    number = 0

    def send() -> None:
        nonlocal number
        number += 1
        probe.chunks = other if number % 2 else own
        probe.send_chunk(start, 0.2 if number % 2 else -0.2)

    probe.repeat(send, lambda: "several publishers" in probe.messages()[LOOP], period=0.2)
    reason = probe.messages()[LOOP]
    assert reason.startswith("holding: ")
    assert "/probe" in reason
    assert "action_chunk in turn" in reason
    probe.spin(0.5)
    held = active.position
    probe.repeat(send, lambda: number > 20, period=0.1)
    np.testing.assert_allclose(active.position, held, atol=1e-3)
    probe.node.destroy_publisher(other)
    probe.chunks = own
    probe.lead(held, 0.1, lambda: active.position[0] > held[0] + 0.05)  # one is left


def test_after_a_stop_only_reset_and_enable_move_again(active: Robot, probe: Probe) -> None:
    start = active.position
    probe.lead(start, 0.3, lambda: probe.messages()[LOOP] == "following the chunk", rows=20)
    assert probe.trigger("piper/stop").success
    probe.wait_until(lambda: "stopped: piper/stop" in probe.messages()[LOOP])
    assert "emergency stop; to go on: support the arms, piper/reset, piper/enable" in active.log.read_text()
    probe.wait_until(lambda: probe.messages()["piper_node: left arm"] == "emergency stop")
    stopped_at = active.position
    probe.send_chunk(stopped_at, 0.3)
    probe.spin(0.3)
    np.testing.assert_array_equal(active.position, stopped_at)
    assert "piper/reset" in probe.enable().message
    assert not probe.trigger("piper/home").success
    reset = probe.trigger("piper/reset")
    assert reset.success
    assert "left and right lost power" in reset.message
    assert "piper/home" in reset.message
    probe.send_chunk(stopped_at, 0.3)
    probe.spin(0.3)
    np.testing.assert_array_equal(active.position, stopped_at)
    assert probe.enable().success
    probe.lead(stopped_at, -0.1, lambda: abs(active.position[0] - stopped_at[0] + 0.1) < 0.005)


def test_one_arm_is_reset_by_force_after_saying_that_it_falls(active: Robot, probe: Probe) -> None:
    """An arm that lost its true angles reports no fault (piper_sdk#120)."""
    assert "no arm lost its power" in probe.trigger("piper/reset").message
    assert probe.enable().success
    asked = probe.call(SetBool, "piper/left/reset", SetBool.Request(data=False))
    assert not asked.success
    assert "nothing was done" in asked.message
    assert "IT FALLS" in asked.message
    assert all(plant.powered for plant in active.plants)
    done = probe.call(SetBool, "piper/left/reset", SetBool.Request(data=True))
    assert done.success
    assert done.message.startswith("left lost power")
    assert [plant.powered for plant in active.plants] == [False, True]
    assert probe.enable().success
    assert all(plant.powered for plant in active.plants)


def test_efforts_are_published(active: Robot, probe: Probe) -> None:
    probe.joint_states.clear()
    probe.wait_until(lambda: bool(probe.joint_states))
    efforts = probe.joint_states[-1].effort
    assert len(efforts) == 14
    assert np.isfinite(efforts).all()


def test_a_stop_outlives_a_new_configuration(active: Robot, probe: Probe) -> None:
    assert probe.trigger("piper/stop").success
    for transition in (
        Transition.TRANSITION_DEACTIVATE,
        Transition.TRANSITION_CLEANUP,
        Transition.TRANSITION_CONFIGURE,
    ):
        assert probe.change_state(transition)
    assert not probe.change_state(Transition.TRANSITION_ACTIVATE)
    assert "stopped (piper/stop)" in active.log.read_text()
    assert probe.trigger("piper/reset").success
    assert probe.change_state(Transition.TRANSITION_ACTIVATE)


def test_hold_ends_a_chunk_and_the_way_home(active: Robot, probe: Probe) -> None:
    assert probe.trigger("piper/home").success
    start = active.position
    probe.lead(start, 0.4, lambda: active.position[0] - start[0] > 0.1, rows=20)
    assert probe.trigger("piper/hold").message == "the arms hold"
    probe.wait_until(lambda: "held by request" in probe.messages()[LOOP])
    probe.spin(0.2)  # braking takes 0.04 s
    held = active.position
    probe.spin(0.5)
    np.testing.assert_allclose(active.position, held, atol=0.002)
    assert held[0] - start[0] < 0.35
    home = probe.node.create_client(Trigger, "piper/home")
    probe.wait_until(home.service_is_ready)
    on_the_way = home.call_async(Trigger.Request())
    probe.wait_until(lambda: active.position[0] < held[0] - 0.03)
    assert probe.trigger("piper/hold").success
    probe.wait_until(on_the_way.done)
    assert not on_the_way.result().success
    probe.spin(0.5)
    assert start[0] + 0.03 < active.position[0] < held[0]
    probe.lead(active.position, -0.05, lambda: probe.messages()[LOOP] == "following the chunk")


def test_hold_says_when_the_arms_are_not_commanded(active: Robot, probe: Probe) -> None:
    assert probe.enable(False).success
    assert "not commanding" in probe.trigger("piper/hold").message
    assert probe.enable().success


def test_enable_false_and_home(active: Robot, probe: Probe) -> None:
    assert probe.enable(False).success
    assert not any(plant.powered for plant in active.plants)
    probe.wait_until(lambda: "not enabled" in probe.messages()[LOOP])
    assert probe.enable(True).success
    assert probe.trigger("piper/home").message == "at home"
    home = [0.0, 1.1716, -0.6219, 0.0, 1.1084, -1.5708, 0.07, 0.0, 1.1716, -0.6219, 0.0, 1.1084, 1.5708, 0.07]
    np.testing.assert_allclose(active.position, home, atol=0.002)


LEFT = "piper_node: left arm"


def test_an_adapter_that_was_unplugged_is_found_again_by_itself(active: Robot, probe: Probe) -> None:
    probe.lead(active.position, 0.3, lambda: probe.messages()[LOOP] == "following the chunk", rows=30)
    active.arms[0].faults = FaultSet.parse("unplug")
    probe.wait_until(lambda: probe.messages()[LOOP] == "holding: no feedback")
    probe.wait_until(lambda: "left arm: no serial CAN adapter" in probe.messages()[LEFT])
    assert probe.diagnostics[LEFT].level == DiagnosticStatus.ERROR
    probe.wait_until(lambda: probe.value(LOOP, "holding") == "True")
    right = active.plants[1].position
    active.arms[0].faults = FaultSet()
    probe.wait_until(lambda: probe.messages()[LEFT] == "enabled")
    probe.wait_until(lambda: probe.messages()[LOOP].startswith("holding: no_command"))
    assert all(plant.powered for plant in active.plants)
    np.testing.assert_array_equal(active.plants[1].position, right)
    probe.joint_states.clear()
    probe.wait_until(lambda: len(probe.joint_states) > 5)
    start = active.position
    probe.lead(start, 0.1, lambda: abs(active.position[0] - start[0] - 0.1) < 0.005)


def test_an_arm_that_lost_its_power_waits_for_enable(active: Robot, probe: Probe) -> None:
    active.arms[0].faults = FaultSet.parse("power_loss")
    probe.wait_until(lambda: probe.messages()[LOOP] == "holding: no feedback")
    active.arms[0].faults = FaultSet()
    probe.wait_until(lambda: "not enabled" in probe.messages()[LOOP] and "piper/enable" in probe.messages()[LOOP])
    probe.joint_states.clear()
    probe.wait_until(lambda: len(probe.joint_states) > 5)
    start = active.position
    probe.send_chunk(start, 0.1)
    probe.spin(0.5)
    np.testing.assert_array_equal(active.position, start)
    assert not active.plants[0].powered
    assert active.plants[1].powered
    assert probe.enable().success
    probe.lead(start, 0.1, lambda: abs(active.position[0] - start[0] - 0.1) < 0.005)


def test_the_teach_button_ends_our_control(active: Robot, probe: Probe) -> None:
    active.arms[1].faults = FaultSet.parse("teach")
    probe.wait_until(lambda: "right arm" in probe.messages()[LOOP] and "teach mode" in probe.messages()[LOOP])
    assert "teach" in probe.enable().message
    active.arms[1].faults = FaultSet()
    probe.spin(0.3)
    assert probe.enable().success
    probe.wait_until(lambda: probe.messages()[LOOP].startswith("holding: no_command"))


def test_deactivation_parks_and_holds(robot: Robot, probe: Probe) -> None:
    assert probe.change_state(Transition.TRANSITION_CONFIGURE)
    assert probe.change_state(Transition.TRANSITION_ACTIVATE)
    stroke, before = robot.plants[0].stroke, len(robot.log.read_text())
    assert probe.change_state(Transition.TRANSITION_DEACTIVATE)
    said = robot.log.read_text()[before:]
    assert "parking: the arms move" in said, "whoever presses Ctrl-C must know"
    assert "parked: " in said
    np.testing.assert_allclose(robot.plants[0].position, [0.0, 1.1716, -0.6219, 0.0, 1.1084, -1.5708], atol=0.002)
    assert robot.plants[0].stroke == pytest.approx(stroke, abs=1e-4)
    assert all(plant.powered for plant in robot.plants)
    assert probe.change_state(Transition.TRANSITION_CLEANUP)
    assert all(plant.powered for plant in robot.plants)


def test_limits_in_flash_that_do_not_fit_are_reported_and_kept(robot: Robot, probe: Probe) -> None:
    limit = robot.arms[0].flash.limits[0]
    factory, limit.upper = limit.upper, 1.0
    probe.diagnostics.clear()
    assert probe.change_state(Transition.TRANSITION_CONFIGURE)
    probe.wait_until(lambda: LEFT in probe.diagnostics)
    told = probe.value(LEFT, "limits_in_flash")
    assert "joint1: flash holds 57.3 deg, safety.position_max 150.0 deg" in told
    assert probe.value("piper_node: right arm", "limits_in_flash") == "fit the configuration"
    assert limit.upper == 1.0
    assert probe.change_state(Transition.TRANSITION_CLEANUP)
    limit.upper = factory
    probe.diagnostics.clear()


def test_sigterm_ends_cleanly_and_the_arms_keep_their_power(
    tmp_path: Path, repository: Path, robot: Robot, probe: Probe
) -> None:
    """Last: ends the module's node while it is active and moving."""
    assert probe.change_state(Transition.TRANSITION_CONFIGURE)
    assert probe.change_state(Transition.TRANSITION_ACTIVATE)
    probe.wait_until(lambda: probe.chunks.get_subscription_count() == 1)
    probe.lead(robot.position, 0.3, lambda: probe.messages().get(LOOP) == "following the chunk", rows=20)
    robot.process.send_signal(signal.SIGTERM)
    assert robot.process.wait(timeout=10) == 0
    assert "Traceback" not in robot.log.read_text()
    assert all(plant.powered for plant in robot.plants)
    assert not any(arm._port is not None and arm._port.is_open for arm in robot.arms)


def test_shutdown_holds_where_the_arms_are(tmp_path: Path, repository: Path, robot: Robot, probe: Probe) -> None:
    """What lifecycle_manager asks for when another node is gone: unlike deactivation it moves nothing."""
    robot.process.terminate()  # the module's node, if no test has ended it
    robot.process.wait(timeout=10)
    robot = Robot(tmp_path, repository, ["-p", "control_rate:=100.0", "-p", "park_speed:=2.5"])
    try:
        for arm in robot.arms:
            arm.start()
        assert probe.change_state(Transition.TRANSITION_CONFIGURE)
        assert probe.change_state(Transition.TRANSITION_ACTIVATE)
        probe.wait_until(lambda: probe.chunks.get_subscription_count() == 1)
        start = robot.position
        probe.lead(start, 0.3, lambda: robot.position[0] - start[0] > 0.01, rows=20)
        assert probe.change_state(Transition.TRANSITION_ACTIVE_SHUTDOWN)
        assert 0.0 < robot.position[0] - start[0] < 0.29
        np.testing.assert_allclose(robot.position[1:], start[1:], atol=0.002)
        assert all(plant.powered for plant in robot.plants)
        robot.process.send_signal(signal.SIGTERM)
        assert robot.process.wait(timeout=10) == 0
    finally:
        robot.close()


@pytest.mark.parametrize("home", [(np.nan, *PiperNodeConfig.home[1:]), (9.0, *PiperNodeConfig.home[1:])])
def test_home_must_be_a_pose_within_the_limits(home: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="home must be 14 values inside the safety limits"):
        PiperNodeConfig(home=home)


def test_home_speed_keeps_the_velocities_of_joints_and_grippers() -> None:
    """A gripper moves at most at a tenth of it, so a slow one does not slow the joints down."""

    def config(joints: float, gripper: float) -> PiperNodeConfig:
        limits = SafetyLimits(velocity=(3.0, 3.0, joints, 3.0, 3.0, 3.0, gripper))
        return PiperNodeConfig(home_speed=0.5, park_speed=0.5, safety=limits)

    assert config(0.5, 0.05).home_speed == 0.5
    for joints, gripper in ((0.49, 0.5), (3.0, 0.049)):
        with pytest.raises(ValueError, match=r"home_speed must be within safety.velocity, grippers at a tenth"):
            config(joints, gripper)


def test_ticks_that_would_all_count_as_late_are_refused() -> None:
    assert PiperNodeConfig(control_rate=40.0).control_rate == 40.0
    with pytest.raises(ValueError, match=r"safety.max_tick 0.05 s must be at least two periods of control_rate 39 Hz"):
        PiperNodeConfig(control_rate=39.0)


def test_an_arm_in_repair_is_said_to_be_absent_and_the_other_tells_its_efforts(
    tmp_path: Path, repository: Path, probe: Probe
) -> None:
    robot = Robot(tmp_path, repository, ["-p", "arms:=left"])
    try:
        robot.arms[0].start()
        assert probe.change_state(Transition.TRANSITION_CONFIGURE)
        probe.diagnostics.clear()
        probe.joint_states.clear()
        probe.wait_until(lambda: probe.messages().get("piper_node: right arm") == "absent by configuration")
        probe.wait_until(lambda: len(probe.joint_states) > 50)
        absent, present = probe.diagnostics["piper_node: right arm"], probe.diagnostics["piper_node: left arm"]
        assert absent.level == DiagnosticStatus.OK
        told = {pair.key: pair.value for pair in absent.values}
        assert "arms:=left" in told["reason"]
        assert "arms:=both" in told["remedy"]
        assert (absent.hardware_id, present.hardware_id) == ("right arm", "left arm")
        assert np.isfinite(probe.joint_states[-1].effort).all(), "or none of them is recorded"
    finally:
        robot.close()


def test_impossible_parameters_are_named(tmp_path: Path, repository: Path) -> None:
    process = start_node(tmp_path, repository, tmp_path / "log", ["-p", "control_rte:=100.0"])
    assert process.wait(timeout=20) == WRONG_USE
    assert "unknown parameter 'control_rte'; did you mean 'control_rate'?" in (tmp_path / "log").read_text()


def test_missing_arms_fail_to_configure_with_one_message(tmp_path: Path, repository: Path, probe: Probe) -> None:
    process = start_node(tmp_path, repository, tmp_path / "log")
    try:
        assert not probe.change_state(Transition.TRANSITION_CONFIGURE)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0
    finally:
        process.kill()
    text = (tmp_path / "log").read_text()
    assert f"left arm: no serial CAN adapter at '{tmp_path}/left'" in text
    assert "Traceback" not in text
