"""Ways to continue a chunk with the next, compared on the simulated robot: success, jumps and jerk by latency."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from wav_models.configuration import check_choice
from wav_models.evaluation.statistics import wilson_interval
from wav_models.worker_pool import prepare, with_prepared, worker_pool

if TYPE_CHECKING:
    from wav_policy.experiments.continuation_trial import ContinuationCondition, ContinuationTrial

METHODS: Final = {
    "naive": ("naive", 0.0),
    "fade": ("naive", 0.2),
    "average": ("average", 0.2),
    "rtc": ("rtc", 0.2),
}
"""ChunkContinuation's method and executor's blend time [s] by name."""
PERCENTILE: Final = 95


@dataclass(frozen=True)
class ContinuationBenchmark:
    """What to run: every method at every latency on the same seeds.

    Attributes:
        checkpoint: directory.
        methods: of `METHODS`.
        latencies: from observation to take-over [s].
        seeds: of the layouts.
        jacobian: of the guidance, one of `guidance.JACOBIANS`.
        replan_interval: time between plans, where the latency allows it [s].
        max_seconds: time allowed for an episode [s].
        num_workers: processes, one thread each.
    """

    checkpoint: Path
    task: str = "bowl"
    methods: tuple[str, ...] = tuple(METHODS)
    latencies: tuple[float, ...] = (0.0, 0.1, 0.3, 0.5)
    seeds: tuple[int, ...] = tuple(range(1000, 1020))
    jacobian: str = "unit"
    engine: str = "auto"
    dtype: str = "fp32"
    replan_interval: float = 0.2
    max_seconds: float = 20.0
    num_workers: int = 1

    def __post_init__(self) -> None:
        for method in self.methods:
            check_choice("method", method, METHODS)
        for name in ("methods", "latencies", "seeds"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty; at least one fits")
        if min(self.latencies) < 0.0 or not np.isfinite(self.latencies).all():
            raise ValueError(f"latencies is {self.latencies}; finite numbers >= 0 fit")
        if not self.replan_interval > 0.0 or not self.max_seconds > 0.0 or self.num_workers < 1:
            raise ValueError("replan_interval, max_seconds and num_workers must be positive")

    def conditions(self) -> list[ContinuationCondition]:
        """Every method at every latency."""
        from wav_policy.experiments.continuation_trial import ContinuationCondition

        return [
            ContinuationCondition(name, *METHODS[name], latency) for latency in self.latencies for name in self.methods
        ]


def run(
    benchmark: ContinuationBenchmark,
    report: Callable[[ContinuationCondition, ContinuationTrial], None] = lambda *_: None,
) -> dict[str, Any]:
    """Settings and one summary per condition, plain data for JSON; `report` is called with every finished episode."""
    conditions = benchmark.conditions()
    jobs = [(condition, seed) for seed in benchmark.seeds for condition in conditions]
    trials: dict[ContinuationCondition, list[ContinuationTrial]] = {condition: [] for condition in conditions}
    with worker_pool(benchmark.num_workers, prepare, (_Worker, benchmark)) as pool:
        for condition, trial in pool.map(partial(with_prepared, _Worker.run), jobs):
            trials[condition].append(trial)
            report(condition, trial)
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(benchmark).items()}
    return {"settings": settings, "conditions": [summarise(c, its_trials) for c, its_trials in trials.items()]}


def summarise(condition: ContinuationCondition, trials: Sequence[ContinuationTrial]) -> dict[str, Any]:
    """Success with its 95 % interval, percentiles over all take-overs, and the trials in short."""
    successes = sum(trial.success for trial in trials)
    per_takeover = ("position_jump", "velocity_jump", "command_step", "takeover_jerk")
    takeovers = {name: np.concatenate([getattr(trial, name) for trial in trials]) for name in per_takeover}
    return {
        **asdict(condition),
        "episodes": len(trials),
        "successes": successes,
        "interval_95": wilson_interval(successes, len(trials)),
        "seconds_mean": float(np.mean([trial.seconds for trial in trials])),
        "takeovers": len(takeovers["position_jump"]),
        **{f"{name}_p50": float(np.percentile(values, 50)) for name, values in takeovers.items()},
        **{f"{name}_p{PERCENTILE}": float(np.percentile(values, PERCENTILE)) for name, values in takeovers.items()},
        "jerk_rms": float(np.sqrt(np.mean([trial.jerk_rms**2 for trial in trials]))),
        "limited": float(np.mean([trial.limited for trial in trials])),
        "trials": [{"seed": t.seed, "success": t.success, "seconds": round(t.seconds, 3)} for t in trials],
    }


def table(result: dict[str, Any]) -> str:
    """The conditions as a Markdown table."""
    lines = [
        "| latency | method | success | mean time | position jump | velocity jump | command step | jerk at take-overs "
        "| jerk RMS |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for c in result["conditions"]:
        low, high = c["interval_95"]
        lines.append(
            f"| {1e3 * c['latency']:.0f} ms | {c['name']} | {c['successes']}/{c['episodes']} [{low:.0%}, {high:.0%}] "
            f"| {c['seconds_mean']:.1f} s "
            f"| {1e3 * c['position_jump_p50']:.1f} / {1e3 * c[f'position_jump_p{PERCENTILE}']:.1f} mrad "
            f"| {c['velocity_jump_p50']:.3f} / {c[f'velocity_jump_p{PERCENTILE}']:.3f} rad/s "
            f"| {c['command_step_p50']:.3f} / {c[f'command_step_p{PERCENTILE}']:.3f} rad/s "
            f"| {c['takeover_jerk_p50']:.0f} / {c[f'takeover_jerk_p{PERCENTILE}']:.0f} rad/s³ "
            f"| {c['jerk_rms']:.0f} rad/s³ |"
        )
    return "\n".join(lines)


def plot(result: dict[str, Any], path: Path) -> None:
    """Four panels over the latency, one line per method."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 3.6), layout="constrained")
    axes = figure.subplots(1, 4)
    panels = (
        (f"velocity_jump_p{PERCENTILE}", "velocity jump between chunks, p95 [rad/s]", "linear"),
        ("takeover_jerk_p50", "peak measured jerk at a take-over, median [rad/s³]", "log"),
        ("jerk_rms", "measured jerk, RMS over the episode [rad/s³]", "log"),
    )
    for index, name in enumerate(result["settings"]["methods"]):
        rows = [c for c in result["conditions"] if c["name"] == name]
        latency = np.array([1e3 * c["latency"] for c in rows])
        for axis, (key, _, _) in zip(axes, panels, strict=False):
            axis.plot(latency, [c[key] for c in rows], "o-", label=name)
        rate = np.array([c["successes"] / c["episodes"] for c in rows])
        low, high = np.array([c["interval_95"] for c in rows]).T
        error = np.clip([rate - low, high - rate], 0.0, None)
        axes[3].errorbar(latency + 6.0 * (index - 1.5), rate, error, fmt="o-", capsize=3, label=name)
    for axis, (_, title, scale) in zip(axes, panels, strict=False):
        axis.set(title=title, yscale=scale)
    axes[3].set(title="success (95 % interval)", ylim=(0.0, 1.05))
    for axis in axes:
        axis.set_xlabel("latency from observation to take-over [ms]")
        axis.title.set_fontsize(9)
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.savefig(path, format=path.suffix[1:] or "png", dpi=110)


class _Worker:
    """One environment and one policy for all jobs of a process."""

    def __init__(self, benchmark: ContinuationBenchmark) -> None:
        from wav_policy.policy.wav_policy import WAVPolicy
        from wav_policy.sim.env import WavEnv

        self._benchmark = benchmark
        self._environment = WavEnv(benchmark.task)
        self._policy = WAVPolicy.load(
            benchmark.checkpoint,
            engine=benchmark.engine,
            num_threads=1,
            dtype=benchmark.dtype,
            jacobian=benchmark.jacobian,
        )

    def run(self, job: tuple[ContinuationCondition, int]) -> tuple[ContinuationCondition, ContinuationTrial]:
        from wav_policy.experiments.continuation_trial import run_trial

        (condition, seed), benchmark = job, self._benchmark
        trial = run_trial(
            self._environment,
            self._policy,
            seed,
            condition,
            replan_interval=benchmark.replan_interval,
            max_seconds=benchmark.max_seconds,
        )
        return condition, trial
