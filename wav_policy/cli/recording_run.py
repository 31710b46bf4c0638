"""One run of a scripted operator into a dataset: noted, shown, summed up."""

from __future__ import annotations

from wav_models.progress import progress
from wav_models.words import counted
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
    with progress("recording") as tell:

        def show(now: RecordingProgress) -> None:
            note = f"{now.succeeded} of {counted(now.attempted, 'attempt')} succeeded" if now.attempted else ""
            tell(now.kept, options.num_episodes, note)

        note_run(writer.root, options, mix)
        done = record_demonstrations(writer, demonstrator, options, show)
    count, size = writer.num_episodes, sum(path.stat().st_size for path in writer.root.rglob("*") if path.is_file())
    seconds = done.worker_seconds / max(1, done.attempted)
    print(
        f"{counted(count, 'episode')} in the dataset, {size / max(1, count) / 1e6:.2f} MB each; this run: "
        f"{done.succeeded} of {counted(done.attempted, 'attempt')} succeeded, {counted(done.frames, 'frame')}, "
        f"{seconds:.2f} s an episode in its worker"
    )
