"""`wav up sim:=true` as a user starts it, in processes of its own, with its nodes' process ids at hand."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from wav_models import project_files
from wav_models.signals import die_with_parent
from wav_policy.bringup.arguments import DEFAULT_CHECKPOINT
from wav_policy.bringup.discovery import limit_to_this_host
from wav_policy.experiments.faults.settable_clock import SettableClock
from wav_policy.experiments.faults.wall_time import wall_time

_STOP_TIMEOUT = 60.0
_NODE_MODULES = "wav_policy.nodes."


class CampaignError(RuntimeError):
    """The system does not do what the campaign needs; its log says why."""


class RunningSystem:
    """One start.

    Args:
        directory: for the log, the dataset, a copy of the checkpoint and the run-time files.
        arguments: further launch arguments such as "checkpoint:=...".
        steps_clock: its wall clock can be stepped.

    Attributes:
        dataset: where recorder_node writes.
        checkpoint: a copy, which may be damaged.
        log: all output.
        steps_clock: as given.

    Raises:
        ClockError: the wall clock cannot be made steppable here.
    """

    def __init__(self, directory: Path, arguments: tuple[str, ...] = (), steps_clock: bool = False) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.dataset = directory / "dataset"
        self.checkpoint = directory / "checkpoint"
        self.log = directory / "up.log"
        self.steps_clock = steps_clock
        self._directory = directory
        self._clock = SettableClock(directory) if steps_clock else None
        given = dict(argument.split(":=", 1) for argument in arguments)
        self._original = project_files.resolve(given.pop("checkpoint", DEFAULT_CHECKPOINT))
        self.restore_checkpoint()
        self._told = 0
        limit_to_this_host()
        command = [sys.executable, "-m", "wav_policy.cli", "up", "sim:=true", "record:=true"]
        command += [f"dataset:={self.dataset}", f"checkpoint:={self.checkpoint}"]
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                [*command, *(f"{name}:={value}" for name, value in given.items())],
                env={
                    **os.environ,
                    "XDG_RUNTIME_DIR": str(directory),
                    **(self._clock.environment if self._clock else {}),
                },
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_as_from_a_terminal,
            )

    def stop(self) -> int:
        """SIGINT, as Ctrl-C; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.wait_for_end(_STOP_TIMEOUT)

    def wait_for_end(self, timeout: float) -> int:
        """Exit code of `wav up` once it has ended by itself, -9 if it had to be killed [timeout in s]."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            for process in (*psutil.Process(self.process.pid).children(recursive=True), self.process):
                process.kill()
            return self.process.wait()
        finally:
            shutil.rmtree(self.checkpoint, ignore_errors=True)

    def nodes(self) -> dict[str, psutil.Process]:
        """Running node processes by name."""
        found = {}
        try:
            children = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return {}
        for child in children:
            try:
                modules = [word for word in child.cmdline() if word.startswith(_NODE_MODULES)]
            except psutil.Error:
                continue
            if modules:
                found[modules[0].removeprefix(_NODE_MODULES)] = child
        return found

    def signal(self, node: str, number: signal.Signals) -> float:
        """Send a signal to a node; the time just before [s]."""
        process = self.nodes()[node]
        now = wall_time()
        process.send_signal(number)
        return now

    def resume(self, node: str) -> None:
        """Let a stopped node go on."""
        self.signal(node, signal.SIGCONT)

    def limit_file_size(self, node: str, num_bytes: int = resource.RLIM_INFINITY) -> float:
        """From now on no file of a node can grow beyond this, as if its disk were full; the time just before [s]."""
        now = wall_time()
        resource.prlimit(self.nodes()[node].pid, resource.RLIMIT_FSIZE, (num_bytes, resource.RLIM_INFINITY))
        return now

    def restore_checkpoint(self) -> None:
        """Copy the checkpoint that was asked for, again."""
        shutil.rmtree(self.checkpoint, ignore_errors=True)
        shutil.copytree(self._original, self.checkpoint)

    def step_clock(self, seconds: float) -> float:
        """Step the wall clock of all processes; by how much it differs from ours now [s]."""
        assert self._clock is not None
        self._clock.offset += seconds
        return self._clock.offset

    @property
    def can_left(self) -> Path:
        """Where the left arm is found."""
        return next(self._directory.glob("wav-*/can_left"))

    def listen_anew(self) -> None:
        """Forget what was `said`."""
        self._told = self.log.stat().st_size

    @property
    def said(self) -> str:
        """The log since `listen_anew`."""
        with self.log.open(errors="replace") as log:
            log.seek(self._told)
            return log.read()

    def last_words(self) -> str:
        """End of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


def _as_from_a_terminal() -> None:
    """In the child: it ends with its parent, and hears hang-ups also where the campaign runs under nohup."""
    die_with_parent()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
