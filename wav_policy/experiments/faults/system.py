"""`wav up sim:=true` as a user starts it, in processes of its own, with its nodes' process ids at hand."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from wav_policy.bringup.discovery import limit_to_this_host
from wav_policy.bringup.supervisor import die_with_parent

_STOP_TIMEOUT = 60.0
_NODE_MODULES = "wav_policy.nodes."


class CampaignError(RuntimeError):
    """The system does not do what the campaign needs; its log says why."""


class RunningSystem:
    """One start. Use as a context manager.

    Args:
        directory: for the log, the dataset and the run-time files.
        arguments: further launch arguments such as "checkpoint:=...".

    Attributes:
        dataset: where recorder_node writes.
        log: all output.
    """

    def __init__(self, directory: Path, arguments: tuple[str, ...] = ()) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.dataset = directory / "dataset"
        self.log = directory / "up.log"
        limit_to_this_host()
        command = [sys.executable, "-m", "wav_policy.cli", "up", "sim:=true", "record:=true"]
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                [*command, f"dataset:={self.dataset}", *arguments],
                env={**os.environ, "XDG_RUNTIME_DIR": str(directory)},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    def __enter__(self) -> RunningSystem:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

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
        now = time.time()
        process.send_signal(number)
        return now

    def limit_file_size(self, node: str, num_bytes: int = resource.RLIM_INFINITY) -> float:
        """From now on no file of a node can grow beyond this, as if its disk were full; the time just before [s]."""
        now = time.time()
        resource.prlimit(self.nodes()[node].pid, resource.RLIMIT_FSIZE, (num_bytes, resource.RLIM_INFINITY))
        return now

    def last_words(self) -> str:
        """End of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
