"""Real-time priority: the process that commands the arms runs before every ordinary one."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

_THREADS: Final = Path("/proc/self/task")


def take_priority(priority: int) -> str:
    """Put all threads of this process, and all that they start from now on, under SCHED_FIFO.

    `nice` is not enough: where the kernel groups processes by session (autogroup, the default on desktops) it counts
    within a session only, and a process that computes may keep the control loop waiting for tens of milliseconds.

    Args:
        priority: 1 to 99, above that of all ordinary processes; 0: leave it as it is.

    Returns:
        What became of it, for diagnostics: "SCHED_FIFO 50", "ordinary", "ordinary, not permitted: ...".
    """
    if priority == 0:
        return "ordinary"
    try:
        for thread in _THREADS.iterdir():
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.sched_setscheduler(int(thread.name), os.SCHED_FIFO, os.sched_param(priority))
    except PermissionError:
        return f"ordinary, not permitted: this user may not take rtprio {priority} (docs/driver.md, Priority)"
    return f"SCHED_FIFO {priority}"


def be_ordinary() -> None:
    """To be called in a child that such a process starts: it does not command the arms."""
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
