"""Policy files of SROS 2, and how far nodes look for each other; test_contract.py looks at running nodes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wav_policy.bringup import access, discovery


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


def test_shared_memory_is_avoided_unless_the_user_has_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    profile, *_ = discovery.PROFILES_VARIABLES
    monkeypatch.setattr(os, "environ", {profile: "mine.xml"})
    discovery.avoid_shared_memory()
    assert (os.environ[profile], os.environ[discovery.VARIABLE]) == ("mine.xml", "LOCALHOST")

    monkeypatch.setattr(os, "environ", {discovery.TRANSPORTS_VARIABLE: "LARGE_DATA"})
    discovery.avoid_shared_memory()
    discovery.limit_to_this_host()  # as every node does
    assert os.environ[discovery.TRANSPORTS_VARIABLE] == "LARGE_DATA"
    assert (os.environ[profile], os.environ[discovery.VARIABLE]) == (str(discovery.LOOPBACK_UDP_PROFILE), "SUBNET")

    chosen = {discovery.VARIABLE: "SUBNET", "HOME": str(Path.home())}
    monkeypatch.setattr(os, "environ", dict(chosen))
    discovery.avoid_shared_memory()
    assert os.environ == {**chosen, discovery.TRANSPORTS_VARIABLE: "UDPv4"}


REACHED = """
import rclpy
from rclpy.parameter_client import AsyncParameterClient
rclpy.init()
node = rclpy.create_node("outside")
assert AsyncParameterClient(node, "commanding").wait_for_services(20.0)
"""
COMMANDING = """
import os, rclpy
from wav_policy.bringup.discovery import avoid_shared_memory
avoid_shared_memory()
rclpy.init()
node = rclpy.create_node("commanding")
descriptors = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
own = {os.readlink(path)[8:-1] for path in descriptors if os.path.lexists(path) and "socket:" in os.readlink(path)}
rows = [line.split() for line in open("/proc/self/net/udp").read().splitlines()[1:]]
print(*(row[1].split(":")[0] for row in rows if row[9] in own), flush=True)
rclpy.spin(node)
"""


@pytest.mark.ros
@pytest.mark.parametrize("reach", ["LOCALHOST", "SUBNET"])
def test_nodes_without_shared_memory_are_on_the_loopback_interface_and_found_from_this_host(
    reach: str, repository: Path
) -> None:
    chosen = (*discovery.PROFILES_VARIABLES, discovery.VARIABLE, discovery.TRANSPORTS_VARIABLE)
    ours = {name: value for name, value in os.environ.items() if name not in chosen}
    node = subprocess.Popen(
        [sys.executable, "-c", COMMANDING], cwd=repository, env=ours, stdout=subprocess.PIPE, text=True
    )
    try:
        assert node.stdout is not None
        addresses = set(node.stdout.readline().split())
        assert addresses <= {"0100007F", "0100FFEF"}, "127.0.0.1, and the group of discovery"
        assert "0100007F" in addresses
        assert "/dev/shm/fastrtps" not in Path(f"/proc/{node.pid}/maps").read_text()
        subprocess.run([sys.executable, "-c", REACHED], env=ours | {discovery.VARIABLE: reach}, check=True)
    finally:
        node.kill()
        node.wait()
