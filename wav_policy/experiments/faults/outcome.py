"""What came of a fault, and whether it is what must come of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

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


HEADING: Final = "| fault | reaction | brakes after | rests after | way back | lost | |\n|---|---|---|---|---|---|---|"
"""Of a Markdown table of outcomes."""


def line(outcome: Outcome) -> str:
    """Of that table; what was wrong with it beside it."""
    verdict = "ok" if outcome.passed else f"FAILED: {' '.join(outcome.detail.split())}"
    hold, rest = ("" if ms is None else f"{ms:.0f} ms" for ms in (outcome.hold_ms, outcome.rest_ms))
    way_back = ", ".join(outcome.way_back)
    return f"| {outcome.fault} | {outcome.reaction} | {hold} | {rest} | {way_back} | {outcome.lost} | {verdict} |"


def num_episodes(dataset: Path) -> int:
    """Episodes that load, with every frame."""
    from wav_models.data.dataset import Dataset

    loaded = Dataset(dataset)
    return sum(len(loaded.read_episode(index)) > 0 for index in range(len(loaded)))


def lost_episodes(dataset: Path, saved: int) -> str:
    """In words, where `saved` episodes had been saved before and another was in progress."""
    try:
        left = num_episodes(dataset)
    except (OSError, ValueError) as error:
        return f"the dataset does not load: {error}"
    if left > saved:
        return "nothing"
    return f"{saved - left} saved episodes" if left < saved else "the episode in progress"
