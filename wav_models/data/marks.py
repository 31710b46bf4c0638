"""Which episodes succeeded, as other people mark them: in a column of the frames, or of the episode table."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wav_models.data.tables import DatasetError
from wav_models.types import FloatArray

_YES: Final = {"true", "yes", "1", "success", "successful", "succeeded"}
_NO: Final = {"false", "no", "0", "failure", "fail", "failed", "unsuccessful"}
_SHOWN: Final = 80
"""Characters of what is no mark."""
_OF_SUCCESS: Final = {"success", "successful", "succeeded"}
_BESIDE: Final = {"is", "was", "next", "episode", "task", "final", "annotation", "observation", "info"}
"""Words that change nothing about what a name says of success."""


def tells_success(name: str) -> bool:
    """Whether a column's name says that it marks success ("is_success", "next.success", "episode_successful")."""
    words = set(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()))
    return bool(words & _OF_SUCCESS) and not words - _OF_SUCCESS - _BESIDE


def success_mark(mark: Any, least: float | None = None) -> bool | None:
    """Success (True), failure, or that it is not known: nothing, NaN, an empty text.

    Args:
        mark: true or false, a number, a word for either, or a list of one of them.
        least: numbers from this one on mean success; None: 0 and 1 are the only ones.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(mark, list) and len(mark) == 1:
        mark = mark[0]
    word = mark.strip().lower() if isinstance(mark, str) else None
    if mark is None or mark != mark or word == "":
        return None
    if word in _YES or word in _NO:
        return word in _YES
    if isinstance(mark, bool) or (least is None and mark in (0, 1)):
        return bool(mark)
    if isinstance(mark, (int, float)) and least is not None:
        return mark >= least
    raise ValueError(f"success is {repr(mark)[:_SHOWN]}; it must be true or false")


def numbers_of_frames(path: Path, key: str) -> FloatArray:
    """The different numbers in a column of a data file, ascending; none where it cannot be read or holds no numbers."""
    try:
        cells = pc.unique(pq.ParquetFile(path).read(columns=[key], use_threads=False)[key])
        return np.unique(np.asarray(cells.cast(pa.float64()).drop_null()))
    except (OSError, pa.ArrowException, KeyError):
        return np.array([])


def marks_of_frames(path: Path, key: str, least: float) -> dict[int, bool]:
    """Of every episode of a data file that has marks, whether some frame's is of success.

    A file that cannot be read says nothing here; whoever reads the episode is told.

    Raises:
        DatasetError: a mark is none, or the file has no such column.
    """
    try:
        names = pq.read_schema(path).names
        table = pq.ParquetFile(path).read(
            columns=[name for name in ("episode_index", key) if name in names], use_threads=False
        )
        episodes = table["episode_index"].to_pylist()
    except (OSError, pa.ArrowException, KeyError):
        return {}
    if key not in names:
        raise DatasetError(f"{path}: column {key!r} is missing; there are {', '.join(names)}")
    marks: dict[int, set[bool]] = defaultdict(set)
    for episode, cell in zip(episodes, table[key].to_pylist(), strict=True):
        try:
            mark = success_mark(cell, least)
        except ValueError as error:
            raise DatasetError(f"{path}, episode {episode}: {key}: {error}") from error
        if mark is not None:
            marks[episode].add(mark)
    return {episode: True in found for episode, found in marks.items()}
