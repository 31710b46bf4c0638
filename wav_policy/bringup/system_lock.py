"""One system per user, ROS domain and namespace on a host, whoever starts it: `wav up` and `ros2 launch` alike."""

from __future__ import annotations

import fcntl
import os
from typing import IO

from wav_policy.bringup import paths


class AlreadyRunningError(RuntimeError):
    """Another system runs on this host in the same ROS domain and namespace."""


def lock_system(namespace: str) -> IO[str]:
    """An exclusive lock that ends with this process, or when it is closed; the file holds the id of its owner.

    Args:
        namespace: of the system; "" for the root.

    Raises:
        AlreadyRunningError: two systems would share arms and topics.
    """
    lock = (paths.runtime_directory(namespace) / "running").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        owner = lock.read().strip() or "unknown"
        lock.close()
        domain = os.environ.get("ROS_DOMAIN_ID") or "0"
        place = f"{domain}, namespace {namespace}," if namespace else domain
        raise AlreadyRunningError(
            f"process {owner} already runs a system in ROS domain {place} on this host; stop it, give this one another "
            "namespace:=NAME, or set ROS_DOMAIN_ID"
        ) from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock
