"""What came of a fault, and whether it is what must come of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from wav_policy.experiments.faults.fault import Fault
from wav_policy.experiments.faults.motion import Hold


@dataclass(frozen=True)
class Outcome:
    """A line of the table.

    Attributes:
        fault: its name.
        reaction: what happened, in words.
        hold_ms: from the fault until the arms began to brake [ms]; None where motion goes on, or nobody reports it.
        rest_ms: until they rested [ms].
        lost: what is gone.
        passed: whether all is as it must be.
        detail: why not, or what the system said.
        way_back: services that were called until the arms moved again.
    """

    fault: str
    reaction: str
    hold_ms: float | None
    rest_ms: float | None
    lost: str
    passed: bool
    detail: str = ""
    way_back: tuple[str, ...] = ()


def judged(
    fault: Fault,
    reaction: str,
    hold: Hold | None,
    lost: str,
    well: bool,
    detail: str,
    way_back: tuple[str, ...] = (),
) -> Outcome:
    """The line of a fault that the arms have to hold at.

    Args:
        fault: what was injected.
        reaction: what happened, in words.
        hold: how the arms came to a halt; None if they did not.
        lost: what is gone.
        well: whether all else is as it must be.
        detail: what the system said.
        way_back: services that were called.
    """
    if hold is None:
        return Outcome(fault.name, reaction, None, None, lost, False, f"the arms did not rest. {detail}", way_back)
    taken = hold.rest if hold.reaction is None else hold.reaction
    late = taken > fault.limit
    passed = well and not late and hold.moved_again is None and lost in ("nothing", fault.lost)
    if hold.moved_again is not None:
        detail = f"moved again after {1e3 * hold.moved_again:.0f} ms. {detail}"
    if late:
        detail = f"held after {1e3 * taken:.0f} ms, allowed {1e3 * fault.limit:.0f} ms. {detail}"
    reaction_ms = None if hold.reaction is None else 1e3 * hold.reaction
    return Outcome(fault.name, reaction, reaction_ms, 1e3 * hold.rest, lost, passed, detail, way_back)


def write_json(outcomes: Iterable[Outcome], file: Path) -> None:
    """The table as JSON."""
    file.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=2) + "\n")
