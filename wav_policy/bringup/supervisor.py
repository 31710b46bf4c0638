"""Processes of the node table without the `launch` package: start, prefix output, watch, stop in order.

A node that ends is never restarted silently: whoever supervises stops the rest and says which one ended and how. The
arms do not move any more then: see `Supervisor.stop`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import yaml

from wav_models.signals import die_with_parent, ignore_ends
from wav_policy.bringup import paths
from wav_policy.bringup.node_table import NodeLaunch, require
from wav_policy.bringup.system_lock import SystemLock

_KILL_TIME = 3.0
"""How long a process group may take to end once it has been killed [s]."""


_FATAL = re.compile(r"\[FATAL\] \[[\d.]+\] \[([^\]]+)\]: (.+)")


@dataclass(frozen=True)
class EndedProcess:
    """A process that ended by itself.

    Attributes:
        cause: the first thing that any process called fatal; "" where none did.
    """

    name: str
    returncode: int
    cause: str = ""

    def __str__(self) -> str:
        cause = f"; {self.cause}" if self.cause else ""
        if self.returncode < 0:
            return f"{self.name} was killed by {signal.Signals(-self.returncode).name}{cause}"
        return f"{self.name} ended with exit code {self.returncode}{cause}"


@dataclass
class _Child:
    name: str
    managed: bool
    stop_time: float
    process: subprocess.Popen[str]
    reader: threading.Thread


class Supervisor:
    """The processes of one start; as a context manager, nothing is left of them, and no second signal cuts that short.

    Args:
        write: receives every line of output, prefixed with the node's name.
    """

    def __init__(self, write: Callable[[str], None] = print) -> None:
        self._write = write
        self._children: list[_Child] = []
        self._cause = ""
        self._parameter_directory: Path | None = None
        self._lock: SystemLock | None = None

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *exception: object) -> None:
        ignore_ends()
        if self._children:
            print("stopping the nodes", file=sys.stderr, flush=True)
        self.stop()

    def start(self, nodes: Iterable[NodeLaunch]) -> None:
        """Start the nodes in order. Call from the main thread: the processes die with the thread that started them.

        Raises:
            AlreadyRunningError: two systems would share arms and topics; see `system_lock`.
            ExecutableError: a node cannot be started here.
        """
        nodes = list(nodes)
        require(nodes)
        namespace = nodes[0].namespace if nodes else ""
        if self._lock is None:
            self._lock = SystemLock(namespace)
        self._parameter_directory = paths.runtime_directory(namespace) / f"parameters-{os.getpid()}"
        for node in nodes:
            self._start(node, command(node, self._parameter_directory))

    def _start(self, node: NodeLaunch, argv: Sequence[str]) -> None:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            bufsize=1,
            start_new_session=True,
            preexec_fn=die_with_parent,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "RCUTILS_LOGGING_BUFFERED_STREAM": "0"},
        )
        assert process.stdout is not None
        reader = threading.Thread(target=self._forward, args=(node.name, process.stdout), daemon=True)
        reader.start()
        self._children.append(_Child(node.name, node.lifecycle, node.stop_time, process, reader))

    def _forward(self, name: str, stream: IO[str]) -> None:
        """A node whose output nobody takes would hang on its next word: a terminal that has gone does not end this."""
        for line in stream:
            if not self._cause and (fatal := _FATAL.search(line)):
                self._cause = ": ".join(fatal.groups())
            with contextlib.suppress(OSError, ValueError):
                self._write(f"[{name}] {line.rstrip()}")

    def poll(self) -> EndedProcess | None:
        """The first process found to have ended, None while all run."""
        for child in self._children:
            returncode = child.process.poll()
            if returncode is not None:
                return EndedProcess(child.name, returncode, self._cause)
        return None

    def process_ids(self) -> dict[str, int]:
        """Process id of every node, by name."""
        return {child.name: child.process.pid for child in self._children}

    def stop(self) -> None:
        """Stop all, each with its whole process group; afterwards nothing is left.

        In reverse order of starting: `lifecycle_manager` first, which parks the arms. Where a node has ended by itself
        nobody asked for motion: the managed nodes come first then, before their manager, and from `piper_node` on,
        which holds when it is told to end.
        """
        for child in self._stopping_order():
            _stop_group(child.process, child.stop_time)
            child.reader.join(timeout=1.0)
        self._children.clear()
        if self._parameter_directory is not None:
            shutil.rmtree(self._parameter_directory, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _stopping_order(self) -> list[_Child]:
        backwards = self._children[::-1]
        if self.poll() is None:
            return backwards
        managed = [child for child in self._children if child.managed]
        return managed + [child for child in backwards if not child.managed]


def command(node: NodeLaunch, parameter_directory: Path) -> list[str]:
    """Command line of a node; its launch-time parameters go into a file, where strings keep their type."""
    argv = [*node.prefix, *_executable(node), *node.arguments, "--ros-args", "--remap", f"__node:={node.name}"]
    if node.namespace:
        argv += ["--remap", f"__ns:={node.namespace}"]
    argv += node.ros_arguments
    for file in node.parameter_files:
        argv += ["--params-file", str(file)]
    if node.parameters:
        argv += ["--params-file", str(_write_parameters(node, parameter_directory))]
    for source, target in node.remappings:
        argv += ["--remap", f"{source}:={target}"]
    return argv


def _executable(node: NodeLaunch) -> list[str]:
    if node.package == paths.PACKAGE:
        return [sys.executable, "-m", f"{paths.PACKAGE}.nodes.{node.executable}"]
    return [paths.find_executable(node.package, node.executable)]


def _write_parameters(node: NodeLaunch, directory: Path) -> Path:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = directory / f"{node.name}.yaml"
    name = f"{node.namespace}/{node.name}"  # to rcl a section for "/**" is weaker than one for a node's name
    file.write_text(yaml.safe_dump({name: {"ros__parameters": node.parameters}}))
    return file


def _stop_group(process: subprocess.Popen[str], stop_time: float) -> None:
    """SIGTERM ends also a Python that has only begun without a traceback, which SIGINT would not."""
    for number, patience in ((signal.SIGTERM, stop_time), (signal.SIGKILL, _KILL_TIME)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        if _group_ends(process, patience):
            return


def _group_ends(process: subprocess.Popen[str], patience: float) -> bool:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        process.poll()
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False
