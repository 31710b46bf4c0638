"""Every node ends in order, whatever asks it to: Ctrl-C, Ctrl-\\, SIGTERM, a closed terminal."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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


@contextmanager
def running(
    nodes: Mapping[str, Sequence[str]], probe: Probe, repository: Path, tmp_path: Path
) -> Iterator[dict[str, Terminal]]:
    """Nodes in terminals of their own, all up at once, each in the namespace that is its key.

    Args:
        nodes: per namespace the node, and what else it is told.
    """
    terminals: dict[str, Terminal] = {}
    try:
        for place, (node, *arguments) in nodes.items():
            command = [sys.executable, "-m", f"wav_policy.nodes.{node}", "--ros-args", "-r", f"__ns:=/{place}"]
            if node == "recorder_node":
                arguments += ["-p", f"dataset:={tmp_path / 'data'}"]
            if node == "sim_node":
                arguments += [
                    part for side in ("left", "right") for part in ("-p", f"can_{side}:={tmp_path / place}-{side}")
                ]
            terminals[place] = Terminal([*command, *arguments], repository)
        for place, terminal in terminals.items():
            up = (nodes[place][0], f"/{place}")
            terminal.wait_until(lambda up=up: up in probe.node.get_node_names_and_namespaces())  # type: ignore[misc]
        time.sleep(0.5)
        yield terminals
    finally:
        for terminal in terminals.values():
            terminal.kill()


@pytest.mark.alone
def test_a_closed_terminal_is_an_orderly_end(probe: Probe, repository: Path, tmp_path: Path) -> None:
    """Of every node of ours."""
    nodes = {node: (node, "-p", "port:=0") if node == "monitor" else (node,) for node in OURS}
    with running(nodes, probe, repository, tmp_path) as terminals:
        for terminal in terminals.values():
            terminal.close()
        codes = {node: terminal.process.wait(timeout=20.0) for node, terminal in terminals.items()}
    assert codes == dict.fromkeys(OURS, 0)


@pytest.mark.parametrize("node", ["diagnostic_markers", "lifecycle_manager", "sim_node"])
def test_every_signal_is(node: str, probe: Probe, repository: Path, tmp_path: Path) -> None:
    """One node for each of the three ways in which they spin."""
    numbers = {f"ended_by_{number.name}": number for number in END_SIGNALS}
    with running(dict.fromkeys(numbers, (node,)), probe, repository, tmp_path) as terminals:
        for place, terminal in terminals.items():
            terminal.process.send_signal(numbers[place])
        codes = {place: terminal.process.wait(timeout=20.0) for place, terminal in terminals.items()}
        said = "".join(terminal.text for terminal in terminals.values())
    assert codes == dict.fromkeys(numbers, 0)
    assert "Traceback" not in said


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
        assert steps[-2:].max() < 0.1 * max(steps.max(), 1e-4) + 1e-5, "still moving at the end"
        assert abs(robot.position[0] - start[0]) < 0.9, "the chunk was followed to its end"
        assert all(plant.powered for plant in robot.plants)
    finally:
        probe.node.destroy_subscription(subscription)
        terminal.kill()
        robot.close()
