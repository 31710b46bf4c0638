"""What the safety filter did and why: one small record per cause, with numbers."""

from __future__ import annotations

import collections
import math
from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple


class Cause(str, Enum):
    """Why the filter did not pass the command through unchanged."""

    NO_COMMAND = "no_command"
    IMPLAUSIBLE_COMMAND = "implausible_command"
    STALE_COMMAND = "stale_command"
    MALFORMED_COMMAND = "malformed_command"
    NON_FINITE_COMMAND = "non_finite_command"
    NO_MEASUREMENT = "no_measurement"
    STALE_MEASUREMENT = "stale_measurement"
    MALFORMED_MEASUREMENT = "malformed_measurement"
    NON_FINITE_MEASUREMENT = "non_finite_measurement"
    IMPLAUSIBLE_MEASUREMENT = "implausible_measurement"
    POSITION_LIMIT = "position_limit"
    GRIPPER_RANGE = "gripper_range"
    STEP_CHANGE = "step_change"
    VELOCITY_LIMIT = "velocity_limit"
    ACCELERATION_LIMIT = "acceleration_limit"
    COLLISION = "collision"
    LATE_TICK = "late_tick"
    CLOCK_STEP = "clock_step"
    STOPPED = "stopped"


class Doubts(NamedTuple):
    """What can be wrong with joint positions that come from outside, in the order in which it is looked for."""

    missing: Cause
    malformed: Cause
    non_finite: Cause
    stale: Cause
    implausible: Cause


OF_MEASUREMENT = Doubts(
    Cause.NO_MEASUREMENT,
    Cause.MALFORMED_MEASUREMENT,
    Cause.NON_FINITE_MEASUREMENT,
    Cause.STALE_MEASUREMENT,
    Cause.IMPLAUSIBLE_MEASUREMENT,
)
OF_COMMAND = Doubts(
    Cause.NO_COMMAND,
    Cause.MALFORMED_COMMAND,
    Cause.NON_FINITE_COMMAND,
    Cause.STALE_COMMAND,
    Cause.IMPLAUSIBLE_COMMAND,
)


_PUBLISHER = "holding; its publisher is at fault"
_DETAIL: dict[Cause, str] = {
    Cause.NO_COMMAND: "nothing to execute: holding until a chunk comes",
    Cause.STALE_COMMAND: "command is {0:.3f} s old, allowed {1:.3f} s: holding; is the policy slow, or its clock off?",
    Cause.MALFORMED_COMMAND: f"command is not 14 numbers: {_PUBLISHER}",
    Cause.NON_FINITE_COMMAND: f"command is {{0}}: {_PUBLISHER}",
    Cause.IMPLAUSIBLE_COMMAND: f"commanded {{0:.4f}}, more than the tolerance beyond {{1:.4f}}: {_PUBLISHER}",
    Cause.NO_MEASUREMENT: "no joint measurement that a second one confirms: holding",
    Cause.STALE_MEASUREMENT: "joint measurement is {0:.3f} s old, allowed {1:.3f} s: holding; see /diagnostics",
    Cause.MALFORMED_MEASUREMENT: "joint measurement is not 14 numbers: holding",
    Cause.NON_FINITE_MEASUREMENT: "measurement is {0}: holding",
    Cause.IMPLAUSIBLE_MEASUREMENT: (
        "measured {0:.4f}, more than the tolerance beyond {1:.4f}: holding. Support the arms, switch their motors off, "
        "move it inside by hand (a gripper: close it), then call piper/enable, which says what to do where its zero or "
        "stroke is wrong"
    ),
    Cause.POSITION_LIMIT: "commanded {0:.4f} rad, limited to {1:.4f} rad",
    Cause.GRIPPER_RANGE: "commanded {0:.4f} m, limited to {1:.4f} m",
    Cause.STEP_CHANGE: "command {0:.4f} is too far from the measured position, limited to {1:.4f}",
    Cause.VELOCITY_LIMIT: "needs {0:.3f} per second, limited to {1:.3f}",
    Cause.ACCELERATION_LIMIT: "needs {0:.2f} per second^2, limited to {1:.2f}",
    Cause.COLLISION: (
        "would come within {0:.4f} m of each other, allowed {1:.4f} m: braking. What leads away is followed; if "
        "nothing does, call piper/home"
    ),
    Cause.LATE_TICK: "control tick came after {0:.3f} s, allowed {1:.3f} s: continuing from rest",
    Cause.CLOCK_STEP: "clock stepped by {0:+.3f} s: holding until it runs evenly",
    Cause.STOPPED: "stopped: holding until piper/reset and piper/enable",
}


class Intervention(NamedTuple):
    """One departure from the command.

    Attributes:
        cause: what was wrong.
        joint: the worst affected joint, "" where no single joint is to blame, or for `COLLISION` the two bodies.
        requested: what was asked for or found (rad, m, per second, s: as the cause says).
        allowed: what was given instead, or the bound that was broken.
    """

    cause: Cause
    joint: str = ""
    requested: float = math.nan
    allowed: float = math.nan

    @property
    def detail(self) -> str:
        """One sentence with joint and numbers, for `/diagnostics`."""
        text = _DETAIL[self.cause].format(self.requested, self.allowed)
        return f"{self.joint}: {text}" if self.joint else text


class Tally:
    """Interventions since it was cleared. One thread counts, any may read."""

    def __init__(self) -> None:
        self._counts: collections.Counter[str] = collections.Counter()
        self._newest: dict[str, Intervention] = {}

    def count(self, interventions: Iterable[Intervention]) -> None:
        """One more of the cause of each."""
        for found in interventions:
            self._counts[found.cause.value] += 1
            self._newest[found.cause.value] = found

    def clear(self) -> None:
        """Begin anew."""
        self._counts, self._newest = collections.Counter(), {}

    @property
    def counts(self) -> dict[str, int]:
        """By cause."""
        return dict(self._counts)

    @property
    def newest(self) -> dict[str, str]:
        """Of every cause the newest, in words with joint and numbers."""
        return {cause: found.detail for cause, found in self._newest.copy().items()}
