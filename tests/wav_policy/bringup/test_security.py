"""The SROS 2 policy agrees with what the nodes really do, and nothing receives from other hosts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import rclpy
from rclpy.node import Node

from wav_policy.bringup import access, discovery
from wav_policy.nodes.runtime.graph_access import look, our_nodes, with_on_demand

NODES = ("sim_node", "piper_node", "chunk_gateway", "policy_node", "recorder_node", "monitor", "lifecycle_manager")


@pytest.fixture(scope="module")
def running(
    random_checkpoint: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory, start_system: Any
) -> Iterator[int]:
    """`wav up` with recorder and monitor, as the user starts it and without any choice about discovery; its id."""
    directory = tmp_path_factory.mktemp("system")
    environment = {name: value for name, value in os.environ.items() if name not in discovery.PROFILES_VARIABLES}
    environment.pop(discovery.VARIABLE, None)
    options = ("record:=true", f"dataset:={directory / 'dataset'}", "monitor:=true", f"monitor_port:={_free_port()}")
    command = [sys.executable, "-m", "wav_policy.cli", "up", "sim:=true", f"checkpoint:={random_checkpoint}", *options]
    environment |= {"XDG_RUNTIME_DIR": str(directory), "OMP_NUM_THREADS": "1"}
    with (
        (directory / "up.log").open("w") as log,
        start_system(command, cwd=repository, env=environment, stdout=log, stderr=subprocess.STDOUT) as process,
    ):
        _wait_until_active(directory / "up.log", process)
        yield process.pid


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_until_active(log: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240.0
    while "all nodes active" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.5)


@pytest.mark.ros
@pytest.mark.sim
@pytest.mark.timeout(400)
def test_the_policy_file_allows_exactly_what_the_nodes_use(running: int, repository: Path) -> None:
    rclpy.init()
    observer = Node("graph_access")
    try:
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


@pytest.mark.ros
@pytest.mark.sim
@pytest.mark.timeout(400)
def test_nothing_receives_from_other_interfaces(running: int) -> None:
    """Sockets beyond the loopback interface may exist to send from; what arrives at them, nobody reads."""
    processes = psutil.Process(running).children(recursive=True)
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


def test_policy_files_survive_writing_and_reading(tmp_path: Path) -> None:
    nodes = {
        "a": access.Access(publish=("/x",), subscribe=("/y", "/z"), reply=("/a/get",)),
        "b": access.Access(request=("/a/get",)),
    }
    access.write_policy(nodes, tmp_path / "policy.xml")
    assert access.read_policy(tmp_path / "policy.xml") == nodes
    changed = {"a": access.Access(publish=("/x", "/new"), subscribe=("/y",), reply=("/a/get",)), "b": nodes["b"]}
    assert access.differences(nodes, changed) == ["a may not publish /new", "a does not subscribe /z"]


def test_an_enclave_of_another_name_is_refused(tmp_path: Path) -> None:
    access.write_policy({"a": access.Access(publish=("/x",))}, tmp_path / "policy.xml")
    text = (tmp_path / "policy.xml").read_text().replace("/wav/a", "/wav/b")
    (tmp_path / "policy.xml").write_text(text)
    with pytest.raises(access.PolicyFileError, match="/wav/b"):
        access.read_policy(tmp_path / "policy.xml")


def test_enclaves_are_named_only_when_security_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(access.ENABLED_VARIABLE, raising=False)
    assert access.enclave_arguments("piper_node") == ()
    monkeypatch.setenv(access.ENABLED_VARIABLE, "true")
    assert access.enclave_arguments("piper_node") == ("--enclave", "/wav/piper_node")


def test_the_users_choice_of_range_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*discovery.PROFILES_VARIABLES, discovery.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    discovery.limit_to_this_host()
    assert os.environ[discovery.VARIABLE] == "LOCALHOST"
    assert os.environ.pop(discovery.PROFILES_VARIABLES[0]).endswith("loopback.xml")
    monkeypatch.setenv(discovery.VARIABLE, "SUBNET")
    discovery.limit_to_this_host()
    assert os.environ[discovery.VARIABLE] == "SUBNET"
    assert discovery.PROFILES_VARIABLES[0] not in os.environ
