"""The monitor node against a small world of topics and services; a browser's websocket in place of a browser."""

from __future__ import annotations

import array
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np
import pytest
import simplejpeg
from websockets.sync.client import connect

from tests.wav_policy.nodes.fake_browser import browser

rclpy = pytest.importorskip("rclpy")

from builtin_interfaces.msg import Time  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from lifecycle_msgs.msg import State  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image, JointState  # noqa: E402
from std_msgs.msg import Float32MultiArray, MultiArrayDimension  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402

from tests.wav_policy.nodes.operated_robot import Robot  # noqa: E402
from wav_models.types import ActionChunk, Plan  # noqa: E402
from wav_policy.bringup.parameter_files import ParameterError  # noqa: E402
from wav_policy.monitor import commands  # noqa: E402
from wav_policy.monitor.commands import CommandError  # noqa: E402
from wav_policy.monitor.snapshot import CONTROL  # noqa: E402
from wav_policy.nodes.messages.chunk_topic import CHUNK_TOPIC  # noqa: E402
from wav_policy.nodes.messages.images import message_from_rgb  # noqa: E402
from wav_policy.nodes.messages.plan_messages import ROUNDS_TOPIC, VALUE_TOPIC, value_message  # noqa: E402
from wav_policy.nodes.messages.trajectory import chunk_to_message  # noqa: E402
from wav_policy.nodes.monitor import Monitor  # noqa: E402
from wav_policy.nodes.monitor_feed import MonitorFeed  # noqa: E402
from wav_policy.robot.cameras import VIEWS  # noqa: E402
from wav_policy.robot.joints import JOINT_NAMES  # noqa: E402

pytestmark = pytest.mark.ros

PATIENCE = 30.0


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.fixture(scope="module")
def ros() -> Iterator[None]:
    rclpy.init()
    yield
    rclpy.shutdown()


@pytest.fixture(scope="module")
def system(ros: None) -> Iterator[tuple[Monitor, Robot]]:
    """The monitor and what is around it, both spinning."""
    monitor, robot = Monitor(parameter_overrides=[Parameter("port", value=0)]), Robot()
    executors = [SingleThreadedExecutor(), SingleThreadedExecutor()]
    threads = []
    for node, executor in zip((monitor, robot.node), executors, strict=True):
        executor.add_node(node)
        threads.append(threading.Thread(target=executor.spin, daemon=True))
        threads[-1].start()
    yield monitor, robot
    for executor, thread in zip(executors, threads, strict=True):
        executor.shutdown()
        thread.join(PATIENCE)
    monitor.close()
    robot.node.destroy_node()


def num_subscribers(robot: Robot) -> int:
    return int(robot.node.count_subscribers("head/image_raw"))


def test_pictures_flow_only_while_somebody_watches(system: tuple[Monitor, Robot]) -> None:
    monitor, robot = system
    assert num_subscribers(robot) == 0
    with browser(monitor.url) as page:
        wait_for(lambda: page.has_picture("real head"), "no picture")
        assert num_subscribers(robot) == 1
        wait_for(lambda: page.shows("not planning: <b>no</b> instruction"), "no state")
    wait_for(lambda: num_subscribers(robot) == 0, "the monitor still listens")


def test_what_went_silent_is_not_shown_as_if_it_were_live(system: tuple[Monitor, Robot]) -> None:
    """In the pose of zeros, arms that nobody measures would look as if they lay on the table."""
    monitor, robot = system
    cameras = [f"real {view}" for view in VIEWS]
    with browser(monitor.url) as page:

        def has_arms() -> bool:
            page.read(0.1)
            return page.contents.get("arms") is not None

        wait_for(lambda: all(map(page.has_picture, cameras)), "no pictures")
        wait_for(has_arms, "no arms")
        robot.cameras = False
        time.sleep(1.0)
        robot.joints = False
        wait_for(lambda: not any(map(page.has_picture, cameras)), "they are still there")
        assert has_arms(), "joints came for longer"
        robot.cameras = True
        wait_for(lambda: not has_arms(), "the arms stay where they were last seen")
        wait_for(lambda: all(map(page.has_picture, cameras)), "no pictures again")
        robot.joints = True
        wait_for(has_arms, "no arms again")


@pytest.mark.parametrize("raw", ["", "16UC1"])
def test_a_camera_without_raw_pictures_is_shown_by_its_compressed_ones(ros: None, raw: str) -> None:
    node = rclpy.create_node("jpeg_camera", namespace="other_robot")
    compressed = node.create_publisher(CompressedImage, "head/image_raw/compressed", 1)
    depth = node.create_publisher(Image, "head/image_raw", 1) if raw else None
    feed = MonitorFeed(node)
    feed.open()
    jpeg = simplejpeg.encode_jpeg(np.full((48, 64, 3), (200, 100, 0), np.uint8))
    picture = CompressedImage(format="jpeg", data=array.array("B", jpeg))
    try:

        def has_picture() -> bool:
            compressed.publish(picture)
            if depth is not None:
                depth.publish(Image(height=2, width=2, encoding=raw, step=4, data=array.array("B", bytes(8))))
            return "head" in feed.snapshot().real

        wait_for(has_picture, "no picture")
        np.testing.assert_allclose(feed.snapshot().real["head"][5, 5], (200, 100, 0), atol=8)
    finally:
        feed.close()
        node.destroy_node()


def test_the_value_of_a_plan_that_is_over_is_not_shown_as_that_of_now(ros: None) -> None:
    """After Hold or a stop nothing is planned: a value that stays would pass for a prediction."""
    node = rclpy.create_node("thinker", namespace="thinking_robot")
    publisher = node.create_publisher(Float32MultiArray, VALUE_TOPIC, 1)
    feed = MonitorFeed(node)
    feed.open()
    chunk = ActionChunk(np.zeros((4, 14)), 0.0, 0.1)
    message = value_message(Plan(chunk, np.full(4, 0.5), (), "completed", {}, 0))
    try:

        def has_value() -> bool:
            publisher.publish(message)
            return feed.snapshot().values is not None

        wait_for(has_value, "no value")
        wait_for(lambda: feed.snapshot().values is None, "the value stays")
        assert feed.snapshot().value_times is None
    finally:
        feed.close()
        node.destroy_node()


def test_what_cannot_be_shown_costs_itself_and_not_the_page(ros: None) -> None:
    """Joints, plans and values of others that are none: the cameras must not stand still for them."""
    node = rclpy.create_node("babbler", namespace="babbling_robot")
    nan = float("nan")
    value, rounds = Float32MultiArray(data=[nan] * 8), Float32MultiArray(data=[0.0] * 4)
    value.layout.dim = [
        MultiArrayDimension(label="time [s], value", size=2),
        MultiArrayDimension(label="step", size=4),
    ]
    chunk = chunk_to_message(ActionChunk(np.full((4, 14), nan), 1.0, 0.1))
    said = [
        (node.create_publisher(Float32MultiArray, VALUE_TOPIC, 1), value),
        (node.create_publisher(Float32MultiArray, ROUNDS_TOPIC, 1), rounds),
        (node.create_publisher(JointState, "joint_states", 1), JointState(name=JOINT_NAMES, position=[nan] * 14)),
        (node.create_publisher(JointTrajectory, CHUNK_TOPIC, 1), chunk),
        (node.create_publisher(Image, "left_wrist/image_raw", 1), Image(height=1, width=99_000, encoding="mono8")),
        (node.create_publisher(Image, "head/image_raw", 1), message_from_rgb(np.zeros((24, 32, 3), np.uint8), Time())),
    ]
    feed = MonitorFeed(node)
    feed.open()
    try:
        for publisher, _ in said:
            wait_for(lambda: publisher.get_subscription_count() == 1, "nobody listens")  # noqa: B023
        for _ in range(10):
            for publisher, message in said:
                publisher.publish(message)
            time.sleep(0.05)
            snapshot = feed.snapshot()
        assert set(snapshot.real) == {"head"}
        assert (snapshot.joints, snapshot.chunk, snapshot.values, snapshot.scores) == (None, None, None, None)
    finally:
        feed.close()
        node.destroy_node()


def test_somebody_with_ever_new_names_does_not_fill_the_memory(ros: None) -> None:
    node = rclpy.create_node("counter", namespace="")
    feed = MonitorFeed(node)
    try:
        for number in range(100):
            names = [*(f"job: {number}.{each}" for each in range(20)), *([CONTROL] if number == 0 else [])]
            feed._on_diagnostics(DiagnosticArray(status=[DiagnosticStatus(name=name) for name in names]))
        reports = feed.snapshot().reports
        assert CONTROL in reports
        assert "job: 99.19" in reports
        assert len(reports) < 300
    finally:
        node.destroy_node()


@pytest.mark.slow
def test_many_tabs_and_one_that_stalls(system: tuple[Monitor, Robot]) -> None:
    """A browser that reads nothing is owed only the newest of everything; the others go on."""
    monitor, _ = system
    with ExitStack() as stack:
        stalled = stack.enter_context(browser(monitor.url))
        tabs = [stack.enter_context(browser(monitor.url)) for _ in range(4)]
        for _ in range(3):
            for tab in tabs:
                before = tab.num_pictures
                wait_for(lambda tab=tab, before=before: tab.read(0.1) or tab.num_pictures > before, "no pictures")  # type: ignore[misc]
        time.sleep(3.0)
        stalled.read(1.0)
        wait_for(lambda: stalled.has_picture("real head"), "the stalled one is forgotten")


def test_commands_reach_their_services(system: tuple[Monitor, Robot]) -> None:
    monitor, robot = system
    wait_for(lambda: commands.STOP in monitor.commander.available(), "no emergency stop")
    available = monitor.commander.available()
    assert {
        commands.START,
        commands.HOLD,
        commands.HOME,
        commands.RESET,
        commands.RESET_TASK,
        commands.INSTRUCT,
    } <= available
    assert commands.RECORD_START not in available  # there is no recorder
    robot.called.clear()
    for command in (commands.STOP, commands.RESET, commands.RESET_TASK):
        assert monitor.commander.obey(command) == "done"
    assert robot.called == ["piper/stop", "piper/reset", "sim/reset"]
    monitor.commander.obey(commands.START)
    assert robot.called[3:] == ["piper/enable", "policy_node 3"]  # the arms are active already
    monitor.commander.obey(commands.HOLD)
    assert robot.called[5:] == ["piper/hold", "policy_node 4"]
    monitor.commander.obey(commands.INSTRUCT, " wave ")
    wait_for(lambda: robot.instructions[-1:] == ["wave"], "no instruction")


@pytest.mark.parametrize("halt", [commands.HOLD, commands.STOP, commands.HOME])
@pytest.mark.parametrize("during", ["piper/enable", "policy_node 3"])
def test_a_halt_during_start_has_the_last_word(system: tuple[Monitor, Robot], halt: str, during: str) -> None:
    monitor, robot = system
    robot.states["policy_node"] = State.PRIMARY_STATE_INACTIVE
    robot.called.clear()
    pressed = threading.Thread(target=monitor.commander.obey, args=(halt,))

    def press() -> None:
        pressed.start()
        wait_for(lambda: monitor.commander._halts > halts, "nothing was pressed")

    halts = monitor.commander._halts
    robot.meanwhile = {during: press}
    with pytest.raises(CommandError, match="interrupted by Hold, Home or the emergency stop"):
        monitor.commander.obey(commands.START)
    robot.meanwhile = {}
    pressed.join()
    assert robot.states["policy_node"] == State.PRIMARY_STATE_INACTIVE
    assert ("policy_node 3" in robot.called) == (during == "policy_node 3")


def test_impatient_clicks_do_not_pile_up_before_a_stop(system: tuple[Monitor, Robot]) -> None:
    """Each waits in a thread of the server's pool."""
    monitor, robot = system
    answered = threading.Event()
    robot.called.clear()
    robot.meanwhile = {"sim/reset": lambda: answered.wait(PATIENCE) and None}
    first = threading.Thread(target=monitor.commander.obey, args=(commands.RESET_TASK,))
    first.start()
    try:
        wait_for(lambda: "sim/reset" in robot.called, "nothing was pressed")
        for _ in range(3):
            with pytest.raises(CommandError, match="reset task is still under way"):
                monitor.commander.obey(commands.RESET_TASK)
    finally:
        answered.set()
        first.join()
        robot.meanwhile = {}
    assert monitor.commander.obey(commands.RESET_TASK) == "done"
    assert monitor.commander.obey(commands.STOP) == "done"


def test_a_second_hold_brakes_again(system: tuple[Monitor, Robot]) -> None:
    """While the first waits for whoever leads to stop leading, the arms may be led on."""
    monitor, robot = system
    robot.states["policy_node"] = State.PRIMARY_STATE_ACTIVE
    robot.called.clear()
    refusals: list[str] = []

    def hold_again() -> None:
        try:
            monitor.commander.obey(commands.HOLD)
        except CommandError as error:
            refusals.append(str(error))

    again = threading.Thread(target=hold_again)

    def press() -> None:
        again.start()
        wait_for(lambda: monitor.commander._halts > halts, "nothing was pressed")
        time.sleep(0.2)

    halts = monitor.commander._halts + 1
    robot.meanwhile = {"policy_node 4": press}
    monitor.commander.obey(commands.HOLD)
    again.join()
    robot.meanwhile = {}
    assert refusals == ["hold is still under way"]
    assert robot.called == ["piper/hold", "policy_node 4", "piper/hold"]


def test_home_lets_nobody_lead_the_arms_away_again(system: tuple[Monitor, Robot]) -> None:
    monitor, robot = system
    robot.states["policy_node"] = State.PRIMARY_STATE_ACTIVE
    robot.called.clear()
    assert monitor.commander.obey(commands.HOME) == "done; Start goes on"
    assert robot.called == ["piper/hold", "policy_node 4", "piper/home"]


@pytest.mark.parametrize("halt", [commands.HOLD, commands.STOP])
@pytest.mark.parametrize("during", ["piper/hold", "policy_node 4", "piper/home"])
def test_a_halt_during_home_has_the_last_word(system: tuple[Monitor, Robot], halt: str, during: str) -> None:
    """Before the arms have begun to move home they do not; on the way `piper/hold` and `piper/stop` end it."""
    monitor, robot = system
    robot.states["policy_node"] = State.PRIMARY_STATE_ACTIVE
    robot.called.clear()
    pressed = threading.Thread(target=monitor.commander.obey, args=(halt,))
    halts = monitor.commander._halts + 1

    def press() -> None:
        if not pressed.ident:
            pressed.start()
            wait_for(lambda: monitor.commander._halts > halts, "nothing was pressed")

    robot.meanwhile = {during: press}
    if during == "piper/home":
        monitor.commander.obey(commands.HOME)
    else:
        with pytest.raises(CommandError, match="Home was interrupted"):
            monitor.commander.obey(commands.HOME)
    robot.meanwhile = {}
    pressed.join()
    assert ("piper/home" in robot.called) == (during == "piper/home")
    last = [call for call in robot.called if call in ("piper/home", "piper/hold", "piper/stop")][-1]
    assert last != "piper/home"


def test_the_token_is_printed_and_not_logged(ros: None, capfd: pytest.CaptureFixture[str]) -> None:
    monitor = Monitor(parameter_overrides=[Parameter("port", value=0), Parameter("host", value="0.0.0.0")])
    try:
        told = capfd.readouterr()
        assert monitor.url in told.out
        assert "the page is at http://" in told.err
        assert "token" not in told.err
    finally:
        monitor.close()


def test_refusals_are_told(system: tuple[Monitor, Robot]) -> None:
    monitor, robot = system
    robot.refuse = "the arms are asleep"
    with pytest.raises(CommandError, match="piper/stop refused: the arms are asleep"):
        monitor.commander.obey(commands.STOP)
    robot.refuse = ""
    with pytest.raises(CommandError, match="empty"):
        monitor.commander.obey(commands.INSTRUCT, "  ")
    with pytest.raises(CommandError, match="no service .*recorder/start"):
        monitor.commander.obey(commands.RECORD_START)


def test_hold_does_what_it_can_and_tells_what_failed(system: tuple[Monitor, Robot]) -> None:
    monitor, robot = system
    robot.states["policy_node"] = State.PRIMARY_STATE_ACTIVE
    robot.refuse = "the bus is gone"
    robot.called.clear()
    with pytest.raises(CommandError, match="piper/hold refused: the bus is gone.*EMERGENCY STOP"):
        monitor.commander.obey(commands.HOLD)
    robot.refuse = ""
    assert robot.called == ["piper/hold", "policy_node 4"], "the policy stops all the same"


def test_hold_names_a_stranger_whose_next_chunk_the_arms_would_follow(system: tuple[Monitor, Robot]) -> None:
    monitor, robot = system
    publisher = robot.node.create_publisher(JointTrajectory, CHUNK_TOPIC, 1)
    wait_for(lambda: monitor.count_publishers(CHUNK_TOPIC) == 1, "the stranger does not show")
    robot.called.clear()
    with pytest.raises(CommandError, match="around also publishes action_chunk.*EMERGENCY STOP"):
        monitor.commander.obey(commands.HOLD)
    assert robot.called[0] == "piper/hold"
    with pytest.raises(CommandError, match="done, but around also publishes action_chunk"):
        monitor.commander.obey(commands.HOME)
    robot.node.destroy_publisher(publisher)
    wait_for(lambda: monitor.count_publishers(CHUNK_TOPIC) == 0, "the stranger does not go")
    assert "the arms hold" in monitor.commander.obey(commands.HOLD)


def test_a_clock_that_stands_still_does_not_silence_the_page(ros: None) -> None:
    """`use_sim_time` without /clock: the browser would take the robot for lost."""
    overrides = [Parameter("port", value=0), Parameter("use_sim_time", value=True)]
    monitor, executor = Monitor(parameter_overrides=overrides), SingleThreadedExecutor()
    executor.add_node(monitor)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    try:
        with connect(monitor.url.replace("http", "ws") + "operator") as page:
            times = [json.loads(page.recv(timeout=PATIENCE))["time"] for _ in range(10)]
        assert times == sorted(set(times))
    finally:
        executor.shutdown()
        thread.join(PATIENCE)
        monitor.close()


def test_a_policy_that_ends_and_comes_back(system: tuple[Monitor, Robot]) -> None:
    monitor, robot = system
    with browser(monitor.url) as page:
        wait_for(lambda: page.shows('"not planning'), "no state")
        robot.silent = True
        wait_for(lambda: page.shows("silent (last: not planning"), "nobody noticed")
        robot.silent = False
        wait_for(lambda: page.shows('"not planning'), "the policy is still taken as gone")


def test_wrong_parameters_and_a_taken_port_are_one_clear_error(system: tuple[Monitor, Robot]) -> None:
    monitor, _ = system
    port = int(monitor.url.rstrip("/").rpartition(":")[2])
    for name, value, match in (("rate", 1000.0, "rate"), ("port", port, "cannot listen"), ("prot", 1, "'port'")):
        with pytest.raises(ParameterError, match=match):
            Monitor(parameter_overrides=[Parameter(name, value=value)])
