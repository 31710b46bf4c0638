"""Rows and columns of Parquet files, checked."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wav_models.types import FloatArray


class DatasetError(ValueError):
    """A dataset that cannot be used; the message names file, column or episode, and what was expected."""


@lru_cache(maxsize=1)
def _grouped(path: Path, written: int) -> tuple[pa.Table, dict[int, slice]]:
    """A data file, and the rows of every episode in it: episodes of one file are read one after the other.

    Args:
        written: time of its last change [ns]; another one reads it again.
    """
    table = read_table(path)
    if "episode_index" not in table.column_names:
        raise DatasetError(f"{path}: column 'episode_index' is missing; there are {', '.join(table.column_names)}")
    column = table["episode_index"]
    if not pa.types.is_integer(column.type) or column.null_count:
        raise DatasetError(f"{path}: column 'episode_index' holds {column.type}, or nothing; each row needs an episode")
    episodes = column.to_numpy()
    order = np.argsort(episodes, kind="stable")
    if (np.diff(episodes) < 0).any():
        table = table.take(pa.array(order))
    numbers, first = np.unique(episodes[order], return_index=True)
    ends = [*first[1:].tolist(), len(episodes)]
    return table, {int(n): slice(int(a), b) for n, a, b in zip(numbers, first, ends, strict=True)}


def episode_rows(path: Path, index: int) -> pa.Table:
    """The rows of one episode in a data file, none where it has none; DatasetError where it cannot be read."""
    try:
        table, places = _grouped(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from error
    rows = places.get(index, slice(0, 0))
    return table.slice(rows.start, rows.stop - rows.start)


def read_table(path: Path) -> pa.Table:
    """A Parquet file; DatasetError where it cannot be read."""
    try:
        return pq.read_table(path, partitioning=None, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from error


def read_column(table: pa.Table, name: str, width: int | None, where: str) -> FloatArray:
    """Finite float64 array [T, width], or [T] when width is None."""
    if name not in table.column_names:
        raise DatasetError(f"{where}: column {name!r} is missing; there are {', '.join(table.column_names)}")
    column = table[name].combine_chunks()
    kind = column.type
    if width is not None:
        is_fixed = pa.types.is_fixed_size_list(kind)
        if not (is_fixed or pa.types.is_list(kind) or pa.types.is_large_list(kind)):
            raise DatasetError(f"{where}: column {name!r} holds {kind}, not {width} numbers a row")
        kind = kind.value_type
        widths = None if is_fixed else column.value_lengths()
        if column.null_count or (widths is not None and set(widths.to_pylist()) - {width}):
            raise DatasetError(f"{where}: column {name!r} has rows that are not {width} wide")
        column = column.flatten()
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        raise DatasetError(f"{where}: column {name!r} holds {kind}, not numbers")
    array = np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
    if width is not None:
        if array.size != table.num_rows * width:
            found = array.size // max(1, table.num_rows)
            raise DatasetError(f"{where}: column {name!r} is {found} wide, expected {width}")
        array = array.reshape(table.num_rows, width)
    if not np.isfinite(array).all():
        frame = int(np.argwhere(~np.isfinite(array))[0][0])
        raise DatasetError(f"{where}: column {name!r} is not finite at frame {frame}")
    return array
