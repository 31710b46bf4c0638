"""Records scripted demonstrations in parallel processes and merges them into one dataset in the order of their seeds.

Each worker stages whole episodes beside the dataset; this process alone commits them. What the dataset contains depends
on the arguments only, not on the number of workers or on interruptions.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final, Protocol

from wav_models.data.dataset import DatasetError, read_json
from wav_models.data.durable import write_json
from wav_models.data.layout import STAGING
from wav_models.words import counted
from wav_models.worker_pool import worker_pool
from wav_policy.recording.episode_recorder import EpisodeRecorder, StagedEpisode
from wav_policy.recording.episode_writer import DatasetWriter
from wav_policy.recording.quality import QualityMix

RECORDINGS_PATH: Final = "meta/recordings.json"
"""Tasks, seeds and quality mixes that a dataset was recorded with."""

MIN_ATTEMPTS: Final = 20
MIN_SUCCESS_RATE: Final = 0.1
"""After `MIN_ATTEMPTS`, a lower share of kept episodes ends the recording: the task or its operator is broken."""


class Demonstrator(Protocol):
    """Plays one episode; a picklable callable, as it runs in spawned processes."""

    def __call__(self, task: str, seed: int, noise: float, start: Callable[[str], EpisodeRecorder]) -> bool:
        """Call `start(instruction)`, add every frame to the recorder it returns; returns the episode's success.

        Who discards that recorder may start once more.
        """


@dataclass(frozen=True)
class RecordingOptions:
    """What to record.

    Attributes:
        task: the simulator's task.
        num_episodes: episodes the dataset gets from this run, counting those of an interrupted one.
        seed: first seed; episode after episode takes the next.
        noise: levels of disturbance, 0 none, 1 usual; seed s takes level s modulo their number.
        num_workers: processes.
        keep_failures: also keep episodes that did not succeed.
        scheduler: of dask, whose workers play the episodes instead, see `worker_pool`.
    """

    task: str
    num_episodes: int
    seed: int = 0
    noise: tuple[float, ...] = (1.0,)
    num_workers: int = 2
    keep_failures: bool = False
    scheduler: str | None = None

    def noise_of(self, seed: int) -> float:
        return self.noise[seed % len(self.noise)]


@dataclass
class RecordingProgress:
    """What a run has done so far.

    Attributes:
        kept: episodes in the dataset from this run, including those found when it resumed.
        attempted, succeeded: episodes simulated by this process and its workers, and those that succeeded.
        frames: frames committed by this process.
        worker_seconds: time the workers spent, summed [s].
    """

    kept: int = 0
    attempted: int = 0
    succeeded: int = 0
    frames: int = 0
    worker_seconds: float = 0.0


@dataclass(frozen=True)
class _Attempt:
    directory: Path
    success: bool
    seconds: float


class RecordingError(RuntimeError):
    """The recording cannot go on; what was committed stays."""


def record_demonstrations(
    writer: DatasetWriter,
    demonstrate: Demonstrator,
    options: RecordingOptions,
    on_progress: Callable[[RecordingProgress], None] = lambda progress: None,
) -> RecordingProgress:
    """Fill the dataset up to `options.num_episodes` episodes of this run, which is known by its task and first seed.

    Seeds go up from the first; one that another run of the task has recorded is left out.

    Raises:
        RecordingError: too few attempts succeed.
    """
    first_seed_of = _recorded_seeds(writer, options)
    earlier = [seed for seed, first in first_seed_of.items() if first == options.seed]
    progress = RecordingProgress(kept=len(earlier))
    seeds = (s for s in count(max(earlier, default=options.seed - 1) + 1) if s not in first_seed_of)
    on_progress(progress)
    at_once = options.num_episodes if options.scheduler else 2 * options.num_workers
    with _workers(options, writer.root / STAGING) as pool:
        pending: list[Future[_Attempt]] = []
        while progress.kept < options.num_episodes:
            while len(pending) < min(at_once, options.num_episodes - progress.kept):
                pending.append(_submit(pool, writer, demonstrate, options, next(seeds)))
            attempt = pending.pop(0).result()
            _take(writer, attempt, options.keep_failures, progress)
            on_progress(progress)
            _check_success_rate(progress, options)
    return progress


def _recorded_seeds(writer: DatasetWriter, options: RecordingOptions) -> dict[int, int | None]:
    """Seeds of the task's episodes that the dataset holds, and the first seed of the run each is from, None if unknown.

    Episodes did not always name it: then it is the nearest of those that the dataset's runs began with.
    """
    runs = [*_noted_runs(writer.root), {"task": options.task, "first_seed": options.seed}]
    firsts = {run["first_seed"] for run in runs if run["task"] == options.task}
    recorded: dict[int, int | None] = {}
    for row in writer.rows:
        extra = json.loads(row["extra"] or "{}")
        if extra.get("task") == options.task:
            nearest = max((first for first in firsts if first <= row["seed"]), default=None)
            recorded[row["seed"]] = extra.get("first_seed", nearest)
    return recorded


def _noted_runs(root: Path) -> list[dict[str, Any]]:
    path = root / RECORDINGS_PATH
    runs = read_json(path, list) if path.is_file() else []
    if not all(isinstance(run, dict) and {"task", "first_seed"} <= run.keys() for run in runs):
        raise DatasetError(f"{path}: a run without task or first_seed; restore it from a copy")
    return runs


def note_run(root: Path, options: RecordingOptions, mix: QualityMix | None) -> None:
    """Add what is going to be recorded to the dataset's meta/recordings.json, unless an interrupted run did."""
    runs = _noted_runs(root)
    run = {
        "task": options.task,
        "first_seed": options.seed,
        "episodes": options.num_episodes,
        "noise": list(options.noise),
        "quality_mix": None if mix is None else dict(mix.shares),
        "keep_failures": options.keep_failures,
    }
    if run not in runs:
        write_json(root / RECORDINGS_PATH, [*runs, run])


@contextmanager
def _workers(options: RecordingOptions, staging: Path) -> Iterator[Executor]:
    """Those that are gone afterwards, with what they had staged."""
    try:
        with worker_pool(options.num_workers, scheduler=options.scheduler) as pool:
            yield pool
    finally:
        for directory in staging.glob("seed-*"):
            shutil.rmtree(directory)


def _submit(
    pool: Executor, writer: DatasetWriter, demonstrate: Demonstrator, options: RecordingOptions, seed: int
) -> Future[_Attempt]:
    directory = writer.root.resolve() / STAGING / f"seed-{seed:06d}"  # a worker may be started elsewhere
    make_recorder = partial(
        EpisodeRecorder, directory, fps=writer.fps, image_sizes=writer.image_sizes, robot=writer.robot
    )
    return pool.submit(_record_one, demonstrate, options, seed, make_recorder)


def _record_one(
    demonstrate: Demonstrator,
    options: RecordingOptions,
    seed: int,
    make_recorder: Callable[..., EpisodeRecorder],
) -> _Attempt:
    """Runs in a worker: one episode into its staging directory."""
    started = time.monotonic()
    noise = options.noise_of(seed)
    recorders: list[EpisodeRecorder] = []

    def start(instruction: str) -> EpisodeRecorder:
        extra = {"seed": seed, "noise": noise, "task": options.task, "first_seed": options.seed}
        recorder = make_recorder(instruction=instruction, extra=extra)
        recorders.append(recorder)
        return recorder

    success = bool(demonstrate(options.task, seed, noise, start))
    recorder = recorders[-1]
    recorder.extra["success"] = success
    recorder.finish()
    return _Attempt(directory=recorder.directory, success=success, seconds=time.monotonic() - started)


def _take(writer: DatasetWriter, attempt: _Attempt, keep_failures: bool, progress: RecordingProgress) -> None:
    """Commit or drop a finished attempt."""
    progress.attempted += 1
    progress.succeeded += attempt.success
    progress.worker_seconds += attempt.seconds
    episode = StagedEpisode.load(attempt.directory)
    if episode is None:
        raise RecordingError(f"{attempt.directory}: the worker's files are gone")
    if attempt.success or keep_failures:
        writer.commit(episode)
        progress.kept += 1
        progress.frames += episode.length
    else:
        episode.remove()


def _check_success_rate(progress: RecordingProgress, options: RecordingOptions) -> None:
    if options.keep_failures or progress.attempted < MIN_ATTEMPTS:
        return
    if progress.succeeded < MIN_SUCCESS_RATE * progress.attempted:
        raise RecordingError(
            f"only {progress.succeeded} of {counted(progress.attempted, 'demonstration')} of {options.task!r} "
            "succeeded; use less noise, or a --quality-mix with failing ones, which keeps failures"
        )
