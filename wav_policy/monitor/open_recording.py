"""Opens what can be replayed: an episode of a LeRobot dataset, or a rosbag2/MCAP recording."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from wav_models.data.dataset import Dataset
from wav_models.data.images import resize_image
from wav_models.data.layout import INFO_PATH
from wav_models.data.samples import due_rows, frames_per_step
from wav_models.types import ImageArray
from wav_models.words import counted
from wav_policy.monitor.page import page_size
from wav_policy.monitor.recording import Recording, ReplayError
from wav_policy.recording.bag import Bag
from wav_policy.recording.bag_file import BagError, is_recording
from wav_policy.recording.bag_pictures import Decode
from wav_policy.recording.bag_topics import BagTopics
from wav_policy.robot.cameras import VIEWS
from wav_policy.robot.joints import ROBOT

_MARKS: Final = {True: " (success)", False: " (failure)", None: ""}


def check_recording(path: Path, episode: int) -> None:
    """Whether there is something to open, looked at before anything is loaded.

    Raises:
        ReplayError, DatasetError: it is nothing that can be replayed, or has no such episode.
    """
    if (path / INFO_PATH).exists():
        number = len(Dataset(path, robot=ROBOT))
        if not 0 <= episode < number:
            raise ReplayError(f"{path} has {counted(number, 'episode')}; --episode {episode} is none of them")
    elif not is_recording(path):
        raise ReplayError(f"{path} is neither a LeRobot dataset ({INFO_PATH}) nor a rosbag2/MCAP recording")


def open_recording(
    path: Path,
    episode: int,
    image_size: tuple[int, int],
    step_hz: float,
    decode: Decode,
    topics: BagTopics | None = None,
) -> Recording:
    """Read an episode.

    Args:
        path: dataset directory, rosbag2 directory, or .mcap or .db3 file.
        episode: of a dataset; of a bag its segments.
        image_size: (height, width) the model sees [px].
        step_hz: steps of the model per second [Hz].
        decode: makes pictures of a bag's messages.
        topics: of a bag of another stack; None: this project's own.

    Raises:
        ReplayError, DatasetError: it is nothing that can be replayed.
    """
    check_recording(path, episode)
    if (path / INFO_PATH).exists():
        return _from_dataset(path, episode, image_size, step_hz)
    return _from_bag(path, episode, image_size, step_hz, topics or BagTopics(), decode)


def _from_dataset(path: Path, number: int, image_size: tuple[int, int], step_hz: float) -> Recording:
    dataset = Dataset(path, robot=ROBOT)
    episode = dataset.read_episode(number)
    try:
        stride = frames_per_step(dataset.fps, step_hz)
    except ValueError as error:
        raise ReplayError(f"{path}: {error}") from None
    chosen = range(0, len(episode), stride)
    decode: Callable[..., ImageArray] = episode.images
    sizes = {view: page_size(np.empty((*dataset.image_sizes[view], 3), np.uint8)) for view in VIEWS}
    return Recording(
        title=f"{path.name}, episode {number}{_MARKS[episode.info.success]}",
        fps=step_hz,
        instruction=episode.instruction,
        states=episode.states[::stride],
        actions=episode.actions[due_rows(len(episode), stride)],
        pictures={view: decode(view, chosen, (height, width)) for view, (width, height) in sizes.items()},
        model_images={view: decode(view, chosen, image_size) for view in VIEWS},
        values=None if episode.values is None else episode.values[::stride, -1],
        episode=number,
        num_episodes=len(dataset),
    )


def _from_bag(
    path: Path, number: int, image_size: tuple[int, int], fps: float, topics: BagTopics, decode: Decode
) -> Recording:
    """Cameras, joint states and instruction on a steady grid."""
    small: dict[str, list[tuple[ImageArray, ImageArray]]] = {view: [] for view in VIEWS}
    rows = []
    try:
        bag = Bag(path, topics, fps, decode)
        if not 0 <= number < len(bag.segments):
            raise ReplayError(f"{path} has {counted(len(bag.segments), 'episode')}; --episode {number} is none of them")
        segment = bag.segments[number]
        for row, pictures in bag.pictures(segment):  # few at full size are in memory at a time
            rows.append(row)
            for view, image in pictures.items():
                width, height = page_size(image)
                small[view].append((resize_image(image, (height, width)), resize_image(image, image_size)))
    except BagError as error:
        raise ReplayError(str(error)) from error
    for_page = {view: np.stack([page for page, _ in frames]) for view, frames in small.items()}
    for_model = {view: np.stack([model for _, model in frames]) for view, frames in small.items()}
    return Recording(
        path.name,
        fps,
        bag.instruction,
        segment.states[rows],
        segment.actions[rows],
        for_page,
        for_model,
        remarks=tuple(bag.remarks()),
        episode=number,
        num_episodes=len(bag.segments),
    )
