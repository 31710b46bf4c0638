"""Processes and the machine: killed, hung up on, without disk, with a clock that steps."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Final

from wav_policy.experiments.faults.fault import END, GO_ON, PARK, Fault, Testbed, send_signal
from wav_policy.experiments.faults.wall_time import wall_time

_FILE_LIMIT: Final = 4096
_EPISODE: Final = "the episode in progress"


def _full_disk(testbed: Testbed) -> float:
    """No file of the recorder grows beyond 4 kB any more (RLIMIT_FSIZE): every write fails as on a full disk."""
    return testbed.system.limit_file_size("recorder_node", _FILE_LIMIT)


def _free_disk(testbed: Testbed) -> None:
    testbed.system.limit_file_size("recorder_node")


def _step_clock(seconds: float) -> Callable[[Testbed], float]:
    """The wall clock of all processes of the system, and of what the campaign sends."""

    def inject(testbed: Testbed) -> float:
        now = wall_time()
        testbed.observer.clock_offset = testbed.system.step_clock(seconds)
        return now

    return inject


def _kill(node: str, limit: float, lost: str = "nothing", driver_dies: bool = False, also: str = "") -> Fault:
    name, says = f"kill -9 {node}{also}", f"{node} was killed by SIGKILL"
    return Fault(name, send_signal(node, signal.SIGKILL), END, limit, lost=lost, driver_dies=driver_dies, says=says)


def _hang_up(testbed: Testbed) -> float:
    """The terminal of `wav up` is closed."""
    now = wall_time()
    testbed.system.process.send_signal(signal.SIGHUP)
    return now


MACHINE_FAULTS: Final = (
    Fault("disk full while recording", _full_disk, GO_ON, heal=_free_disk, lost=_EPISODE),
    Fault("wall clock steps by +0.2 s", _step_clock(0.2), GO_ON, lost=_EPISODE, says="clock_step", steps_clock=True),
    Fault("wall clock steps by +1 h", _step_clock(3600.0), GO_ON, lost=_EPISODE, says="clock_step", steps_clock=True),
    Fault("wall clock steps by -1 h", _step_clock(-3600.0), GO_ON, lost=_EPISODE, says="clock_step", steps_clock=True),
)
"""Of the machine."""

ENDING_FAULTS: Final = (
    _kill("policy_node", 0.1),
    # The controllers finish the step that was sent last; the servos settle
    _kill("piper_node", 0.3, driver_dies=True),
    # Noticed by `wav up`, which tells piper_node to end: its executor looks every 0.1 s
    _kill("recorder_node", 0.5, lost=_EPISODE),
    _kill("lifecycle_manager", 0.5),
    _kill("sim_node", 0.5, also=" (arms and cameras)"),
    # As any signal that ends it: its executor looks every 0.1 s
    Fault(
        "SIGHUP to piper_node",
        send_signal("piper_node", signal.SIGHUP),
        END,
        0.3,
        says="piper_node ended with exit code",
    ),
    Fault("SIGHUP to wav up (terminal closed)", _hang_up, PARK),
)
"""Each of which ends the system."""
