"""`wav record --sim`: demonstrations of the scripted operator in the simulator, as a LeRobot v3.0 dataset."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from wav_models.configuration import did_you_mean
from wav_policy.cli.endings import resumable
from wav_policy.sim.tasks import TASKS

if TYPE_CHECKING:
    from wav_policy.recording.demonstrations import RecordingProgress

FPS = 10
"""Rate of recorded demonstrations [Hz], the step rate of `wav-tiny`."""


@dataclass(frozen=True)
class RecordArguments:
    """Record demonstrations; run the same command again to resume. (With --suite NAME, those of a public benchmark.)"""

    out: Path | None = None
    """Dataset directory; created when missing, continued when not."""
    sim: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Record the scripted operator in the simulator, without ROS. (Without this option the robot is recorded.)"""
    task: str = "bowl"
    """Task of the simulator."""
    episodes: int = 100
    """Episodes the dataset gets from this run, which is known by its task and first seed."""
    seed: int = 0
    """First seed; every episode takes the next that another run has not taken."""
    workers: int = 2
    """Processes."""
    noise: tuple[float, ...] = (1.0,)
    """Disturbance of the operator's motion: 0 none, 1 usual. Of several levels, successive seeds take one in turn."""
    keep_failures: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Keep episodes that did not succeed too; so does a quality mix with failing episodes."""
    quality_mix: str = ""
    """Shares of skilled, hesitant, recovering and failing demonstrations, as teleoperation has them, for example
    skilled=0.35,hesitant=0.15,recovering=0.15,failing=0.35; empty: all recovering."""
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Record nothing: play the demonstrations without cameras and print how often they succeed."""


def main(argv: list[str]) -> int:
    """Entry point of `wav record`."""
    if any(word.split("=")[0] == "--suite" for word in argv):
        from wav_policy.cli.record_suite import main as record_suite

        return record_suite(argv)
    if not {"--sim", "--dry-run"} & set(argv):
        from wav_policy.cli.record_live import main as record_live

        return record_live(argv)
    arguments = tyro.cli(RecordArguments, prog="wav record", args=argv)
    if arguments.episodes < 1 or arguments.workers < 1 or not arguments.noise:
        print("wav record: --episodes, --workers and the number of noise levels must be at least 1", file=sys.stderr)
        return 2
    if arguments.task not in TASKS:
        print(f"wav record: no task {arguments.task!r}{did_you_mean(arguments.task, TASKS)}", file=sys.stderr)
        return 2
    if arguments.out is None and not arguments.dry_run:
        print("wav record: say where with --out DIRECTORY, or only dry_run with --dry-run", file=sys.stderr)
        return 2
    out = arguments.out
    if out is None or arguments.dry_run:
        return resumable(lambda: _dry_run(arguments))
    return resumable(lambda: _record(arguments, out))


def _dry_run(arguments: RecordArguments) -> None:
    """Successes over the seeds, without a dataset."""
    from functools import partial

    from wav_policy.recording.dry_run import describe, dry_run
    from wav_policy.recording.quality import parse_mix
    from wav_policy.recording.simulated_operator import SimulatedDemonstrator

    demonstrator = SimulatedDemonstrator(parse_mix(arguments.quality_mix) if arguments.quality_mix else None)
    play = partial(demonstrator.play, arguments.task, arguments.noise[0])
    seeds = range(arguments.seed, arguments.seed + arguments.episodes)
    print(f"{arguments.task}, seeds {seeds.start} to {seeds.stop - 1}, noise {arguments.noise[0]:g}")
    print(describe(dry_run(play, seeds, arguments.workers)))


def _record(arguments: RecordArguments, out: Path) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from wav_policy.recording.demonstrations import RecordingOptions, note_run, record_demonstrations
    from wav_policy.recording.episode_writer import DatasetWriter
    from wav_policy.recording.quality import parse_mix
    from wav_policy.recording.simulated_operator import SimulatedDemonstrator

    mix = parse_mix(arguments.quality_mix) if arguments.quality_mix else None
    options = RecordingOptions(
        task=arguments.task,
        num_episodes=arguments.episodes,
        seed=arguments.seed,
        noise=arguments.noise,
        num_workers=arguments.workers,
        keep_failures=arguments.keep_failures or (mix is not None and mix.fails),
    )
    console = Console()
    note = TextColumn("{task.fields[note]}")
    columns = (TextColumn("recording"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), note)
    with DatasetWriter(out, fps=FPS) as writer, Progress(*columns, console=console) as bar:
        line = bar.add_task("", total=options.num_episodes, note="")

        def show(progress: RecordingProgress) -> None:
            done = f"{progress.succeeded}/{progress.attempted} succeeded"
            bar.update(line, completed=progress.kept, note=done)

        note_run(writer.root, options, mix)
        progress = record_demonstrations(writer, SimulatedDemonstrator(mix), options, show)
        summary = summarise(progress, writer.num_episodes, _size_of(out))
    console.print(summary, highlight=False)


def summarise(progress: RecordingProgress, num_episodes: int, size: int) -> str:
    """What a run did and what it cost."""
    seconds = time.monotonic() - progress.started
    attempts = max(1, progress.attempted)
    return (
        f"{num_episodes} episodes in the dataset, {size / max(1, num_episodes) / 1e6:.2f} MB each; "
        f"this run: {progress.succeeded} of {progress.attempted} attempts succeeded, {progress.frames} frames, "
        f"{seconds / attempts:.2f} s an episode ({progress.worker_seconds / attempts:.2f} s in its worker)"
    )


def _size_of(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
