"""A rosbag2 recording as the page and the policy need it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wav_models.data.images import resize_image
from wav_models.types import ImageArray
from wav_policy.monitor.page import page_size
from wav_policy.monitor.recording import Recording, ReplayError
from wav_policy.recording.bag import Bag, BagError, Decode
from wav_policy.recording.bag_topics import BagTopics
from wav_policy.robot.cameras import VIEWS


def read_bag(path: Path, image_size: tuple[int, int], fps: float, topics: BagTopics, decode: Decode) -> Recording:
    """Cameras, joint states and instruction of a bag on a steady grid.

    Raises:
        ReplayError: rosbags is missing, the file is damaged, or a topic is not in it.
    """
    small: dict[str, list[tuple[ImageArray, ImageArray]]] = {view: [] for view in VIEWS}
    try:
        bag = Bag(path, topics, fps, decode)
        for _, pictures in bag.pictures():  # one row at full size is in memory at a time
            for view, image in pictures.items():
                width, height = page_size(image)
                small[view].append((resize_image(image, (height, width)), resize_image(image, image_size)))
    except BagError as error:
        raise ReplayError(str(error)) from error
    for_page = {view: np.stack([page for page, _ in frames]) for view, frames in small.items()}
    for_model = {view: np.stack([model for _, model in frames]) for view, frames in small.items()}
    return Recording(path.name, fps, bag.instruction, bag.states, for_page, for_model)
