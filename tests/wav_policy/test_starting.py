"""Who is told to end while it still imports ends at once, without a traceback, and leaves nobody behind.

Before the first line of ours runs, Python itself answers: with a traceback to Ctrl-C. So every moment counts from when
ours listens.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest

from wav_models.endings import INTERRUPTED, OK
from wav_models.signals import END_SIGNALS
from wav_policy.bringup.node_table import LIFECYCLE_MANAGER, NODES
from wav_policy.bringup.paths import PACKAGE
from wav_policy.cli.main import COMMANDS

pytest.importorskip("rclpy")
pytestmark = pytest.mark.ros

MARK = "WAV_TEST_OF_STARTING"
"""In the environment of all that one start has started."""
NODE_NAMES = [entry.executable for entry in (*NODES, LIFECYCLE_MANAGER) if entry.package == PACKAGE]
AS_ROS_STARTS_IT = ("wav_policy.nodes", "policy_node", "--ros-args")
AS_WE_START_IT = ("wav_policy.nodes.policy_node", "--ros-args")
UP = ("wav_policy.cli", "up", "sim:=true")
EXPORT = ("wav_policy.cli", "export", "--checkpoint", "checkpoints/wav-tiny", "--out", "build/never_exported")
MOMENTS = (0.05, 0.2, 0.5, 1.0)


def end(command: tuple[str, ...], number: signal.Signals, pause: float, repository: Path) -> tuple[int, str]:
    """Exit code, and what was said, of a module that is sent `number`, `pause` [s] after it has begun to listen."""
    mark = str(uuid.uuid4())
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=repository,
        env={**os.environ, MARK: mark},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # the tests may run under nohup
    )
    try:
        deadline = time.monotonic() + 60.0
        while not _catches(process.pid, END_SIGNALS[-1]):  # Python itself catches SIGINT before
            assert time.monotonic() < deadline
            if process.poll() is not None:  # by itself, at once
                break
            time.sleep(0.005)
        time.sleep(pause)
        process.send_signal(number)
        said, _ = process.communicate(timeout=60.0)
    finally:
        process.kill()
    assert [other.pid for other in psutil.process_iter() if _environment(other).get(MARK) == mark] == []
    return process.returncode, said


def _catches(process: int, number: signal.Signals) -> bool:
    """Whether a handler is there, as the kernel says."""
    (line,) = (line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(line.split()[1], 16) >> (number - 1) & 1)


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


@pytest.mark.parametrize("number", END_SIGNALS)
@pytest.mark.parametrize("command", [AS_ROS_STARTS_IT, AS_WE_START_IT], ids=["ros2 run", "wav up"])
def test_a_node_says_nothing_of_it(command: tuple[str, ...], number: signal.Signals, repository: Path) -> None:
    for pause in (0.0, 0.3):
        code, said = end(command, number, pause, repository)
        assert code == OK
        assert [line for line in said.splitlines() if not line.startswith("[INFO]")] == []  # it may be ready by then


@pytest.mark.parametrize("number", END_SIGNALS)
def test_a_command_is_interrupted(number: signal.Signals, repository: Path) -> None:
    """It says so once it knows which one it is."""
    assert end(EXPORT, number, 0.0, repository) == (INTERRUPTED, "")
    code, said = end(EXPORT, number, 1.0, repository)
    assert code == INTERRUPTED
    assert said.splitlines()[-1:] in ([], ["wav export: interrupted"])  # a busy machine may not know it by then


CAUGHT = """
import sys
from wav_policy.cli import __main__, main

def run():
    try:
        exec("raise KeyboardInterrupt")
    except KeyboardInterrupt:
        print("interrupted", end="")
        return 130

main.main = run
sys.exit(__main__.main())
"""


def test_an_interrupt_that_was_caught_does_not_kill(tmp_path: Path, repository: Path) -> None:
    """Where Python notes it: in the text of an `exec`, of which every dataclass is made."""
    (tmp_path / "caught.py").write_text(CAUGHT)
    paths = os.pathsep.join([str(tmp_path), str(repository)])
    command = [sys.executable, "-m", "caught"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (INTERRUPTED, "interrupted", "")


@pytest.mark.slow
@pytest.mark.parametrize("number", END_SIGNALS)
@pytest.mark.parametrize("node", NODE_NAMES)
def test_every_node_at_any_moment(node: str, number: signal.Signals, repository: Path, tmp_path: Path) -> None:
    extra = {"recorder_node": f"dataset:={tmp_path}/data", "monitor": "port:=0"}
    arguments = ("--ros-args", "-p", extra[node]) if node in extra else ()
    for pause in MOMENTS:
        code, said = end((f"wav_policy.nodes.{node}", *arguments), number, pause, repository)
        assert code == OK
        assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.parametrize("number", END_SIGNALS)
@pytest.mark.parametrize("command", [*([name] for name in COMMANDS), list(UP[1:])], ids=" ".join)
def test_every_command_at_any_moment(command: list[str], number: signal.Signals, repository: Path) -> None:
    """One that has been given too little may have ended by itself; nobody is killed by the signal."""
    for pause in MOMENTS:
        code, said = end(
            ("wav_policy.cli", *(word for part in command for word in part.split())), number, pause, repository
        )
        assert code in (OK, 1, 2, INTERRUPTED)
        assert "Traceback" not in said
