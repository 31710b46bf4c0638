"""`wav record`: demonstrations of the scripted operator in the simulator, as a LeRobot v3.0 dataset."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from wav_policy.recording.demonstrations import RecordingProgress

FPS = 10
"""Rate of recorded demonstrations [Hz], the step rate of `wav-tiny`."""


@dataclass(frozen=True)
class RecordArguments:
    """Record demonstrations; run the same command again to resume."""

    out: Path
    """Dataset directory; created when missing, continued when not."""
    sim: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Record the scripted operator in the simulator. (Teleoperation is recorded by the recorder node.)"""
    task: str = "bowl"
    """Task of the simulator."""
    episodes: int = 100
    """Episodes the dataset gets from this range of seeds."""
    seed: int = 0
    """First seed; every episode takes the next."""
    workers: int = 2
    """Processes."""
    noise: tuple[float, ...] = (1.0,)
    """Disturbance of the operator's motion: 0 none, 1 usual. Of several levels, successive seeds take one in turn."""
    keep_failures: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Keep episodes that did not succeed too."""


def main(argv: list[str]) -> int:
    """Entry point of `wav record`."""
    arguments = tyro.cli(RecordArguments, prog="wav record", args=argv)
    if not arguments.sim:
        print("wav record: only --sim records here; on the robot, call the service recorder/start", file=sys.stderr)
        return 2
    if arguments.episodes < 1 or arguments.workers < 1 or not arguments.noise:
        print("wav record: --episodes, --workers and the number of noise levels must be at least 1", file=sys.stderr)
        return 2
    try:
        _record(arguments)
    except KeyboardInterrupt:
        print("interrupted; every finished episode is kept, the same command resumes", file=sys.stderr)
        return 130
    except (ValueError, OSError, RuntimeError) as error:
        print(f"wav record: {error}", file=sys.stderr)
        return 1
    return 0


def _record(arguments: RecordArguments) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from wav_policy.recording.demonstrations import RecordingOptions, record_demonstrations
    from wav_policy.recording.episode_writer import DatasetWriter
    from wav_policy.recording.simulated_operator import demonstrate_in_simulation

    options = RecordingOptions(
        task=arguments.task,
        num_episodes=arguments.episodes,
        seed=arguments.seed,
        noise=arguments.noise,
        num_workers=arguments.workers,
        keep_failures=arguments.keep_failures,
    )
    console = Console()
    note = TextColumn("{task.fields[note]}")
    columns = (TextColumn("recording"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), note)
    with DatasetWriter(arguments.out, fps=FPS) as writer, Progress(*columns, console=console) as bar:
        line = bar.add_task("", total=options.num_episodes, note="")

        def show(progress: RecordingProgress) -> None:
            done = f"{progress.succeeded}/{progress.attempted} succeeded"
            bar.update(line, completed=progress.kept, note=done)

        progress = record_demonstrations(writer, demonstrate_in_simulation, options, show)
        summary = summarise(progress, writer.num_episodes, _size_of(arguments.out))
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
