"""Two complete simulated robots in one ROS domain, in namespaces of their own: neither hears or moves the other."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

rclpy = pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from lifecycle_msgs.srv import GetState  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

pytestmark = [pytest.mark.ros, pytest.mark.sim, pytest.mark.alone]

ROBOTS = ("robot1", "robot2")
NODES = {"sim_node", "piper_node", "chunk_gateway", "policy_node", "monitor", "lifecycle_manager"}
GLOBAL = {"/diagnostics", "/rosout", "/parameter_events"}
"""What all robots of a domain share."""


@dataclass(frozen=True)
class System:
    """One `wav up`."""

    log: Path
    port: int
    process: subprocess.Popen[str]


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def systems(runtime: Path, random_checkpoint: Path, repository: Path, start_system: Any) -> Iterator[dict[str, System]]:
    """Both at once, each active; cameras at 5 Hz and a plan in 1.2 s only, for the machine's sake."""
    slow = runtime / "slow.yaml"
    slow.write_text(
        "/**/sim_node: {ros__parameters: {image_rate: 5.0}}\n"
        "/**/policy_node: {ros__parameters: {replan_interval: 12}}\n"
    )
    with ExitStack() as stack:
        running: dict[str, System] = {}
        for name in ROBOTS:
            port, log = free_port(), runtime / f"{name}.log"
            command = up(name, random_checkpoint, "monitor:=true", f"monitor_port:={port}", f"params_file:={slow}")
            output = stack.enter_context(log.open("w"))
            options = {"cwd": repository, "env": environment(runtime), "stdout": output, "stderr": subprocess.STDOUT}
            running[name] = System(log, port, stack.enter_context(start_system(command, **options)))
        for system in running.values():
            wait(lambda system=system: "all nodes active" in system.log.read_text(), system.log.read_text, 400.0)
        yield running
        for system in running.values():  # both end at once
            system.process.terminate()


def up(namespace: str, checkpoint: Path, *further: str) -> list[str]:
    arguments = ("sim:=true", "engine:=torch", f"namespace:={namespace}", f"checkpoint:={checkpoint}", *further)
    return [sys.executable, "-m", "wav_policy.cli", "up", *arguments]


def environment(runtime: Path) -> dict[str, str]:
    return os.environ | {"XDG_RUNTIME_DIR": str(runtime), "OMP_NUM_THREADS": "1"}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait(condition: Callable[[], bool], what: Callable[[], object], timeout: float = 30.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.2)


def page_is_served(port: int) -> bool:
    """The monitor is no lifecycle node: it may come later than "all nodes active"."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=60) as page:
            return "html" in page.read().decode().lower()
    except urllib.error.URLError:
        return False


class Observer:
    """Sits at the root and hears every robot."""

    def __init__(self) -> None:
        self.node = rclpy.create_node("observer")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.entries: dict[str, DiagnosticStatus] = {}
        self.heard: dict[str, list[Any]] = {}
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._note, 50)

    def listen(self, kind: type, topic: str, qos: Any = 10) -> None:
        self.heard[topic] = []
        self.node.create_subscription(kind, topic, self.heard[topic].append, qos)

    def spin_until(self, condition: Callable[[], bool], timeout: float = 30.0) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, {name: entry.message for name, entry in self.entries.items()}
            self.executor.spin_once(timeout_sec=0.1)

    def call(self, kind: Any, service: str) -> Any:
        client = self.node.create_client(kind, service)
        self.spin_until(client.service_is_ready)
        future = client.call_async(kind.Request())
        self.spin_until(future.done)
        return future.result()

    def _note(self, message: DiagnosticArray) -> None:
        self.entries.update({entry.name: entry for entry in message.status})


@pytest.fixture(scope="module")
def observer(systems: dict[str, System]) -> Iterator[Observer]:
    rclpy.init()
    yield Observer()
    rclpy.shutdown()


def test_nodes_topics_and_services_lie_in_the_namespace(observer: Observer) -> None:
    wanted = {(name, f"/{robot}") for name in NODES for robot in ROBOTS}
    observer.spin_until(lambda: wanted <= set(observer.node.get_node_names_and_namespaces()))
    spaces = {space for name, space in observer.node.get_node_names_and_namespaces() if name != "observer"}
    assert spaces == {f"/{robot}" for robot in ROBOTS}
    names = [*observer.node.get_topic_names_and_types(), *observer.node.get_service_names_and_types()]
    outside = {name for name, _ in names if not name.startswith(tuple(f"/{robot}/" for robot in ROBOTS))}
    assert {name for name in outside if not name.startswith("/observer/")} <= GLOBAL


def test_diagnostics_name_the_robot(observer: Observer) -> None:
    wanted = {f"{robot}/{entry}" for robot in ROBOTS for entry in ("piper_node: left arm", "sim_node: world")}
    observer.spin_until(lambda: wanted <= set(observer.entries))
    for name, entry in observer.entries.items():
        robot = name.partition("/")[0]
        assert robot in ROBOTS
        assert entry.hardware_id.startswith(f"{robot}/")


def test_each_has_its_own_arms_page_and_description(
    systems: dict[str, System], observer: Observer, runtime: Path
) -> None:
    links = {link.resolve() for link in runtime.glob("wav-*/can_*")}
    assert len(links) == 4, "two arms each, none shared"
    for robot, system in systems.items():
        wait(partial(page_is_served, system.port), system.log.read_text, 60.0)
        assert f"{robot}" in system.log.read_text()
    for robot in ROBOTS:
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        observer.listen(String, f"/{robot}/robot_description", latched)
        observer.listen(JointState, f"/{robot}/joint_states")
    observer.spin_until(lambda: all(observer.heard.values()))
    assert all("<robot" in observer.heard[f"/{robot}/robot_description"][0].data for robot in ROBOTS)


def test_a_stop_of_one_is_none_of_the_other(
    systems: dict[str, System], observer: Observer, repository: Path, runtime: Path
) -> None:
    def loop(robot: str) -> str:
        return str(observer.entries[f"{robot}/piper_node: control loop"].message)

    command = [sys.executable, "-m", "wav_policy.cli", "stop", "--namespace", "robot1"]
    done = subprocess.run(
        command, cwd=repository, env=environment(runtime), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    observer.spin_until(lambda: loop("robot1").startswith("stopped"))
    observer.entries.clear()
    observer.spin_until(lambda: {f"{robot}/piper_node: control loop" for robot in ROBOTS} <= set(observer.entries))
    assert loop("robot1").startswith("stopped")
    assert not loop("robot2").startswith("stopped")
    assert observer.call(Trigger, "/robot2/piper/hold").success
    assert observer.call(GetState, "/robot2/piper_node/get_state").current_state.label == "active"


def test_a_second_start_of_the_same_robot_is_refused(
    systems: dict[str, System], random_checkpoint: Path, repository: Path, runtime: Path
) -> None:
    again = subprocess.run(
        up("robot1", random_checkpoint),
        cwd=repository,
        env=environment(runtime),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert again.returncode == 1
    assert f"process {systems['robot1'].process.pid} already runs a system" in again.stderr
    assert "namespace /robot1" in again.stderr
