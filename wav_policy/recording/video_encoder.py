"""Streaming H.264 encoding of one camera."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray

KEY_FRAME_INTERVAL: Final = 2
"""Frames; a short interval makes random access cheap, which training needs."""

CODEC_OPTIONS: Final = {"preset": "veryfast", "crf": "20", "g": str(KEY_FRAME_INTERVAL)}


class VideoEncoder:
    """Encodes frames to an MP4 file as they come; the file is playable after `close`."""

    def __init__(self, path: Path, size: tuple[int, int], fps: int) -> None:
        """Open the file for frames of `size` (height, width) [px]; both must be even for yuv420p."""
        height, width = size
        if height % 2 or width % 2:
            raise ValueError(f"{path.stem}: image size {height}x{width} must be even in both directions for yuv420p")
        self._container = av.open(str(path.absolute()), mode="w")
        self._stream = self._container.add_stream("libx264", rate=fps, options=dict(CODEC_OPTIONS))
        self._stream.height, self._stream.width = height, width
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.thread_count = 1

    def add(self, rgb: NDArray[np.uint8]) -> None:
        """Append one uint8 image [H, W, 3]."""
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Flush the encoder and finish the file.

        Raises:
            OSError: the file cannot be written: the disk is full.
        """
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def abandon(self) -> None:
        """Let go of the file, finished or not, whatever the disk says."""
        with suppress(OSError, av.FFmpegError):
            self._container.close()
