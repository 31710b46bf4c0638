"""Writes what a mapping makes of another lab's dataset as one of this project's layout."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from wav_models.data.dataset import DatasetError, Episode
from wav_models.data.layout import STAGING
from wav_models.data.lock import DatasetLock
from wav_models.data.mapped_dataset import MappedDataset
from wav_models.data.video_reader import VideoError
from wav_policy.recording.episode_writer import DatasetWriter
from wav_policy.robot.cameras import IMAGE_SIZES, VIEWS

UNFINISHED: Final = ".unfinished"
"""Ending of the directory beside the target in which a conversion works."""


def convert_dataset(source: MappedDataset, target: Path, on_progress: Callable[[int], None] = lambda done: None) -> int:
    """Write every episode of `source` into the new dataset `target`, images resized to those of a recording.

    It is written beside its place and put there when it is whole: a conversion that ends early leaves no dataset.

    Args:
        on_progress: called with the number of episodes done.

    Returns:
        How many were written.

    Raises:
        DatasetError: there is something in `target`, another conversion writes it, or an episode cannot be used.
        VideoError: a video is damaged.
        OSError: the disk is full, or nothing can be written there.
    """
    target = Path(os.path.realpath(target))
    unfinished = target.with_name(f"{target.name}{UNFINISHED}")
    _require_free(target, unfinished, source.root.resolve())
    for episode in source:
        if not episode.instruction:
            raise DatasetError(
                f"{source.root}: episode {episode.info.index} has no instruction; say `instruction` in the mapping"
            )
    if unfinished.exists():
        with DatasetLock(unfinished, "convert"):  # of a conversion that was killed: nobody writes there any more
            shutil.rmtree(unfinished)
    try:
        with DatasetWriter(unfinished, fps=source.fps) as writer:
            for episode in source:
                _write(writer, episode, source)
                on_progress(writer.num_episodes)
            os.rename(unfinished, target)
    except BaseException as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        if isinstance(error, OSError):
            raise OSError(f"{target}: nothing was written there: {error}") from error
        raise
    return writer.num_episodes


def _require_free(target: Path, unfinished: Path, source: Path) -> None:
    """DatasetError where something would be lost: nothing is removed but what a conversion left."""
    if target.is_relative_to(source):
        raise DatasetError(f"{target} is in {source}, which stays as it is; convert into a directory outside of it")
    if target.name.endswith(UNFINISHED):
        raise DatasetError(
            f"{target}: what ends with {UNFINISHED} is of conversions that did not end; name it otherwise"
        )
    if os.path.lexists(target) and not target.is_dir():
        raise DatasetError(f"{target} is no directory; convert into a new one")
    if os.path.lexists(unfinished) and not (unfinished / STAGING).is_dir():
        raise DatasetError(f"{unfinished} is in the way, and not of a conversion; move it")
    if target.exists() and any(target.iterdir()):
        raise DatasetError(f"{target}: there is something already; convert into a new directory")


def _write(writer: DatasetWriter, episode: Episode, source: MappedDataset) -> None:
    index = episode.info.index
    known = {"seed": episode.info.seed, "success": episode.info.success}
    origin = {"converted_from": source.root.resolve().name, "source_episode": index}
    writer.start_episode(episode.instruction, {name: fact for name, fact in known.items() if fact is not None} | origin)
    pictures = {view: episode.pictures(view, IMAGE_SIZES[view]) for view in VIEWS}
    try:
        for view in VIEWS:
            source.require_pictures(index, view)
        for state, action, time in zip(episode.states, episode.actions, episode.capture_times, strict=True):
            images = {view: next(pictures[view]) for view in VIEWS}
            writer.add_frame(images, state, action, float(time))
    except (VideoError, DatasetError) as error:
        raise type(error)(f"{error}; {source.do_without(index, error)}") from error
    writer.end_episode()
