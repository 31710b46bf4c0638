"""Pictures that are stored as images in the rows of a data file (LeRobot's dtype "image"), not as a video."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from PIL import Image

from wav_models.data.tables import DataFileError, episode_cells
from wav_models.data.video_reader import VideoError
from wav_models.types import ImageArray
from wav_models.words import counted

CAMERAS_AT_A_TIME: Final = 4
"""So many columns are held, of one episode each: its cameras are read in turn."""
_DEEP: Final = ("I", "F")
"""What modes of Pillow begin with whose pixels are no bytes: depth."""


class ImageColumn(NamedTuple):
    """An episode's pictures of one camera, PNG or JPEG each, in a column of its data file.

    Attributes:
        path: data file.
        root: of the dataset; an image that is a file of its own is named from there.
        key: of the column.
        episode: index of the episode.
    """

    path: Path
    root: Path
    key: str
    episode: int

    @property
    def size(self) -> str:
        """What tells it from other pictures: bytes of the file, and the column."""
        return f"{self.path.stat().st_size} {self.key}"

    def read(
        self, fps: float, indices: Sequence[int], transform: Callable[[ImageArray], ImageArray] | None
    ) -> ImageArray:
        """Decode the pictures of frames.

        Args:
            fps: rate of the rows [Hz]; each has its picture, so that it does not matter.
            indices: frames wanted, in any order, repetition allowed.
            transform: applied to every decoded uint8 image [H, W, 3].

        Returns:
            uint8 RGB, shape [len(indices), H, W, 3].

        Raises:
            DataFileError: the file cannot be read, or has no such column.
            VideoError: a picture is missing, damaged or of another size than the one before.
        """
        try:
            cells = _cells(self.path, self.path.stat().st_mtime_ns, self.episode, self.key)
        except OSError as error:
            raise DataFileError(f"{self.path}: cannot be read: {error}") from error
        images: dict[int, ImageArray] = {}
        for index in sorted({int(index) for index in indices}):
            where = f"{self.path}, episode {self.episode}: {self.key} of frame {index}"
            if not 0 <= index < len(cells):
                raise VideoError(f"{where} is missing; the episode has {counted(len(cells), 'frame')}")
            image = _decoded(self._encoded(cells[index].as_py(), where), where)
            images[index] = image if transform is None else transform(image)
        if len({image.shape for image in images.values()}) > 1:
            raise VideoError(f"{self.path}, episode {self.episode}: the pictures of {self.key} differ in size")
        return np.stack([images[int(index)] for index in indices])

    def _encoded(self, cell: Any, where: str) -> bytes:
        """A cell's file, which is in it or named by it."""
        cell = cell if isinstance(cell, dict) else {"bytes": cell}
        encoded, name = cell.get("bytes"), cell.get("path")
        if isinstance(encoded, bytes):
            return encoded
        if not isinstance(name, str):
            raise VideoError(f"{where} is no image: neither bytes nor the path of a file")
        file = self.root / name
        if not file.is_relative_to(self.root) or ".." in file.parts or not file.is_file():
            raise VideoError(f"{where} has no bytes, and {name!r} is no file in the dataset")
        return file.read_bytes()


@lru_cache(maxsize=CAMERAS_AT_A_TIME)
def _cells(path: Path, written: int, episode: int, key: str) -> pa.ChunkedArray:
    """See `episode_cells`; `written` is the time of the file's last change [ns]."""
    return episode_cells(path, episode, key)


def _decoded(encoded: bytes, where: str) -> ImageArray:
    """Damage is an error and not painted over."""
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            if image.mode.startswith(_DEEP):
                raise VideoError(f"{where} has pixels of mode {image.mode}: depth, where a picture in colour is needed")
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise error if isinstance(error, VideoError) else VideoError(f"{where} cannot be decoded: {error}") from error
