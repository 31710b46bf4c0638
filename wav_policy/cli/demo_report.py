"""What the demo measured: the JSON file and the lines on the terminal."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from wav_models.words import counted

_MEASURED = (
    *("plan_ms_p50", "plan_ms_p99", "control_hz", "chunk_age_ms_p99"),
    *("rounds_mean", "control_lateness_ms_p99", "real_time_factor"),
)
_REAL_TIME = 0.8
"""Share of real time below which the verdict says so: pictures are too old to plan on then."""
_TOO_BUSY = "this computer is too busy or too slow for more"
_SILENCE = 5.0
"""Without a live table what is going on is said as often as nothing else was for so long [s]."""
_HURRIED = 0.2
"""Plans without a round, of all, from which on the verdict says why."""
_COUNTED = ("rounds_asked", "planned", "plans_without_round", "plans_shed")
_MADE_WITH = ("planner", "task", "command", "checkpoint", "checkpoint_sha256", "policy", "engine")


@dataclass(frozen=True)
class EpisodeResult:
    """One finished episode; `seconds` is simulated time until success or the end."""

    seed: int
    success: bool
    seconds: float


@dataclass
class DemoReport:
    """Filled while the demo runs; every number is measured or None.

    Attributes:
        command: what made it.
        checkpoint_sha256: over the checkpoint's files.
        policy: parameters of policy_node in `config/policy.yaml`.
        plans: chunks that arrived.
        engine: what runs the networks, and why that.
        plan_ms_p50, plan_ms_p99: duration of a plan, by the policy node's own clock [ms].
        planner: parameters of the planner that were given in place of the checkpoint's.
        planned: plans that the policy node counted.
        rounds_asked: of every plan.
        rounds_mean: that fitted into the plan's time budget.
        plans_without_round, plans_shed: of `planned`: without any round, and with less than was asked for.
        why_no_plan: what the policy node said while there was none.
        control_hz: rate of the control loop [Hz].
        control_lateness_ms_p99: how late its ticks come [ms].
        chunk_age_ms_p99: age of a chunk's observation when the chunk arrives [ms].
        real_time_factor: of the simulation, the lowest reported during an episode.
    """

    task: str
    checkpoint: str
    planned_episodes: int
    command: str = ""
    checkpoint_sha256: str | None = None
    policy: dict[str, Any] = field(default_factory=dict)
    episodes: list[EpisodeResult] = field(default_factory=list)
    plans: int = 0
    engine: str | None = None
    plan_ms_p50: float | None = None
    plan_ms_p99: float | None = None
    planner: str = ""
    planned: int = 0
    rounds_asked: int | None = None
    rounds_mean: float | None = None
    plans_without_round: int = 0
    plans_shed: int = 0
    why_no_plan: str = "nothing heard of the policy node"
    control_hz: float | None = None
    control_lateness_ms_p99: float | None = None
    chunk_age_ms_p99: float | None = None
    real_time_factor: float | None = None

    @property
    def successes(self) -> int:
        """Episodes that ended in success."""
        return sum(episode.success for episode in self.episodes)

    @property
    def planned_nothing(self) -> bool:
        """No plan came, or none ran a round although some were asked for."""
        return not self.planned or bool(self.rounds_asked and self.plans_without_round == self.planned)

    @property
    def verdict(self) -> str:
        """What planning could afford."""
        factor = 1.0 if self.real_time_factor is None else self.real_time_factor
        slow = f"; the simulation ran at {factor:.0%} of real time: {_TOO_BUSY}" if factor < _REAL_TIME else ""
        if not self.planned:
            return f"no plan came: {self.why_no_plan}{slow}"
        if not self.rounds_asked:
            return "not asked for (K = 0)"
        if self.planned_nothing:
            plans = counted(self.planned, "plan")
            return f"NONE: not one of {plans} had time for a round, {self.rounds_asked} asked for{slow}"
        bare, shed = (count / self.planned for count in (self.plans_without_round, self.plans_shed))
        why = f"; {_TOO_BUSY}" if bare > _HURRIED else ""
        return (
            f"{_shown(self.rounds_mean, 1)} of {counted(self.rounds_asked, 'round')} a plan on average, {bare:.0%} of "
            f"{counted(self.planned, 'plan')} without a round, {shed:.0%} with less than was asked for{why}"
        )

    def as_json(self) -> dict[str, Any]:
        """The documented keys first, then the details."""
        return {
            "episodes": len(self.episodes),
            "success": self.successes,
            "plans": self.plans,
            **{name: _rounded(getattr(self, name)) for name in _MEASURED},
            **{name: getattr(self, name) for name in _COUNTED},
            "planning": self.verdict,
            **{name: getattr(self, name) for name in _MADE_WITH},
            "results": [{**asdict(episode), "seconds": _rounded(episode.seconds)} for episode in self.episodes],
        }

    def rows(self) -> list[tuple[str, str]]:
        """(label, value) for people."""
        return [
            ("episodes", f"{len(self.episodes)} of {self.planned_episodes}"),
            ("success", f"{self.successes} of {len(self.episodes)}"),
            ("plans", str(self.plans)),
            ("plan within (50 / 99 %)", f"{_shown(self.plan_ms_p50)} / {_shown(self.plan_ms_p99)} ms"),
            ("engine", (self.engine or "-").split(" (")[0]),
            ("chunk age (99 %)", f"{_shown(self.chunk_age_ms_p99)} ms"),
            ("control rate", f"{_shown(self.control_hz)} Hz, 99 % within {_shown(self.control_lateness_ms_p99, 1)} ms"),
            ("real-time factor", _shown(self.real_time_factor, 2)),
            ("planning", self.verdict),
        ]


class Screen:
    """A table that is redrawn in place on a terminal; plain lines when headless.

    Attributes:
        now: what is going on, as `refresh` was told last.
    """

    def __init__(self, report: DemoReport, where_to_look: str, headless: bool, to_stderr: bool = False) -> None:
        self._report = report
        self._where = where_to_look
        self._console = Console(highlight=False, stderr=to_stderr)
        self._live = None if headless or not self._console.is_terminal else Live(console=self._console)
        self._said_at = time.monotonic()
        self.now = ""

    def __enter__(self) -> Screen:
        self._console.print(self._where, soft_wrap=True)
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.update(self._table())
            self._live.stop()
        else:
            for label, value in self._report.rows():
                self._console.print(f"{label:<24} {value}", soft_wrap=True)

    def say(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text, soft_wrap=True)
        self._said_at = time.monotonic()

    def refresh(self, now: str) -> None:
        """What is going on at this moment; without a live table, a line now and then."""
        self.now = now
        if self._live:
            self._live.update(self._table())
        elif time.monotonic() - self._said_at > _SILENCE:
            self.say(now)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for label, value in [*self._report.rows(), ("now", self.now)]:
            table.add_row(f"[bold]{label}[/bold]", value)
        return table


def _rounded(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else round(value, 3)


def _shown(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
