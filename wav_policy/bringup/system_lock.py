"""One system per user, ROS domain and namespace on a host, whoever starts it: `wav up` and `ros2 launch` alike."""

from __future__ import annotations

import fcntl
import os
import weakref

from wav_policy.bringup import paths


class AlreadyRunningError(RuntimeError):
    """Another system runs on this host in the same ROS domain and namespace."""


class SystemLock:
    """Held until it is closed, or this process ends. It is on the directory itself: there is no file whose deletion
    would let a second system in; one there says who holds it.

    Args:
        namespace: of the system; "" for the root.

    Raises:
        AlreadyRunningError: two systems would share arms and topics.
    """

    def __init__(self, namespace: str) -> None:
        directory = paths.runtime_directory(namespace)
        note = directory / "running"
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        self._close = weakref.finalize(self, os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            owner = (note.read_text(encoding="utf-8", errors="replace").strip() if note.is_file() else "") or "unknown"
            domain = os.environ.get("ROS_DOMAIN_ID") or "0"
            place = f"{domain}, namespace {namespace}," if namespace else domain
            raise AlreadyRunningError(
                f"process {owner} already runs a system in ROS domain {place} on this host; stop it, give this one "
                "another namespace:=NAME, or set ROS_DOMAIN_ID"
            ) from None
        note.write_text(f"{os.getpid()}\n", encoding="utf-8")

    def close(self) -> None:
        """Let others in; twice does nothing."""
        self._close()
