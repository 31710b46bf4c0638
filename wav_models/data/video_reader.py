"""Frames of a video file by index."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray

from wav_models.types import ImageArray

SEEK_DISTANCE: Final = 8
"""Frames that are rather decoded and dropped than skipped by seeking to a key frame."""


STRIDE: Final = 8
"""Of the pixels, in either direction, by which frames are compared."""


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
            stream = _strict(container)
            for number, frame in _decode(container, stream, fps, wanted):
                image = frame.to_ndarray(format="rgb24")
                images[number] = image if transform is None else transform(image)
    except (av.FFmpegError, IndexError) as error:
        raise VideoError(f"{path}: cannot be decoded: {error}") from error
    missing = [number - first for number in wanted if number not in images]
    if missing:
        raise VideoError(f"{path}: frame {missing[0]} is missing ({len(missing)} of {len(wanted)} wanted frames)")
    return np.stack([images[first + int(index)] for index in indices])


@dataclass(frozen=True)
class VideoFacts:
    """What a video file holds.

    Attributes:
        num_frames: how many frames.
        size: (height, width) [px].
        rate: frames per second.
        changes: mean absolute difference of every frame from the one before, at every 8th pixel, in grey levels of
            0 to 255, shape [num_frames]; the first is infinite. None where it was not decoded.
    """

    num_frames: int
    size: tuple[int, int]
    rate: float
    changes: NDArray[np.float32] | None = None


def inspect_video(path: Path, *, decode: bool) -> VideoFacts:
    """Go through a video file once: decode every frame, or only count the packets.

    Raises:
        VideoError: the file cannot be read or, if decoded, is damaged anywhere.
    """
    try:
        with av.open(str(path)) as container:
            stream = _strict(container)
            size = (stream.codec_context.height, stream.codec_context.width)
            rate = float(stream.average_rate or 0.0)
            if not decode:
                return VideoFacts(sum(packet.size > 0 for packet in container.demux(stream)), size, rate)
            changes = list(_changes(container.decode(stream)))
            return VideoFacts(len(changes), size, rate, np.array(changes, np.float32))
    except (av.FFmpegError, IndexError) as error:
        raise VideoError(f"{path}: cannot be decoded: {error}") from error


def _changes(frames: Iterator[av.VideoFrame]) -> Iterator[float]:
    previous: NDArray[np.int16] | None = None
    for frame in frames:
        pixels = frame.to_ndarray(format="gray")[::STRIDE, ::STRIDE].astype(np.int16)
        same = previous is not None and previous.shape == pixels.shape
        yield float(np.abs(pixels - previous).mean()) if same and previous is not None else np.inf
        previous = pixels


def _strict(container: av.container.InputContainer) -> av.VideoStream:
    """The video stream, decoded in one thread; damage is an error and not painted over."""
    stream = container.streams.video[0]
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"err_detect": "explode"}
    return stream


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
