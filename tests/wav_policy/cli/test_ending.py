"""`wav up`, `record` and `demo` end in order, whatever asks them to, and whether or not anybody reads what they say."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

from tests.wav_policy.terminal import Terminal
from wav_models.signals import END_SIGNALS

NODE = """
import signal, sys, time
def end(*_):
    for _ in range(2000):
        print("a last word that nobody hears " * 4, flush=True)
    open({note!r}, "a").write("{name} ")
    sys.exit()
signal.signal(signal.SIGTERM, end)
open({note!r} + ".up", "a").write("{name} ")
time.sleep(60)
"""
UP = """
import sys
from pathlib import Path
from wav_policy.bringup import supervisor
from wav_policy.cli.main import main
node = Path({script!r}).read_text()
supervisor.command = lambda launch, _: [sys.executable, "-c", node.format(note={note!r}, name=launch.name)]
sys.argv = ["wav", *{arguments!r}]
sys.exit(main())
"""
"""The command with scripts in place of the nodes."""

COMMANDS = {
    "up": ("up", "sim:=true"),
    "record": ("record", "--out", "build/never_recorded", "sim:=true"),
    "demo": ("demo", "--headless", "--engine", "torch", "--no-monitor"),
}
NODES = {
    "up": ("sim_node", "piper_node", "policy_node", "lifecycle_manager"),
    "record": ("sim_node", "recorder_node", "piper_node", "teleop_node", "lifecycle_manager"),
    "demo": ("sim_node", "piper_node", "policy_node", "lifecycle_manager"),
}
NAMES = NODES["up"]


class Up:
    """A command in a terminal, all nodes up."""

    def __init__(
        self, repository: Path, directory: Path, ignored: tuple[signal.Signals, ...] = (), name: str = "up"
    ) -> None:
        script, self.note = directory / "node.py", directory / "ended"
        script.write_text(NODE)
        self.note.touch()
        code = UP.format(script=str(script), note=str(self.note), arguments=COMMANDS[name])
        self.terminal = Terminal([sys.executable, "-c", code], repository, ignored)
        up = directory / "ended.up"
        self.terminal.wait_until(lambda: up.is_file() and set(up.read_text().split()) == set(NODES[name]))

    @property
    def ended(self) -> list[str]:
        return self.note.read_text().split()


@pytest.mark.parametrize("number", END_SIGNALS)
def test_every_signal_stops_the_nodes_in_order(number: signal.Signals, repository: Path, tmp_path: Path) -> None:
    up = Up(repository, tmp_path)
    try:
        up.terminal.process.send_signal(number)
        time.sleep(0.1)
        up.terminal.process.send_signal(number)  # impatience changes nothing
        assert up.terminal.process.wait(timeout=30.0) == 0
        assert up.ended == list(NAMES[::-1])
        assert "Traceback" not in up.terminal.text
    finally:
        up.terminal.kill()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_closed_terminal_stops_them_in_order(name: str, repository: Path, tmp_path: Path) -> None:
    """More is said than a pipe holds: who would wait for a reader would never end. A recording is interrupted."""
    up = Up(repository, tmp_path, name=name)
    try:
        up.terminal.close()
        assert up.terminal.process.wait(timeout=60.0) == (130 if name == "record" else 0)
        assert up.ended == list(NODES[name][::-1])
    finally:
        up.terminal.kill()


def test_a_background_job_obeys_ctrl_c(repository: Path, tmp_path: Path) -> None:
    """A shell without job control starts `wav up &` with SIGINT and SIGQUIT ignored."""
    up = Up(repository, tmp_path, (signal.SIGINT, signal.SIGQUIT))
    try:
        up.terminal.process.send_signal(signal.SIGINT)
        assert up.terminal.process.wait(timeout=30.0) == 0
        assert up.ended == list(NAMES[::-1])
    finally:
        up.terminal.kill()


def test_under_nohup_it_outlives_the_terminal(repository: Path, tmp_path: Path) -> None:
    up = Up(repository, tmp_path, (signal.SIGHUP,))
    try:
        up.terminal.close()
        time.sleep(1.0)
        assert up.terminal.process.poll() is None
        assert up.ended == []
        up.terminal.process.send_signal(signal.SIGTERM)
        assert up.terminal.process.wait(timeout=30.0) == 0
        assert up.ended == list(NAMES[::-1])
    finally:
        up.terminal.kill()
