"""One run of a scripted operator into a dataset: noted, shown, summed up."""

from __future__ import annotations

import sys

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from wav_policy.recording.demonstrations import (
    Demonstrator,
    RecordingOptions,
    RecordingProgress,
    note_run,
    record_demonstrations,
)
from wav_policy.recording.episode_writer import DatasetWriter
from wav_policy.recording.quality import QualityMix


def record(
    writer: DatasetWriter, demonstrator: Demonstrator, options: RecordingOptions, mix: QualityMix | None
) -> None:
    """Record until the dataset has the episodes of this run, and say what it took."""
    note = TextColumn("{task.fields[note]}")
    columns = (TextColumn("recording"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), note)
    with Progress(*columns) as bar:
        line = bar.add_task("", total=options.num_episodes, note="")

        def show(progress: RecordingProgress) -> None:
            done = f"{progress.succeeded}/{progress.attempted} succeeded"
            bar.update(line, completed=progress.kept, note=done)
            if not bar.console.is_terminal:  # where the bar is drawn at the end only
                print(f"{progress.kept}/{options.num_episodes} episodes, {done}", file=sys.stderr, flush=True)

        note_run(writer.root, options, mix)
        progress = record_demonstrations(writer, demonstrator, options, show)
    count, size = writer.num_episodes, sum(path.stat().st_size for path in writer.root.rglob("*") if path.is_file())
    seconds = progress.worker_seconds / max(1, progress.attempted)
    print(
        f"{count} episodes in the dataset, {size / max(1, count) / 1e6:.2f} MB each; this run: {progress.succeeded} of "
        f"{progress.attempted} attempts succeeded, {progress.frames} frames, {seconds:.2f} s an episode in its worker"
    )
