"""How much planning there is for the time it has: before the first plan, and plan by plan."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from wav_models.planner.config import PlannerConfig
from wav_models.planner.timing import Size
from wav_models.types import Plan
from wav_models.words import counted

WITHOUT_PLANNING: Final = "acting WITHOUT planning"
_NUM_RECENT: Final = 9


@dataclass(frozen=True)
class PlanCost:
    """What a plan takes here, measured on a blank observation.

    Attributes:
        total: all rounds at their full size, and everything else [s].
        beside_rounds: everything else [s].
        rounds: one round, by its size; empty where none is asked for [s].
    """

    total: float
    beside_rounds: float = 0.0
    rounds: Mapping[Size, float] = field(default_factory=dict)

    def shortage(self, planner: PlannerConfig, engine: str) -> str | None:
        """Why not a single round fits the planner's deadline, and what to do; None where one does.

        Args:
            planner: its deadline.
            engine: what runs the networks, in words.
        """
        if not self.rounds or planner.deadline is None:
            return None
        (futures, samples), seconds = min(self.rounds.items(), key=lambda item: item[1])
        needed = self.beside_rounds + seconds
        if needed <= planner.deadline:
            return None
        faster = "" if "int8" in engine else "`wav export --precision int8` makes faster graphs for a processor; "
        one_round = f"one round of {counted(futures, 'future')} and {counted(samples, 'value sample')}"
        return (
            f"{WITHOUT_PLANNING}: a plan with {one_round} takes {1e3 * needed:.0f} ms ({1e3 * seconds:.0f} ms of it "
            f"the round), the deadline is {1e3 * planner.deadline:.0f} ms. {faster}"
            "`deadline` in config/policy.yaml gives more time"
        )


@dataclass(frozen=True)
class Effort:
    """Rounds, futures of each and value samples of each future: of a plan, or what is asked of it."""

    rounds: int
    futures: int
    value_samples: int

    @classmethod
    def asked(cls, planner: PlannerConfig) -> Effort:
        return cls(planner.num_iterations, planner.num_video_samples, planner.num_value_samples)

    @classmethod
    def of(cls, plan: Plan) -> Effort:
        if not plan.rounds:
            return cls(0, 0, 0)
        return cls(len(plan.rounds), *plan.rounds[-1].pair_score.shape)


class EffortStatistics:
    """Counts since it was made.

    Args:
        planner: what is asked of every plan.

    Attributes:
        last: of the newest plan; None before the first.
        plans: all.
        shed: with less than was asked.
        without_round: without any round, where some are asked for.
    """

    def __init__(self, planner: PlannerConfig) -> None:
        self.asked = Effort.asked(planner)
        self.last: Effort | None = None
        self.plans = self.shed = self.without_round = 0
        self._rounds = 0
        self._recent: deque[Effort] = deque(maxlen=_NUM_RECENT)

    def add(self, plan: Plan) -> None:
        """Count a plan."""
        effort = Effort.of(plan)
        self.plans += 1
        self._rounds += effort.rounds
        if self.asked.rounds:
            self.without_round += not effort.rounds
            self.shed += effort != self.asked
        self._recent.append(effort)
        self.last = effort

    @property
    def complaint(self) -> str | None:
        """That plans are made without planning; None while none of the last few was, or none is asked for."""
        bare = sum(not effort.rounds for effort in self._recent)
        if self.last is None or not self.asked.rounds or not bare:
            return None
        if not self.last.rounds:
            return f"{WITHOUT_PLANNING}: the deadline leaves no time for a round"
        return f"planning, but {bare} of the last {counted(len(self._recent), 'plan')} WITHOUT a round"

    @property
    def summary(self) -> str:
        """Of the newest plan: "planning", and what it had to leave out."""
        if self.last is None or not self.asked.rounds or self.last == self.asked:
            return "planning"
        pairs = zip(vars(self.last).items(), vars(self.asked).values(), strict=True)
        less = ", ".join(f"{found} of {asked} {name.replace('_', ' ')}" for (name, found), asked in pairs)
        return f"planning less than asked: {less}"

    def values(self) -> dict[str, float]:
        """For /diagnostics; a plan that is counted meanwhile is in `plans` first."""
        if self.last is None:
            return {"plans": 0}
        return {
            **vars(self.last),
            **{f"{name}_asked": count for name, count in vars(self.asked).items()},
            "rounds_mean": self._rounds / self.plans,
            "plans_shed": self.shed,
            "plans_without_round": self.without_round,
            "plans": self.plans,
        }
