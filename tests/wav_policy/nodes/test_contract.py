"""A process that knows only the ROS 2 contract looks at a running `wav up sim:=true` from outside."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

rclpy = pytest.importorskip("rclpy")

from rclpy.node import Node  # noqa: E402

from wav_policy.bringup import access, discovery  # noqa: E402
from wav_policy.nodes.runtime.graph_access import look, our_nodes, with_on_demand  # noqa: E402

pytestmark = [pytest.mark.ros, pytest.mark.sim, pytest.mark.alone]

WAV = (sys.executable, "-m", "wav_policy.cli")
OBSERVER = Path(__file__).with_name("contract_observer.py")
_DISCOVERY = (*discovery.PROFILES_VARIABLES, discovery.VARIABLE)
VIEWS = ("head", "left_wrist", "right_wrist")


NODES = ("sim_node", "piper_node", "chunk_gateway", "policy_node", "recorder_node", "monitor", "lifecycle_manager")


@dataclass
class System:
    """A running system and what an outside process found."""

    process: subprocess.Popen[str]
    log: Path
    environment: dict[str, str]
    found: dict[str, Any]


@pytest.fixture(scope="module")
def system(
    random_checkpoint: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory, start_system: Any
) -> Iterator[System]:
    """`wav up` with a random policy that plans seldom, recorder and monitor, without any choice about discovery: as a
    user starts it. Observed once, stopped with SIGINT by the last test or else by the teardown."""
    directory = tmp_path_factory.mktemp("system")
    log, parameters = directory / "up.log", tmp_path_factory.mktemp("parameters") / "slow.yaml"
    parameters.write_text("policy_node: {ros__parameters: {replan_interval: 8}}\n")
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(directory), "OMP_NUM_THREADS": "1"}
    undecided = {name: value for name, value in environment.items() if name not in _DISCOVERY}
    options = ["record:=true", f"dataset:={directory / 'dataset'}", "monitor:=true", f"monitor_port:={_free_port()}"]
    options.append(f"params_file:={parameters}")
    command = [*WAV, "up", "sim:=true", f"checkpoint:={random_checkpoint}", "engine:=torch", *options]
    with (
        log.open("w") as output,
        start_system(command, cwd=repository, env=undecided, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        observed = subprocess.run(
            [sys.executable, str(OBSERVER)], env=environment, capture_output=True, text=True, timeout=400
        )
        assert observed.returncode == 0, f"{observed.stderr}\n{log.read_text()}"
        yield System(process, log, environment, json.loads(observed.stdout.splitlines()[-1]))


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("view", VIEWS)
def test_cameras_publish_at_their_rate_and_size(system: System, view: str) -> None:
    camera = system.found["cameras"][view]
    reported = system.found["reported_rate"]
    assert camera["rate"] == pytest.approx(reported, rel=0.5)  # 20 Hz, unless the machine is busy with other things
    assert 2.0 < reported < 31.0
    assert camera["size"] == ([240, 424] if view == "head" else [240, 320])
    assert camera["encoding"] == "rgb8"
    assert 0.0 <= camera["age"] < 0.5


def test_joint_states_have_the_fourteen_names(system: System) -> None:
    joints = system.found["joint_states"]
    arm = [*(f"joint{i}" for i in range(1, 7)), "gripper"]
    assert joints["names"] == [f"{side}_{name}" for side in ("left", "right") for name in arm]
    assert joints["rate"] > 20  # 100 Hz, unless the machine is busy with other things
    assert joints["finite"]


def test_chunks_come_with_the_same_names_and_past_stamps(system: System) -> None:
    chunk = system.found["action_chunk"]
    assert chunk["names"] == system.found["joint_states"]["names"]
    assert chunk["age"] > 0.0
    assert chunk["times"] == pytest.approx([0.1 * step for step in range(1, 17)])


def test_the_instruction_reaches_late_comers(system: System) -> None:
    assert "bowl" in system.found["instruction"]


def test_reset_lays_out_anew_without_moving_the_arms(system: System) -> None:
    reset = system.found["reset"]
    assert reset["success"]
    assert "seed 7" in reset["message"]
    assert reset["largest_joint_jump"] < 0.1


def test_home_is_reached_through_the_service(system: System) -> None:
    assert system.found["home"]["success"], system.found["home"]["message"]


def test_stop_and_reset_of_the_arms(system: System) -> None:
    """An emergency stop is reported, refuses to enable before the reset, and ends with it."""
    stop = system.found["stop"]
    assert stop["stop"]["success"]
    assert "stopped" in stop["diagnosis"]
    assert not stop["enable_before_reset"]["success"]
    assert stop["reset"]["success"]
    assert stop["enable_after_reset"]["success"], stop["enable_after_reset"]["message"]


def test_diagnostics_are_consistent_with_what_was_seen(system: System) -> None:
    reports = system.found["diagnostics"]
    assert reports["lifecycle_manager: nodes"]["message"] == "all nodes active"
    world, planning = reports["sim_node: world"]["values"], reports["policy_node: planning"]["values"]
    assert int(planning["plans"]) >= system.found["action_chunk"]["count"] >= 1
    assert float(planning["plan_ms_p50"]) > 0
    assert world["seed"] == "7"
    assert planning["instruction"] == world["instruction"] == system.found["reset"]["message"].split(": ", 1)[1]
    assert 0.0 < float(world["real_time_factor"]) < 1.1  # on a busy machine far below 1
    loop = reports["piper_node: control loop"]["values"]
    assert float(loop["configured_rate_hz"]) > 0
    assert {f"piper_node: {side} arm" for side in ("left", "right")} <= set(reports)


def test_the_security_policy_allows_exactly_what_the_nodes_use(system: System, repository: Path) -> None:
    rclpy.init()
    observer = Node("graph_access")
    try:
        deadline = time.monotonic() + 60.0  # the monitor is no lifecycle node and may still be coming
        used = with_on_demand(look(observer, our_nodes()))
        while set(used) != set(NODES) and time.monotonic() < deadline:
            used = with_on_demand(look(observer, our_nodes()))
    finally:
        observer.destroy_node()
        rclpy.shutdown()
    assert set(used) == set(NODES)
    policy = access.read_policy(repository / access.POLICY_FILE)
    assert access.differences(policy, used) == [], (
        "see wav_policy/nodes/runtime/graph_access.py for how to write it anew"
    )
    assert set(policy) >= set(our_nodes()) - {"diagnostic_markers"}


def test_nothing_receives_from_other_interfaces(system: System) -> None:
    """Sockets beyond the loopback interface may exist to send from; what arrives at them, nobody reads."""
    processes = psutil.Process(system.process.pid).children(recursive=True)
    assert len(processes) >= len(NODES)
    connections = [c for process in processes for c in process.net_connections("inet")]
    assert connections, "the nodes talk by UDP"
    reachable = [c for c in connections if not c.laddr.ip.startswith("127.") and c.laddr.ip != "::1"]
    assert not [c for c in reachable if c.status == psutil.CONN_LISTEN]
    datagrams = {c.laddr.port for c in reachable if c.type == socket.SOCK_DGRAM}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for port in datagrams:
            sender.sendto(b"is anybody there?", (_own_address(), port))
    time.sleep(1.0)
    assert _unread(datagrams) == datagrams


def _own_address() -> str:
    """Of an interface other than the loopback one; without any there is nothing to try."""
    for addresses in psutil.net_if_addrs().values():
        for address in addresses:
            if address.family == socket.AF_INET and not address.address.startswith("127."):
                return str(address.address)
    pytest.skip("this machine has the loopback interface only")


def _unread(ports: set[int]) -> set[int]:
    """Which of these UDP ports have data waiting, as the kernel says."""
    waiting = set()
    for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
        fields = line.split()
        port, queued = int(fields[1].split(":")[1], 16), int(fields[4].split(":")[1], 16)
        if port in ports and queued > 0:
            waiting.add(port)
    return waiting


def test_ctrl_c_stops_everything_with_exit_code_zero(system: System) -> None:
    """Last: processes, pseudo-terminal links and parameter files are gone."""
    children = Path(f"/proc/{system.process.pid}/task/{system.process.pid}/children").read_text().split()
    assert len(children) == 6
    system.process.send_signal(signal.SIGINT)
    assert system.process.wait(timeout=60) == 0, system.log.read_text()
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [child for child in children if Path(f"/proc/{child}").exists()]
    runtime = Path(system.environment["XDG_RUNTIME_DIR"])
    assert not [path for path in runtime.rglob("*") if path.is_symlink() or path.suffix == ".yaml"]
    assert "Traceback" not in system.log.read_text()
