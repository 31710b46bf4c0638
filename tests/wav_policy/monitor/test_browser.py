"""The page in a real browser, with the simulated robot and the policy node behind it."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.wav_policy.monitor.browser import CHROMIUM, Browser, Tab, running_browser
from wav_policy.bringup.arguments import parse
from wav_policy.bringup.node_table import NodeLaunch, launches
from wav_policy.bringup.supervisor import Supervisor

rclpy = pytest.importorskip("rclpy")

from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import qos_profile_sensor_data  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402

from wav_models.data.images import resize_image  # noqa: E402
from wav_models.planner.config import PlannerConfig  # noqa: E402
from wav_models.presets import WAV_TINY  # noqa: E402
from wav_models.types import ActionChunk, FloatArray, ImageArray, Observation, Plan, PlanRound  # noqa: E402
from wav_policy.cli.demo_page import DemoPage  # noqa: E402
from wav_policy.nodes.clients.system_client import SystemClient  # noqa: E402
from wav_policy.nodes.messages.chunk_topic import CHUNK_TOPIC, REQUESTED_QOS  # noqa: E402
from wav_policy.nodes.messages.joint_state import permutation  # noqa: E402
from wav_policy.nodes.messages.trajectory import chunk_to_message  # noqa: E402
from wav_policy.nodes.policy_node import PolicyNode  # noqa: E402
from wav_policy.policy.imagined_futures import ImaginedFutures  # noqa: E402
from wav_policy.policy.planning_effort import PlanCost  # noqa: E402
from wav_policy.robot.joints import JOINT_DIM  # noqa: E402

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.ros,
    pytest.mark.sim,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
]

PATIENT: dict[str, Any] = {
    "observation.max_image_age": 5.0,
    "observation.max_image_skew": 5.0,
    "observation.max_joint_age": 5.0,
    "imagine_rate": 2.0,
}
"""For machines that are busy with other things: what the policy thinks of late pictures is tested elsewhere."""
PATIENCE = 120.0
CONTROL, PLANNING, NODES = "piper_node: control loop", "policy_node: planning", "lifecycle_manager: nodes"
TURN_RATE = 0.3
"""Of joint 1, away from the other arm, while the test leads the left arm [rad/s]."""


class Robot:
    """What the test knows of the running system."""

    def __init__(self, log: list[str]) -> None:
        self.client = SystemClient()
        self.log = log
        self.speed = np.inf
        self.positions: FloatArray = np.zeros(JOINT_DIM)
        self._chunks = self.client.node.create_publisher(JointTrajectory, CHUNK_TOPIC, REQUESTED_QOS)
        self.client.node.create_subscription(JointState, "joint_states", self._on_joints, qos_profile_sensor_data)

    def _on_joints(self, message: JointState) -> None:
        order = permutation(message.name)
        self.positions = np.asarray(message.position)[order]
        self.speed = float(np.abs(np.asarray(message.velocity)).max())

    def lead(self) -> None:
        """Turn the left arm outwards."""
        stamp = self.client.node.get_clock().now().nanoseconds * 1e-9
        rows = np.tile(self.positions, (16, 1))
        rows[:, 0] += TURN_RATE * 0.1 * np.arange(1, 17)
        self._chunks.publish(chunk_to_message(ActionChunk(rows, stamp, 0.1)))

    def stop_leading(self) -> None:
        self.client.node.destroy_publisher(self._chunks)

    def report(self, name: str) -> str:
        return self.client.reports[name].message if name in self.client.reports else ""

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        assert self.client.spin_until(condition, PATIENCE), f"{what}; {self.client.reports}\n{''.join(self.log[-40:])}"


def patient(node: NodeLaunch) -> NodeLaunch:
    """Without what is tested elsewhere and costs a busy machine too much."""
    parameters = {**node.parameters, "safety.collision.check": False} if node.name == "piper_node" else node.parameters
    return dataclasses.replace(node, niceness=0, parameters=parameters)


class DreamingPolicy:
    """Sways the arms outwards and back and imagines noise, at no cost: the machine may be busy with other things."""

    def __init__(self) -> None:
        self.config = WAV_TINY
        self.planner = PlannerConfig(num_video_samples=4, num_value_samples=1, num_value_elites=4)
        self.description = "no networks"
        self._generator = np.random.default_rng(0)
        self._rest: FloatArray | None = None

    def plan(self, observation: Observation, **options: Any) -> Plan:
        horizon = self.config.horizon
        self._rest = observation.joint_state if self._rest is None else self._rest
        times = observation.stamp + np.arange(1, horizon.action_horizon + 1) / horizon.step_hz
        rows = np.tile(self._rest, (horizon.action_horizon, 1))
        sway = 0.2 * np.sin(0.7 * times) ** 2
        rows[:, 0] += sway
        rows[:, 7] -= sway
        scores = self._generator.random((3, 4))
        rounds = tuple(PlanRound(row, row[:, None], row, 0.001) for row in scores)
        chunk = ActionChunk(rows, observation.stamp, 1.0 / horizon.step_hz)
        return Plan(chunk, self._generator.random(horizon.value_horizon), rounds, "completed", {"total": 0.01}, 0)

    def imagine(self, plan: Plan) -> ImageArray:
        shape = (3, len(self.config.horizon.future_offsets), 64, 64, 3)
        return self._generator.integers(0, 255, shape, dtype=np.uint8)

    def futures(self, plan: Plan) -> ImaginedFutures:
        images = self._generator.integers(0, 255, (4, 64, 64, 3), dtype=np.uint8)
        last = plan.rounds[-1]
        return ImaginedFutures(images, last.video_score, last.mean_value, int(last.video_score.argmax()))

    def alternatives(self, plan: Plan, count: int) -> tuple[()]:
        return ()

    fit_image = staticmethod(resize_image)

    def reset(self) -> None:
        """Nothing is remembered."""

    def close(self) -> None:
        """It holds nothing."""

    def warm_up(self, instruction: str = "") -> PlanCost:
        return PlanCost(0.0)


@pytest.fixture(scope="module")
def page() -> DemoPage:
    return DemoPage.choose(0)


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory, page: DemoPage) -> Iterator[Robot]:
    """The system of the node table, with a policy node of our own in this process."""
    checkpoint = tmp_path_factory.mktemp("checkpoint")
    (checkpoint / "config.json").write_text("{}")
    arguments = {"sim": "true", "monitor": "true", "monitor_port": str(page.port), "checkpoint": str(checkpoint)}
    log: list[str] = []
    supervisor = Supervisor(lambda line: log.append(line + "\n"))
    robot = Robot(log)
    overrides = [Parameter(name, value=value) for name, value in PATIENT.items()]
    policy = PolicyNode(lambda config: DreamingPolicy(), parameter_overrides=overrides)  # type: ignore[arg-type, return-value]
    executor = SingleThreadedExecutor()
    executor.add_node(policy)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    try:
        supervisor.start(patient(node) for node in launches(parse(arguments)) if node.name != "policy_node")
        robot.wait_for(
            lambda: supervisor.poll() is not None or (robot.report(NODES) == "all nodes active" and page.is_up()),
            "the system is not up",
        )
        assert supervisor.poll() is None, "".join(log[-40:])
        yield robot
    finally:
        supervisor.stop()
        executor.shutdown()
        thread.join()
        policy.close()
        robot.client.close()


@pytest.fixture(scope="module")
def chromium(robot: Robot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with running_browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="module")
def tab(chromium: Browser, page: DemoPage) -> Iterator[Tab]:
    with chromium.open(page.url) as tab:
        yield tab


@pytest.fixture(scope="module")
def view(chromium: Browser, tab: Tab) -> Iterator[Tab]:
    with chromium.view() as view:
        view.wait_for("document.querySelectorAll('figure').length === 6 && newest.pictures['imagined head'] !== null")
        yield view


def test_six_pictures_change(view: Tab, robot: Robot) -> None:
    """Three cameras and three imagined views."""
    labels = [
        f"{name}{kind}" for kind in ("", ", as imagined before") for name in ("head", "left wrist", "right wrist")
    ]
    assert all(label in view.text() for label in labels)
    view.wait_for("[...document.querySelectorAll('figure canvas')].every(canvas => canvas.width > 20)")
    first = view.images()
    assert len(first) == 6
    changed = [False] * 6
    deadline = time.monotonic() + PATIENCE
    while not all(changed) and time.monotonic() < deadline:
        robot.client.spin_until(lambda: False, 0.5)
        changed = [before or now != then for before, now, then in zip(changed, view.images(), first, strict=False)]
    assert all(changed), f"{changed}\n{robot.client.reports}"


def test_both_arms_are_drawn(tab: Tab, view: Tab, robot: Robot, tmp_path: Path) -> None:
    """The grippers' colours, which nothing else in the 3-D view has, are left and right of its middle."""
    import cv2

    file = tmp_path / "page.png"
    tab.screenshot(file)
    left, right = view.evaluate("(r => [r.left, r.right])(find('arms').getBoundingClientRect())")
    view = cv2.imread(str(file))[:, int(left) : int(right)].astype(int)
    blue, green, red = np.moveaxis(view, 2, 0)
    greens = np.nonzero((green > red + 40) & (green > blue + 40))[1]
    purples = np.nonzero((red > green + 40) & (blue > green + 40))[1]
    assert len(greens) > 30, "no left gripper"
    assert len(purples) > 30, "no right gripper"
    assert greens.mean() > purples.mean()  # seen from the front, as by the head camera


def test_an_instruction_typed_there_reaches_the_policy(view: Tab, robot: Robot) -> None:
    words = "put the red bowl on the blue plate, gently"
    view.type("form input", words)
    robot.client.spin_until(lambda: False, 0.5)
    view.click("Send instruction")
    robot.wait_for(
        lambda: robot.client.reports[PLANNING].values["instruction"] == words, "the instruction did not arrive"
    )


def test_stop_is_confirmed_by_both_arms_and_the_way_back_ends_at_a_moving_robot(tab: Tab, robot: Robot) -> None:
    press(tab, "hold")
    robot.wait_for(lambda: robot.report(PLANNING) == "inactive", "the policy went on")
    timer = robot.client.node.create_timer(0.3, robot.lead)
    try:
        robot.wait_for(lambda: robot.speed > 0.5 * TURN_RATE, "the arms did not move")
        tab.press("Escape", "Escape")
        robot.wait_for(lambda: robot.report(CONTROL).startswith("stopped"), "no emergency stop")
        robot.wait_for(lambda: robot.speed < 0.01, "the arms did not come to rest")
        robot.client.spin_until(lambda: False, 1.0)
        assert robot.speed < 0.01, "chunks moved a stopped arm"
    finally:
        robot.client.node.destroy_timer(timer)
        robot.stop_leading()
    tab.wait_for("find('answer').textContent === 'Stop sent, confirmed by left and right'")
    tab.wait_for("find('arms').textContent.startsWith('Arms: stopped') && find('next').textContent.includes('Reset')")
    assert "press Reset first" in press(tab, "start")
    tab.evaluate("(find('supported').click(), true)")
    assert press(tab, "reset").startswith("Reset: left and right lost power")
    assert press(tab, "start").startswith("Start: arms enabled")
    assert press(tab, "home") == "Home: at home; Start goes on"
    assert press(tab, "start").startswith("Start: arms enabled")
    robot.wait_for(lambda: robot.report(CONTROL) == "following the chunk", "no way back")
    robot.wait_for(lambda: robot.speed > 0.02, "nothing moves")


def press(tab: Tab, command: str) -> str:
    """Press a button of the bar once it may be pressed, again where its answer was lost; what the bar answers."""
    button = f"document.querySelector('[data-command={command}]')"
    for _ in range(5):
        tab.wait_for(f"!{button}.disabled && ({button}.click(), true)")
        tab.wait_for("Boolean(order.answer || order.lost)")
        if tab.evaluate("Boolean(order.answer)"):
            break
    return str(tab.evaluate("find('answer').textContent"))
