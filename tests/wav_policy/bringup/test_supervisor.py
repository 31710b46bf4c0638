from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from wav_policy.bringup import supervisor as module
from wav_policy.bringup.node_table import NodeLaunch
from wav_policy.bringup.paths import ExecutableError, runtime_directory
from wav_policy.bringup.supervisor import EndedProcess, Supervisor, command
from wav_policy.bringup.system_lock import AlreadyRunningError

FAMILY = """
import subprocess, sys, time
stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", stubborn])
print("child", child.pid, flush=True)
time.sleep(60)
"""


@dataclass
class Rig:
    """A supervisor whose "nodes" are scripts, and what they printed."""

    supervisor: Supervisor
    lines: list[str]
    scripts: dict[str, str]
    stop_time: float = 2.0

    def start(self, managed: tuple[str, ...] = (), **scripts: str) -> None:
        self.scripts.update(scripts)
        self.supervisor.start(
            NodeLaunch("wav_policy", name, name, lifecycle=name in managed, stop_time=self.stop_time)
            for name in scripts
        )

    def await_line(self, text: str) -> str:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for line in self.lines:
                if text in line:
                    return line
            time.sleep(0.02)
        raise AssertionError(f"{text!r} not printed: {self.lines}")


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    lines: list[str] = []
    scripts: dict[str, str] = {}
    monkeypatch.setattr(module, "command", lambda node, directory: [sys.executable, "-c", scripts[node.name]])
    supervisor = Supervisor(write=lines.append)
    yield Rig(supervisor, lines, scripts)
    supervisor.stop()


def alive(process_id: int) -> bool:
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_output_is_prefixed(rig: Rig) -> None:
    rig.start(talker="print('hello', flush=True); import time; time.sleep(60)")
    assert rig.await_line("hello") == "[talker] hello"
    assert rig.supervisor.poll() is None


def test_a_node_that_ends_is_reported_not_restarted(rig: Rig) -> None:
    rig.start(steady="import time; time.sleep(60)", faulty="raise SystemExit(3)")
    deadline = time.monotonic() + 20
    while (ended := rig.supervisor.poll()) is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert ended == EndedProcess("faulty", 3)
    assert "exit code 3" in str(ended)
    assert "SIGKILL" in str(EndedProcess("faulty", -signal.SIGKILL))


def test_who_ends_brings_along_what_was_fatal(rig: Rig) -> None:
    first = "[FATAL] [1796022728.367] [arms]: no CAN interface"
    rig.start(arms=f"print({first!r}, flush=True); import time; time.sleep(60)")
    rig.await_line("no CAN")
    rig.start(manager="print('[FATAL] [1.0] [manager]: bring-up failed', flush=True); raise SystemExit(1)")
    rig.await_line("bring-up")
    while (ended := rig.supervisor.poll()) is None:
        time.sleep(0.02)
    assert str(ended) == "manager ended with exit code 1; arms: no CAN interface"


NOTE = """
import signal, sys, time
def end(*_):
    open({log!r}, "a").write({name!r} + " ")
    sys.exit()
signal.signal(signal.SIGTERM, end)
print("up", flush=True)
time.sleep(60)
"""
"""Writes its name down when it is asked to end."""


def test_stopping_goes_backwards_and_leaves_nothing(rig: Rig, tmp_path: Path) -> None:
    log = tmp_path / "order"
    scripts = {name: NOTE.format(log=str(log), name=name) for name in ("first", "second")}
    rig.start(managed=("first",), **scripts, family=FAMILY)
    rig.await_line("[first] up")
    rig.await_line("[second] up")
    grandchild = int(rig.await_line("child").split()[-1])
    processes = [*rig.supervisor.process_ids().values(), grandchild]
    rig.supervisor.stop()
    assert log.read_text() == "second first "
    assert not any(alive(process) for process in processes)


def test_every_node_has_the_time_that_its_row_gives_it(rig: Rig, tmp_path: Path) -> None:
    log = tmp_path / "order"
    slow = NOTE.format(log=str(log), name="slow").replace("    open", "    time.sleep(1.0)\n    open")
    for stop_time in (0.2, 30.0):
        rig.stop_time = stop_time
        rig.lines.clear()
        rig.start(slow=slow)
        rig.await_line("[slow] up")
        before = time.monotonic()
        rig.supervisor.stop()
        assert time.monotonic() - before < 10.0
    assert log.read_text() == "slow "


def test_after_a_death_the_arms_are_stopped_before_anybody_can_park_them(rig: Rig, tmp_path: Path) -> None:
    log = tmp_path / "order"
    names = ("recorder", "piper", "policy", "manager")
    scripts = {name: NOTE.format(log=str(log), name=name) for name in names}
    rig.start(managed=("piper", "policy"), **scripts, monitor="import time; time.sleep(60)")
    for name in names:
        rig.await_line(f"[{name}] up")
    os.kill(rig.supervisor.process_ids()["monitor"], signal.SIGKILL)
    deadline = time.monotonic() + 20
    while rig.supervisor.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    rig.supervisor.stop()
    assert log.read_text() == "piper policy manager recorder "


def test_one_system_per_domain(rig: Rig) -> None:
    rig.start(steady="import time; time.sleep(60)")
    note = runtime_directory() / "running"
    for owner in (str(os.getpid()), "unknown"):
        with pytest.raises(AlreadyRunningError, match=f"process {owner} already runs.*ROS_DOMAIN_ID"):
            Supervisor().start([])
        note.unlink(missing_ok=True)  # as what cleans /tmp may
    rig.supervisor.stop()
    Supervisor().start([])


def test_parameters_keep_their_type_in_a_file(tmp_path: Path) -> None:
    node = NodeLaunch(
        "wav_policy", "piper_node", "piper_node", lifecycle=True, parameters={"can_left": "1", "rate": 2.0}
    )
    argv = command(node, tmp_path)
    file = Path(argv[argv.index("--params-file") + 1])
    assert yaml.safe_load(file.read_text())["/piper_node"]["ros__parameters"] == {"can_left": "1", "rate": 2.0}
    assert argv[:3] == [sys.executable, "-m", "wav_policy.nodes.piper_node"]


def test_a_program_of_a_full_ros_is_named_when_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExecutableError, match="rviz2.*full ROS 2"):
        command(NodeLaunch("rviz2", "rviz2", "rviz2", lifecycle=False), tmp_path)
