"""The policy node from outside: a fake policy below it, real topics, services and messages around it."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from wav_policy.robot.cameras import VIEWS
from wav_policy.robot.joints import JOINT_NAMES

rclpy = pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticStatus  # noqa: E402
from lifecycle_msgs.msg import State, Transition  # noqa: E402
from rclpy.event_handler import SubscriptionEventCallbacks  # noqa: E402
from rclpy.lifecycle import TransitionCallbackReturn  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.serialization import serialize_message  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image, JointState  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402
from visualization_msgs.msg import MarkerArray  # noqa: E402

from tests.wav_policy.nodes.around_policy_node import (  # noqa: E402
    PATIENCE,
    POSITIONS,
    FakePolicy,
    Outside,
    running_node,
    wait_for,
)
from wav_policy.nodes.messages.chunk_topic import CHUNK_TOPIC, REQUESTED_QOS  # noqa: E402
from wav_policy.nodes.messages.instruction_topic import subscribe_instruction  # noqa: E402
from wav_policy.nodes.messages.joint_state import stamp_to_seconds  # noqa: E402
from wav_policy.nodes.policy_node import PolicyNode  # noqa: E402
from wav_policy.policy.imagined_futures import CAPTION, TILE  # noqa: E402
from wav_policy.policy.planning_effort import PlanCost  # noqa: E402

pytestmark = pytest.mark.ros


@pytest.fixture
def policy() -> FakePolicy:
    return FakePolicy()


@pytest.fixture
def ros() -> Iterator[None]:
    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture
def outside(ros: None, policy: FakePolicy) -> Iterator[Outside]:
    with running_node(policy) as around:
        yield around


def test_life_cycle_from_silence_to_plans_and_back(outside: Outside, policy: FakePolicy) -> None:
    outside.await_message("not configured")
    assert outside.change(Transition.TRANSITION_CONFIGURE)
    outside.await_message("inactive")
    outside.await_silence()
    assert not policy.observations
    assert outside.change(Transition.TRANSITION_ACTIVATE)
    chunk = outside.await_chunks(3)

    observation = next(o for o in policy.observations if abs(o.stamp - stamp_to_seconds(chunk.header.stamp)) < 1e-6)
    assert observation.instruction == "put the bowl away"
    assert observation.images.shape == (3, 2, 64, 64, 3)
    assert (np.abs(observation.images.astype(int) - 50) < 8).all()
    assert chunk.joint_names == list(JOINT_NAMES)
    assert len(chunk.points) == 16
    due = [point.time_from_start.sec + point.time_from_start.nanosec * 1e-9 for point in chunk.points]
    np.testing.assert_allclose(due, 0.1 * np.arange(1, 17))
    np.testing.assert_allclose(chunk.points[5].positions, POSITIONS)

    wait_for(lambda: outside.planning == "planning", "the report of a plan")
    assert int(outside.value("plans")) >= 1
    assert float(outside.value("score")) == 2.0
    assert float(outside.value("predicted_value")) == 0.25
    assert outside.value("stop_reason") == "completed"
    assert float(outside.value("observation_to_chunk_ms_p99")) < 1000.0
    assert float(outside.value("video_ms_p50")) == pytest.approx(1.0)

    resets = policy.num_resets
    assert outside.change(Transition.TRANSITION_DEACTIVATE)
    outside.await_silence()
    outside.await_message("inactive")
    assert outside.change(Transition.TRANSITION_ACTIVATE)
    outside.await_chunks()
    assert policy.num_resets > resets, "a new activation does not continue an old plan"
    assert outside.change(Transition.TRANSITION_DEACTIVATE)
    assert outside.change(Transition.TRANSITION_CLEANUP)
    assert outside.state() == State.PRIMARY_STATE_UNCONFIGURED


def test_plans_follow_each_other_at_the_replan_interval(outside: Outside) -> None:
    outside.activate()
    outside.await_chunks(12)
    stamps = np.array([stamp_to_seconds(chunk.header.stamp) for chunk in outside.chunks])
    assert 0.08 < np.median(np.diff(stamps)) < 0.2, "neither at every chance nor late"


def test_a_plan_continues_the_chunk_in_force_as_far_as_it_will_be_executed(
    outside: Outside, policy: FakePolicy
) -> None:
    """Rows that pass while the next plan is made are frozen, by the latency of the last plans."""
    policy.seconds = 0.25
    outside.activate()
    outside.await_chunks(5)
    assert policy.committed[0] is None
    committed = policy.committed[-1]
    assert committed is not None
    np.testing.assert_allclose(committed.positions, np.tile(POSITIONS, (16, 1)))
    frozen = int((committed.weight == 1.0).sum())
    assert 3 <= frozen <= 6
    assert 0.0 < committed.weight[frozen + 1] < 1.0
    assert committed.weight[-1] == 0.0
    wait_for(lambda: "frozen_rows" in outside.reported, "the report")
    assert outside.value("continuation") == "rtc"
    assert 3 <= int(outside.value("frozen_rows")) <= 6
    outside.views = ("head", "right_wrist")  # the arms may come to hold: the chunk is in force no more
    outside.await_message("not planning: left_wrist/image_raw: newest message is")
    known = len(policy.committed)
    outside.views = VIEWS
    outside.await_chunks()
    assert policy.committed[known] is None


def test_deactivation_drops_the_plan_in_flight(outside: Outside, policy: FakePolicy) -> None:
    outside.activate()
    outside.await_chunks()
    policy.go_on.clear()
    wait_for(policy.planning.is_set, "a plan in flight")
    assert outside.change(Transition.TRANSITION_DEACTIVATE)
    time.sleep(0.1)
    known = len(outside.chunks)
    policy.go_on.set()
    time.sleep(0.5)
    assert len(outside.chunks) == known
    wait_for(lambda: outside.value("dropped") == "1", "the report of the dropped plan")


def test_a_planner_that_hangs_does_not_vouch_for_its_last_chunk(outside: Outside, policy: FakePolicy) -> None:
    """The process lives and its heartbeat thread runs; the arms are to hold all the same."""
    alive: list[int] = []
    events = SubscriptionEventCallbacks(liveliness=lambda change: alive.append(change.alive_count))
    outside.node.create_subscription(
        JointTrajectory, CHUNK_TOPIC, lambda chunk: None, REQUESTED_QOS, event_callbacks=events
    )
    outside.activate()
    outside.await_chunks()
    wait_for(lambda: alive[-1:] == [1], "signs of life")
    policy.go_on.clear()
    outside.await_message("the next chunk is overdue")
    wait_for(lambda: alive[-1:] == [0], "silence")
    policy.go_on.set()
    outside.await_chunks()
    wait_for(lambda: alive[-1:] == [1], "signs of life again")


def test_nobody_vouches_for_the_chunks_of_a_node_that_hears_nothing(
    ros: None, policy: FakePolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cameras are drained and plans are made in other threads than the one that hears transitions."""
    go_on = threading.Event()
    monkeypatch.setattr(PolicyNode, "_on_instruction", lambda self, text: go_on.wait(PATIENCE))
    alive: list[int] = []
    events = SubscriptionEventCallbacks(liveliness=lambda change: alive.append(change.alive_count))
    with running_node(policy) as outside:
        outside.node.create_subscription(
            JointTrajectory, CHUNK_TOPIC, lambda chunk: None, REQUESTED_QOS, event_callbacks=events
        )
        outside.activate()
        outside.await_chunks()
        wait_for(lambda: alive[-1:] == [1], "signs of life")
        outside.instruction.publish(String(data="stop"))
        wait_for(lambda: alive[-1:] == [0] and (time.sleep(0.5) or alive[-1:] == [0]), "a silence that lasts")
        go_on.set()
        wait_for(lambda: alive[-1:] == [1], "signs of life again")


def test_a_camera_that_stops_is_named_and_planning_recovers(outside: Outside) -> None:
    outside.activate()
    outside.await_chunks()
    outside.views = ("head", "right_wrist")
    outside.await_message("not planning: left_wrist/image_raw: newest message is")
    outside.await_silence()
    outside.views = VIEWS
    outside.await_chunks()


def test_a_camera_that_nobody_or_another_type_comes_from_is_told(ros: None, policy: FakePolicy) -> None:
    elsewhere = rclpy.Context()  # the middleware refuses two types of a topic in one
    rclpy.init(context=elsewhere)
    driver = rclpy.create_node("usb_cam", context=elsewhere)
    driver.create_publisher(CompressedImage, "head/image_raw", 10)

    def text(outside: Outside) -> str:
        entry = outside.diagnostics.get("policy_node: observation")
        return "" if entry is None else str(entry.message)

    with running_node(policy) as outside:
        outside.views = ("right_wrist",)
        for view in ("head", "left_wrist"):
            outside.node.destroy_publisher(outside._images[view])
            outside.node.destroy_publisher(outside.compressed[view])
        assert outside.change(Transition.TRANSITION_CONFIGURE)
        wrong = "usb_cam publishes sensor_msgs/msg/CompressedImage there; sensor_msgs/msg/Image fits"
        said = f"head/image_raw: {wrong}, left_wrist/image_raw: nobody publishes it"
        wait_for(lambda: text(outside) == said, f"the reason; it says: {text(outside)}")
    driver.destroy_node()
    rclpy.shutdown(context=elsewhere)


def test_odd_sizes_and_encodings(outside: Outside, policy: FakePolicy) -> None:
    rng = np.random.default_rng(0)

    def odd(view: str) -> Image:
        """37 x 23 px, bgr8, rows padded to 128 bytes; with noise in the first row, as of a live camera."""
        image = np.zeros((23, 128), np.uint8)
        image[:, : 37 * 3] = np.tile(np.array([10, 20, 30], np.uint8), 37)
        image[0, :111] = rng.integers(0, 256, 111)
        message = Image(height=23, width=37, encoding="bgr8", step=128, data=image.tobytes())
        message.header.stamp = outside.node.get_clock().now().to_msg()
        return message

    def unusable(view: str) -> Image:
        message = odd(view)
        message.encoding = "16UC1"
        return message

    def short(view: str) -> Image:
        message = odd(view)
        message.data = bytes(100)
        return message

    outside.activate()
    outside.make_image = odd
    wait_for(
        lambda: any((o.images[:, :, 32:] == [30, 20, 10]).all() for o in policy.observations[-3:]), "odd images in RGB"
    )
    outside.make_image = unusable
    outside.await_message("encoding '16UC1' is no picture")
    outside.make_image = short
    outside.await_message("only 100 bytes")
    outside.make_image = odd
    outside.await_chunks()


def test_compressed_images_stand_in_for_raw_ones(outside: Outside, policy: FakePolicy) -> None:
    outside.activate()
    outside.await_chunks()
    outside.views = ("head", "left_wrist")
    outside.await_message("right_wrist/image_raw: newest message is")
    picture = np.full((10, 10, 3), (1, 2, 3), np.uint8)

    def publish() -> None:
        picture[0, 0] += 1  # a picture that stays the same is of a frozen camera
        message = CompressedImage(format="png", data=cv2.imencode(".png", picture)[1].tobytes())
        message.header.stamp = outside.node.get_clock().now().to_msg()
        outside.compressed["right_wrist"].publish(message)

    outside.node.create_timer(0.02, publish)
    outside.await_chunks()
    assert (policy.observations[-1].images[2, -1, 32:, 32:] == [3, 2, 1]).all()


def test_joint_states_are_reordered_by_name_and_faults_hold(outside: Outside, policy: FakePolicy) -> None:
    outside.joint_names.reverse()
    outside.joint_positions.reverse()
    outside.activate()
    outside.await_chunks()
    np.testing.assert_allclose(policy.observations[-1].joint_state, POSITIONS)

    outside.joint_positions[13] = float("nan")
    outside.await_message("not planning: joint_states: left_joint1 is nan")
    outside.joint_positions[13] = 0.1
    outside.await_chunks()
    outside.joint_names[0] = "elbow"
    outside.await_message("right_gripper is ")
    outside.await_silence()
    outside.joint_names[0] = "right_gripper"
    outside.await_chunks()
    np.testing.assert_allclose(policy.observations[-1].joint_state, POSITIONS)


def test_other_drivers_share_joint_states_and_names_of_our_own_with_a_prefix_are_told(
    outside: Outside, policy: FakePolicy
) -> None:
    base = outside.node.create_publisher(JointState, "joint_states", 10)
    wheels = JointState(name=["wheel_left", "wheel_right"], position=[0.0, 0.0])
    timer = outside.node.create_timer(0.002, lambda: base.publish(wheels))
    outside.activate()
    outside.await_chunks()
    failures = policy.num_resets
    outside.await_chunks(20)
    assert policy.num_resets == failures, "planning was never interrupted"
    outside.joint_names = [f"piper_{name}" for name in JOINT_NAMES]
    timer.cancel()
    outside.await_message("only other joints: piper_left_joint1, piper_left_joint2")
    outside.joint_names = list(JOINT_NAMES)
    outside.await_chunks()


def test_a_publisher_for_each_arm_is_as_good_as_one_for_both(outside: Outside, policy: FakePolicy) -> None:
    right = outside.node.create_publisher(JointState, "joint_states", 10)

    def publish() -> None:
        message = JointState(name=JOINT_NAMES[7:], position=POSITIONS[7:].tolist())
        message.header.stamp = outside.node.get_clock().now().to_msg()
        right.publish(message)

    outside.joint_names, outside.joint_positions = list(JOINT_NAMES[:7]), POSITIONS[:7].tolist()
    outside.activate()
    outside.await_message("missing: right_joint1")
    timer = outside.node.create_timer(0.015, publish)
    outside.await_chunks(5)
    np.testing.assert_allclose(policy.observations[-1].joint_state, POSITIONS)
    timer.cancel()
    outside.await_message("right_joint1")
    outside.await_silence()
    timer.reset()
    outside.await_chunks()


def test_a_configuration_that_fails_leaves_nothing(ros: None, policy: FakePolicy, monkeypatch: Any) -> None:
    closed: list[bool] = []
    monkeypatch.setattr(policy, "close", lambda: closed.append(True))
    node = PolicyNode(lambda config: policy, parameter_overrides=[Parameter("replan_interval", value=16)])
    subscriptions, threads = len(list(node.subscriptions)), threading.active_count()
    assert node.trigger_configure() is TransitionCallbackReturn.FAILURE
    assert node._fault is not None
    assert "replan_interval is 16, a chunk of wav-tiny has 16 rows: at most 15 fit" in node._fault
    assert closed == [True]
    assert (len(list(node.subscriptions)), threading.active_count()) == (subscriptions, threads)
    node.close()


def test_what_configure_begins_clean_up_ends(ros: None, policy: FakePolicy) -> None:
    node = PolicyNode(lambda config: policy)
    subscriptions, threads = len(list(node.subscriptions)), threading.active_count()
    for _ in range(3):
        assert node.trigger_configure() is TransitionCallbackReturn.SUCCESS
        assert len(list(node.subscriptions)) == subscriptions + 8, "raw and compressed of three, joints, instruction"
        assert "subscriptions" in [thread.name for thread in threading.enumerate()]
        assert node.trigger_cleanup() is TransitionCallbackReturn.SUCCESS
        assert (len(list(node.subscriptions)), threading.active_count()) == (subscriptions, threads)
    node.close()


def test_a_round_that_does_not_fit_is_said_at_configure_and_of_every_plan(
    outside: Outside, policy: FakePolicy, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing acts without planning silently: both numbers before the first plan, the state while it lasts."""
    policy.planner = dataclasses.replace(policy.planner, deadline=0.25)
    policy.cost = PlanCost(total=1.0, beside_rounds=0.08, rounds={(2, 1): 0.31})
    policy.num_rounds = 0
    outside.activate()
    (warning,) = [line for line in capfd.readouterr().err.splitlines() if "WITHOUT planning" in line]
    assert "[WARN]" in warning
    assert "acting WITHOUT planning: a plan with one round of 2 futures and 1 value sample takes 390 ms" in warning
    assert "the deadline is 250 ms" in warning
    outside.await_chunks()
    outside.await_message("acting WITHOUT planning: the deadline leaves no time for a round")
    assert outside.diagnostics["policy_node: planning"].level == DiagnosticStatus.WARN
    assert outside.value("rounds_asked") == "1"
    assert int(outside.value("plans_without_round")) >= 1

    policy.num_rounds = 1
    outside.await_message("plans WITHOUT a round")
    wait_for(lambda: outside.planning == "planning", "plans that planned, only")
    assert outside.diagnostics["policy_node: planning"].level == DiagnosticStatus.OK
    assert 0.0 < float(outside.value("rounds_mean")) < 1.0


def test_what_a_plan_had_to_leave_out_is_said(outside: Outside, policy: FakePolicy) -> None:
    policy.planner = dataclasses.replace(policy.planner, num_iterations=3, num_value_samples=2)
    outside.activate()
    outside.await_message("planning less than asked: 1 of 3 rounds, 2 of 2 futures, 1 of 2 value samples")
    assert outside.diagnostics["policy_node: planning"].level == DiagnosticStatus.OK
    assert int(outside.value("plans_shed")) >= 1


def test_no_planning_that_nobody_asked_for_is_missed(outside: Outside, policy: FakePolicy) -> None:
    policy.planner = dataclasses.replace(policy.planner, num_iterations=0)
    policy.num_rounds = 0
    outside.activate()
    outside.await_chunks()
    wait_for(lambda: outside.planning == "planning", "the report of a plan")
    assert outside.value("plans_without_round") == "0"


def test_a_planning_error_is_diagnosed_and_survived(outside: Outside, policy: FakePolicy) -> None:
    outside.activate()
    outside.await_chunks()
    policy.error = RuntimeError("scores are not finite")
    outside.await_message("not planning: planning failed: RuntimeError: scores are not finite")
    outside.await_silence()
    policy.error = None
    outside.await_chunks()
    wait_for(lambda: outside.planning == "planning", "the report of a plan")
    assert int(outside.value("failed")) >= 1


def test_a_new_instruction_starts_a_new_plan(outside: Outside, policy: FakePolicy) -> None:
    outside.activate()
    outside.await_chunks()
    resets = policy.num_resets
    outside.instruction.publish(String(data="open the drawer"))
    wait_for(lambda: policy.observations[-1].instruction == "open the drawer", "the new instruction")
    assert policy.num_resets > resets


def test_an_instruction_that_arrives_late_does_not_replace_a_newer_one() -> None:
    """Who joins hears what every speaker said last, in any order; times are those of speaking, from the middleware."""
    subscribed: list[Any] = []
    node = SimpleNamespace(create_subscription=lambda kind, topic, callback, qos, raw: subscribed.append(callback))
    heard: list[str] = []
    subscribe_instruction(node, heard.append)  # type: ignore[arg-type]

    def say(words: str, said: int, received: int) -> None:
        data = serialize_message(String(data=words))
        subscribed[0](data, {"source_timestamp": said, "received_timestamp": received})

    for words, said in (("fold the towel", 7), ("open the drawer", 3), ("wave", 8)):
        say(words, said, 9 * 10**9)
    assert heard == ["fold the towel", "wave"]
    say("after the clock was set back", 1, 10**8)
    say("and again", 3, 10**8)
    assert heard[2:] == ["after the clock was set back", "and again"]


def test_the_chosen_future_is_shown_at_the_times_it_imagines(outside: Outside) -> None:
    outside.activate()
    outside.await_chunks()
    wait_for(lambda: len(outside.imagined) >= 4, "imagined frames")
    stamps = [stamp_to_seconds(chunk.header.stamp) for chunk in outside.chunks]
    frame = outside.imagined[0]
    assert (frame.height, frame.width, frame.encoding, frame.data[0]) == (4, 6, "rgb8", 100)
    shown = stamp_to_seconds(frame.header.stamp)
    assert any(shown == pytest.approx(stamp + ahead, rel=0.0, abs=1e-5) for stamp in stamps for ahead in (0.8, 1.6))


def test_montage_and_paths_come_when_somebody_listens(outside: Outside) -> None:
    montages: list[Image] = []
    paths: list[MarkerArray] = []
    outside.node.create_subscription(Image, "imagined/montage", montages.append, 10)
    outside.node.create_subscription(MarkerArray, "imagined/markers", paths.append, 10)
    outside.activate()
    wait_for(lambda: bool(montages and paths), "montage and paths")
    assert (montages[0].height, montages[0].width) == (2 * 160, 3 * 160)
    pixels = np.asarray(montages[0].data).reshape(320, 480, 3)
    assert (np.abs(pixels[:160].astype(int) - 50) < 8).all()  # the cameras
    assert (pixels[160:, 160:320] == 100).all()  # the left wrist as imagined
    texts = {marker.ns: marker.text for marker in paths[0].markers if marker.text}
    assert set(texts) == {"value left", "value right"}
    assert {marker.text for marker in paths[0].markers if marker.ns == "value left"} == {"0.25", "0.00"}


def test_all_futures_of_a_plan_come_when_somebody_listens(outside: Outside) -> None:
    sheets: list[Image] = []
    outside.node.create_subscription(Image, "imagined/futures", sheets.append, 10)
    outside.activate()
    wait_for(lambda: bool(sheets), "the futures")
    width, height = TILE
    assert (sheets[0].height, sheets[0].width, sheets[0].encoding) == (height + CAPTION, 2 * width, "rgb8")
    pixels = np.asarray(sheets[0].data).reshape(height + CAPTION, 2 * width, 3)
    assert (pixels[height // 2, width // 2] == 200).all(), "the better one comes first"
    assert (pixels[height // 2, width + width // 2] == 60).all()
    assert stamp_to_seconds(sheets[0].header.stamp) in {stamp_to_seconds(c.header.stamp) for c in outside.chunks}
