"""Frames of a video file by index."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray

ImageArray = NDArray[np.uint8]

SEEK_DISTANCE: Final = 8
"""Frames that are rather decoded and dropped than skipped by seeking to a key frame."""


class VideoError(ValueError):
    """A video that is missing, damaged or shorter than the episode it belongs to."""


def read_frames(
    path: Path,
    fps: float,
    indices: Sequence[int],
    transform: Callable[[ImageArray], ImageArray] | None = None,
    from_timestamp: float = 0.0,
) -> ImageArray:
    """Decode frames.

    Args:
        path: video file.
        fps: frame rate [Hz].
        indices: frames wanted, counted from `from_timestamp`; in any order, repetition allowed.
        transform: applied to every decoded uint8 image [H, W, 3], for example a resize.
        from_timestamp: where the episode starts in the file [s].

    Returns:
        uint8 RGB, shape [len(indices), H, W, 3].

    Raises:
        VideoError: the file cannot be decoded or lacks a frame; names both.
    """
    first = round(from_timestamp * fps)
    wanted = sorted({first + int(index) for index in indices})
    images: dict[int, ImageArray] = {}
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            for number, frame in _decode(container, stream, fps, wanted):
                image = frame.to_ndarray(format="rgb24")
                images[number] = image if transform is None else transform(image)
    except (av.FFmpegError, IndexError) as error:
        raise VideoError(f"{path}: cannot be decoded: {error}") from error
    missing = [number - first for number in wanted if number not in images]
    if missing:
        raise VideoError(f"{path}: frame {missing[0]} is missing ({len(missing)} of {len(wanted)} wanted frames)")
    return np.stack([images[first + int(index)] for index in indices])


def count_frames(path: Path) -> int:
    """Number of frames in a video file, from its packets."""
    try:
        with av.open(str(path)) as container:
            return sum(packet.size > 0 for packet in container.demux(video=0))
    except (av.FFmpegError, IndexError) as error:
        raise VideoError(f"{path}: cannot be decoded: {error}") from error


def _decode(
    container: av.container.InputContainer, stream: av.VideoStream, fps: float, wanted: list[int]
) -> Iterator[tuple[int, av.VideoFrame]]:
    """The wanted frame numbers, ascending, with their frames."""
    time_base = stream.time_base
    if time_base is None:
        return
    position, frames = 0, iter(container.decode(stream))
    for number in wanted:
        if number - position > SEEK_DISTANCE:
            container.seek(int(number / fps / time_base), stream=stream)
            frames = iter(container.decode(stream))
        for frame in frames:
            if frame.pts is None:
                continue
            position = round(float(frame.pts * time_base) * fps) + 1
            if position > number:
                break
        else:
            return
        if position == number + 1:
            yield number, frame
