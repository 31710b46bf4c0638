"""Writes what a mapping makes of another lab's dataset as one of this project's layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from wav_models.data.dataset import DatasetError, Episode
from wav_models.data.mapped_dataset import MappedDataset
from wav_policy.recording.episode_writer import DatasetWriter
from wav_policy.robot.cameras import IMAGE_SIZES, VIEWS

BLOCK: Final = 64
"""Frames that are in memory at a time."""


def convert_dataset(source: MappedDataset, target: Path, on_progress: Callable[[int], None] = lambda done: None) -> int:
    """Write every episode of `source` into the new dataset `target`, images resized to those of a recording.

    Args:
        on_progress: called with the number of episodes done.

    Returns:
        How many were written.

    Raises:
        DatasetError: there is something in `target`, or an episode cannot be used; nothing of it is written then.
        VideoError: a video is damaged.
        OSError: the disk is full.
    """
    if target.exists() and any(target.iterdir()):
        raise DatasetError(f"{target}: there is something already; convert into a new directory")
    for episode in source:
        _require_usable(episode, source.root)
    with DatasetWriter(target, fps=source.fps) as writer:
        for episode in source:
            _write(writer, episode, source.root)
            on_progress(writer.num_episodes)
        return writer.num_episodes


def _require_usable(episode: Episode, root: Path) -> None:
    if not len(episode):
        raise DatasetError(f"{root}: episode {episode.info.index} has no frames; leave it out")
    if not episode.instruction:
        raise DatasetError(f"{root}: episode {episode.info.index} has no instruction; say `instruction` in the mapping")


def _write(writer: DatasetWriter, episode: Episode, root: Path) -> None:
    known = {"seed": episode.info.seed, "success": episode.info.success}
    origin = {"converted_from": root.resolve().name, "source_episode": episode.info.index}
    writer.start_episode(episode.instruction, {name: fact for name, fact in known.items() if fact is not None} | origin)
    for first in range(0, len(episode), BLOCK):
        frames = range(first, min(first + BLOCK, len(episode)))
        images = {view: episode.images(view, frames, IMAGE_SIZES[view]) for view in VIEWS}
        for place, frame in enumerate(frames):
            writer.add_frame(
                {view: images[view][place] for view in VIEWS},
                episode.states[frame],
                episode.actions[frame],
                float(episode.capture_times[frame]),
            )
    writer.end_episode()
