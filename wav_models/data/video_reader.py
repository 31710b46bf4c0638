"""Frames of a video file by index."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray

from wav_models.types import ImageArray

SEEK_DISTANCE: Final = 8
"""Frames that are rather decoded and dropped than skipped by seeking to a key frame."""
SAME_PLACE: Final = 0.02
"""Frames by which the stamp of a picture may be rounded."""

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
    to_timestamp: float = math.inf,
) -> ImageArray:
    """Decode the pictures nearest in time to frames, none more than half a period away: a video may have another rate.

    Args:
        path: video file.
        fps: rate of the frames [Hz].
        indices: frames wanted, counted from `from_timestamp`; in any order, repetition allowed.
        transform: applied to every decoded uint8 image [H, W, 3], for example a resize.
        from_timestamp, to_timestamp: where the episode starts and ends in the file [s].

    Returns:
        uint8 RGB, shape [len(indices), H, W, 3].

    Raises:
        VideoError: the file cannot be decoded or lacks a frame; names both.
    """
    first, wanted = from_timestamp * fps, sorted({int(index) for index in indices})
    places = [first + index for index in wanted if (first + index + 0.5) / fps < to_timestamp]
    try:
        images = _read(path, fps, places, transform, SEEK_DISTANCE)
    except _DamagedError:  # what an open group of pictures refers to lies before the key frame that was sought
        images = _read(path, fps, places, transform, None)
    missing = [index for index in wanted if first + index not in images]
    if missing:
        part = "" if math.isinf(to_timestamp) else f", this episode's part to {to_timestamp:.3f} s"
        raise VideoError(
            f"{path}: frame {missing[0]}, due at {(first + missing[0]) / fps:.3f} s, is missing ({len(missing)} of "
            f"{len(wanted)} wanted frames); {_extent(path)}{part}"
        )
    return np.stack([images[first + int(index)] for index in indices])


class _DamagedError(VideoError):
    """A file that the decoder cannot decode."""


def _read(
    path: Path,
    fps: float,
    places: list[float],
    transform: Callable[[ImageArray], ImageArray] | None,
    seek_distance: float | None,
) -> dict[float, ImageArray]:
    """Pictures by place, see `_decode`; `_DamagedError` where the file cannot be decoded."""
    images: dict[float, ImageArray] = {}
    try:
        with _opened(path) as container:
            stream = _strict(container)
            start = float((stream.start_time or 0) * (stream.time_base or 0))
            if start * fps > 0.5:
                raise VideoError(
                    f"{path}: begins at {start:.3f} s and not at 0, so its pictures are not at their rows' times; "
                    "where only the stamps are late, `ffmpeg -i IN -vf setpts=PTS-STARTPTS -bf 0 OUT` mends them"
                )
            for place, frame in _decode(container, stream, fps, places, seek_distance):
                image = frame.to_ndarray(format="rgb24")
                images[place] = image if transform is None else transform(image)
    except (av.FFmpegError, IndexError) as error:
        raise _DamagedError(f"{path}: cannot be decoded: {error}") from error
    return images


def _extent(path: Path) -> str:
    """What time a video covers, in words."""
    with _opened(path) as container:
        stream = container.streams.video[0]
        length, rate = float((stream.duration or 0) * (stream.time_base or 0)), float(stream.average_rate or 0.0)
    return f"the video has {length:.3f} s at {rate:.2f} Hz"


def _opened(path: Path) -> av.container.InputContainer:
    """Absolute: a colon in a relative path would be taken for a protocol."""
    return av.open(str(path.absolute()))


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
        with _opened(path) as container:
            stream = _strict(container)
            size = (stream.codec_context.height, stream.codec_context.width)
            rate = float(stream.average_rate or 0.0)
            if not decode:
                return VideoFacts(sum(packet.size > 0 for packet in container.demux(stream)), size, rate)
            found = changes(frame.to_ndarray(format="gray") for frame in container.decode(stream))
            return VideoFacts(len(found), size, rate, found)
    except (av.FFmpegError, IndexError) as error:
        raise VideoError(f"{path}: cannot be decoded: {error}") from error


def changes(pictures: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Of every picture, shape [H, W] or [H, W, 3], the difference from the one before, see `VideoFacts`."""
    found: list[float] = []
    previous: NDArray[np.int16] | None = None
    for picture in pictures:
        pixels = picture[::STRIDE, ::STRIDE].astype(np.int16)
        same = previous is not None and previous.shape == pixels.shape
        found.append(float(np.abs(pixels - previous).mean()) if same and previous is not None else np.inf)
        previous = pixels
    return np.array(found, np.float32)


def _strict(container: av.container.InputContainer) -> av.VideoStream:
    """The video stream, decoded in one thread; damage is an error and not painted over."""
    stream = container.streams.video[0]
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"err_detect": "explode"}
    return stream


def _decode(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    fps: float,
    places: list[float],
    seek_distance: float | None,
) -> Iterator[tuple[float, av.VideoFrame]]:
    """The places [frames at `fps`], ascending, with the pictures nearest to them; those farther than half a frame from
    every picture are left out. Nothing is skipped where `seek_distance` is None."""
    time_base = stream.time_base
    if time_base is None:
        return
    around: list[tuple[float, av.VideoFrame]] = []  # the last two pictures, with their places
    frames = iter(container.decode(stream))
    for place in places:
        if seek_distance is not None and place - (around[-1][0] if around else 0.0) > seek_distance:
            container.seek(int(place / fps / time_base), stream=stream)
            around, frames = [], iter(container.decode(stream))
        while not around or around[-1][0] < place - SAME_PLACE:
            frame = next(frames, None)
            if frame is None:
                break
            if frame.pts is not None:
                around = [*around[-1:], (float(frame.pts * time_base) * fps, frame)]
        distance, frame = min(((abs(p - place), f) for p, f in around), key=lambda found: found[0], default=(1.0, None))
        if frame is not None and distance < 0.5:
            yield place, frame
