"""Plays demonstrations without cameras and without a dataset, to see how often they succeed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from wav_models.evaluation.statistics import wilson_interval
from wav_models.worker_pool import worker_pool


@dataclass(frozen=True)
class DryRun:
    """What came of one seed.

    Attributes:
        seed: of the episode.
        quality: of the demonstration.
        success: whether the task was done at its end.
        steps: its length at 10 Hz.
        seconds: what it took to simulate [s].
    """

    seed: int
    quality: str
    success: bool
    steps: int
    seconds: float


Play = Callable[[int], tuple[str, bool, int]]
"""Plays one seed; picklable. Returns quality, success and number of steps."""


def dry_run(
    play: Play,
    seeds: Sequence[int],
    num_workers: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[DryRun]:
    """Play every seed, in parallel processes; results are in the order of `seeds`.

    Args:
        on_progress: is told how many of them all are done.

    Raises:
        ChildProcessError: a worker died.
    """
    with worker_pool(num_workers) as pool:
        results = []
        for result in pool.map(partial(_play, play), seeds):
            results.append(result)
            on_progress(len(results), len(seeds))
        return results


def _play(play: Play, seed: int) -> DryRun:
    started = time.perf_counter()
    quality, success, steps = play(seed)
    return DryRun(seed, quality, success, steps, time.perf_counter() - started)


def describe(results: Sequence[DryRun]) -> str:
    """Successes with their 95 % interval, lengths and failed seeds, by quality."""
    lines = []
    for quality in dict.fromkeys(result.quality for result in results):
        those = [result for result in results if result.quality == quality]
        successes = sum(result.success for result in those)
        low, high = wilson_interval(successes, len(those))
        steps = [result.steps for result in those]
        failed = [result.seed for result in those if not result.success]
        lines.append(
            f"{quality}: {successes}/{len(those)} succeeded [{low:.0%}, {high:.0%}], "
            f"{sum(steps) / len(steps):.0f} steps on average, {max(steps)} at most, "
            f"{sum(result.seconds for result in those) / len(those):.2f} s an episode in its worker"
            + (f"; failed seeds: {' '.join(map(str, failed))}" if failed and quality != "failing" else "")
        )
    return "\n".join(lines)
