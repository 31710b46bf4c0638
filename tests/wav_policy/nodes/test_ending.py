"""Every node ends in order, whatever asks it to: Ctrl-C, Ctrl-\\, SIGTERM, a closed terminal."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from lifecycle_msgs.msg import Transition  # noqa: E402
from rclpy.qos import qos_profile_sensor_data  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402

from tests.wav_policy.nodes.arms_process import LOOP, Probe, Robot, node_command  # noqa: E402
from tests.wav_policy.terminal import Terminal  # noqa: E402
from wav_models.signals import END_SIGNALS  # noqa: E402
from wav_policy.bringup.node_table import LIFECYCLE_MANAGER, NODES  # noqa: E402
from wav_policy.bringup.paths import PACKAGE  # noqa: E402

pytestmark = pytest.mark.ros

OURS = [entry.executable for entry in (*NODES, LIFECYCLE_MANAGER) if entry.package == PACKAGE]


@pytest.fixture(scope="module")
def probe() -> Iterator[Probe]:
    rclpy.init()
    yield Probe()
    rclpy.shutdown()


def start(node: str, probe: Probe, repository: Path, tmp_path: Path) -> Terminal:
    """The node in a terminal, up."""
    parameters = {"monitor": ["-p", "port:=0"], "recorder_node": ["-p", f"dataset:={tmp_path / 'data'}"]}
    links = [f"can_{side}:={tmp_path / side}" for side in ("left", "right")] if node == "sim_node" else []
    arguments = [*parameters.get(node, ()), *(part for link in links for part in ("-p", link))]
    command = [sys.executable, "-m", f"wav_policy.nodes.{node}", "--ros-args", *arguments]
    probe.wait_until(lambda: node not in probe.node.get_node_names())  # the one of the test before has gone
    terminal = Terminal(command, repository)
    terminal.wait_until(lambda: node in probe.node.get_node_names())
    return terminal


@pytest.mark.parametrize("node", OURS)
def test_a_closed_terminal_is_an_orderly_end(node: str, probe: Probe, repository: Path, tmp_path: Path) -> None:
    terminal = start(node, probe, repository, tmp_path)
    try:
        time.sleep(0.5)
        terminal.close()
        assert terminal.process.wait(timeout=20.0) == 0
    finally:
        terminal.kill()


@pytest.mark.parametrize("number", END_SIGNALS)
@pytest.mark.parametrize("node", ["diagnostic_markers", "lifecycle_manager", "sim_node"])
def test_every_signal_is(node: str, number: signal.Signals, probe: Probe, repository: Path, tmp_path: Path) -> None:
    """One node for each of the three ways in which they spin."""
    terminal = start(node, probe, repository, tmp_path)
    try:
        time.sleep(0.5)
        terminal.process.send_signal(number)
        assert terminal.process.wait(timeout=20.0) == 0
        assert "Traceback" not in terminal.text
    finally:
        terminal.kill()


@pytest.mark.parametrize("how", ["close", signal.SIGQUIT])
def test_moving_arms_brake(how: str | signal.Signals, probe: Probe, repository: Path, tmp_path: Path) -> None:
    terminal = Terminal(node_command(tmp_path, repository), repository)
    robot = Robot(tmp_path, repository, process=terminal.process)
    targets: list[tuple[float, float]] = []
    subscription = probe.node.create_subscription(
        JointState,
        "joint_targets",
        lambda message: targets.append((time.monotonic(), message.position[0])),
        qos_profile_sensor_data,
    )
    try:
        for arm in robot.arms:
            arm.start()
        assert probe.change_state(Transition.TRANSITION_CONFIGURE), terminal.text
        assert probe.change_state(Transition.TRANSITION_ACTIVATE), terminal.text
        probe.wait_until(lambda: probe.chunks.get_subscription_count() == 1)
        start = robot.position.copy()
        probe.lead(start, 1.0, lambda: probe.messages().get(LOOP) == "following the chunk", rows=20)
        probe.wait_until(lambda: abs(robot.position[0] - start[0]) > 0.1)
        asked = time.monotonic()
        if isinstance(how, signal.Signals):
            terminal.process.send_signal(how)
        else:
            terminal.close()
        probe.spin(1.0)
        assert terminal.process.wait(timeout=20.0) == 0
        after = np.array([position for moment, position in targets if moment > asked])
        assert len(after) > 10, "nothing was commanded after the signal: the arms were left to themselves"
        steps = np.abs(np.diff(after))
        assert steps[-3:].max() < 0.1 * max(steps.max(), 1e-4) + 1e-5, "still moving at the end"
        assert abs(robot.position[0] - start[0]) < 0.9, "the chunk was followed to its end"
        assert all(plant.powered for plant in robot.plants)
    finally:
        probe.node.destroy_subscription(subscription)
        terminal.kill()
        robot.close()
