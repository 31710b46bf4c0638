"""Reads a rosbag2 recording (sqlite3 or MCAP) of the contract's topics through the pure Python library rosbags."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import cv2
import numpy as np

from wav_models.alignment import IndexArray, newest_at
from wav_models.data.images import resize_image
from wav_models.types import FloatArray, ImageArray
from wav_policy.monitor.page import page_size
from wav_policy.monitor.recording import Recording, ReplayError, steady_grid
from wav_policy.robot.cameras import VIEWS
from wav_policy.robot.joints import JOINT_NAMES

_IMAGES: Final = {f"/{view}/image_raw{suffix}": view for view in VIEWS for suffix in ("", "/compressed")}
_JOINTS, _INSTRUCTION = "/joint_states", "/instruction"
_CONVERSIONS: Final = {"rgb8": None, "bgr8": cv2.COLOR_BGR2RGB}


def read_bag(path: Path, image_size: tuple[int, int], fps: float) -> Recording:
    """Cameras, joint states and instruction of a bag on a steady grid.

    Raises:
        ReplayError: rosbags is missing, the file is damaged, or a topic of the contract is not in it.
    """
    stamps: dict[str, list[float]] = {view: [] for view in VIEWS}
    times: list[float] = []
    positions: list[FloatArray] = []
    instruction = ""
    for topic, message in _messages(path, {*_IMAGES, _JOINTS, _INSTRUCTION}):
        if topic in _IMAGES:
            stamps[_IMAGES[topic]].append(_seconds(message))
        elif topic == _JOINTS:
            times.append(_seconds(message))
            positions.append(_positions(path, message))
        elif topic == _INSTRUCTION:
            instruction = message.data
    missing = [f"/{view}/image_raw" for view in VIEWS if not stamps[view]] + ([] if times else [_JOINTS])
    if missing:
        raise ReplayError(f"{path}: nothing recorded of {', '.join(missing)}")
    grid = steady_grid([np.array(times), *(np.array(stamps[view]) for view in VIEWS)], fps)
    chosen = {view: newest_at(np.array(stamps[view]), grid) for view in VIEWS}
    pictures, model_images = _pictures(path, chosen, image_size)
    states = np.array(positions)[newest_at(np.array(times), grid)]
    return Recording(path.name, fps, instruction, states, pictures, model_images)


def _pictures(
    path: Path, chosen: Mapping[str, IndexArray], image_size: tuple[int, int]
) -> tuple[dict[str, ImageArray], dict[str, ImageArray]]:
    """The chosen frames per view for the page and for the model; at full size only one is in memory at a time."""
    counts = dict.fromkeys(VIEWS, 0)
    wanted = {view: set(indices.tolist()) for view, indices in chosen.items()}
    small: dict[str, dict[int, tuple[ImageArray, ImageArray]]] = {view: {} for view in VIEWS}
    for topic, message in _messages(path, set(_IMAGES)):
        view = _IMAGES[topic]
        if counts[view] in wanted[view]:
            image = _picture(topic, message)
            width, height = page_size(image)
            small[view][counts[view]] = resize_image(image, (height, width)), resize_image(image, image_size)
        counts[view] += 1
    for_page = {view: np.stack([small[view][i][0] for i in chosen[view]]) for view in VIEWS}
    for_model = {view: np.stack([small[view][i][1] for i in chosen[view]]) for view in VIEWS}
    return for_page, for_model


def _messages(path: Path, wanted: Set[str]) -> Iterator[tuple[str, Any]]:
    """Topic and message of all that is wanted, in the order of recording."""
    highlevel, typesys = _library()
    try:
        store = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
        with highlevel.AnyReader([path], default_typestore=store) as reader:
            connections = [connection for connection in reader.connections if connection.topic in wanted]
            for connection, _, data in reader.messages(connections):
                yield connection.topic, reader.deserialize(data, connection.msgtype)
    except highlevel.AnyReaderError as error:
        raise ReplayError(f"{path}: {error}") from error


def _library() -> tuple[ModuleType, ModuleType]:
    try:
        from rosbags import highlevel, typesys
    except ImportError as error:
        raise ReplayError("reading bags needs the extra `bags`: pip install -e '.[bags]'") from error
    return highlevel, typesys


def _picture(topic: str, message: Any) -> ImageArray:
    """uint8 RGB [H, W, 3] of an Image or CompressedImage."""
    if topic.endswith("/compressed"):
        pixels = cv2.imdecode(np.asarray(message.data, np.uint8), cv2.IMREAD_COLOR)
        if pixels is None:
            raise ReplayError(f"{topic}: a frame of format {message.format!r} cannot be decoded")
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8)
    if message.encoding not in _CONVERSIONS:
        raise ReplayError(f"{topic}: encoding {message.encoding!r}; {' and '.join(_CONVERSIONS)} can be replayed")
    rows = np.asarray(message.data, np.uint8).reshape(message.height, message.step)
    pixels = rows[:, : 3 * message.width].reshape(message.height, message.width, 3)
    conversion = _CONVERSIONS[message.encoding]
    return pixels if conversion is None else np.asarray(cv2.cvtColor(pixels, conversion), dtype=np.uint8)


def _positions(path: Path, message: Any) -> FloatArray:
    """Positions [14] in the order of `JOINT_NAMES`."""
    by_name = dict(zip(message.name, message.position, strict=False))
    if absent := [name for name in JOINT_NAMES if name not in by_name]:
        raise ReplayError(f"{path}: {_JOINTS} without {', '.join(absent)}")
    return np.array([by_name[name] for name in JOINT_NAMES])


def _seconds(message: Any) -> float:
    return float(message.header.stamp.sec) + 1e-9 * float(message.header.stamp.nanosec)
