"""Rows and columns of Parquet files, checked."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wav_models.types import FloatArray


class DatasetError(ValueError):
    """A dataset that cannot be used; the message names file, column or episode, and what was expected."""


class DataFileError(DatasetError):
    """A data file of which no episode can be read."""


@lru_cache(maxsize=1)
def _grouped(path: Path, written: int, without: frozenset[str]) -> tuple[pa.Table, dict[int, slice]]:
    """A data file, and the rows of every episode in it: episodes of one file are read one after the other.

    Args:
        written: time of its last change [ns]; another one reads it again.
        without: columns that are left out.
    """
    table = read_table(path, without)
    _require_episodes(path, table)
    episodes = table["episode_index"].to_numpy()
    order = np.argsort(episodes, kind="stable")
    if (np.diff(episodes) < 0).any():
        table = table.take(pa.array(order))
    numbers, first = np.unique(episodes[order], return_index=True)
    ends = np.append(first, len(episodes))[1:]
    return table, {int(n): slice(int(a), int(b)) for n, a, b in zip(numbers, first, ends, strict=True)}


def _require_episodes(path: Path, table: pa.Table) -> None:
    """DataFileError unless every row says of which episode it is."""
    if "episode_index" not in table.column_names:
        raise DataFileError(f"{path}: column 'episode_index' is missing; there are {', '.join(table.column_names)}")
    column = table["episode_index"]
    if not pa.types.is_integer(column.type) or column.null_count:
        raise DataFileError(
            f"{path}: column 'episode_index' holds {column.type}, or nothing; each row needs an episode"
        )


def episode_rows(path: Path, index: int, without: Collection[str] = ()) -> pa.Table:
    """The rows of one episode in a data file, none where it has none; DataFileError where it cannot be read.

    Args:
        without: columns that are left out.
    """
    try:
        table, places = _grouped(path, path.stat().st_mtime_ns, frozenset(without))
    except OSError as error:
        raise DataFileError(f"{path}: cannot be read: {error}") from error
    rows = places.get(index, slice(0, 0))
    return table.slice(rows.start, rows.stop - rows.start)


def read_table(path: Path, without: Collection[str] = ()) -> pa.Table:
    """A Parquet file, `without` some columns; DataFileError where it cannot be read."""
    try:
        names = pq.read_schema(path).names
        if twice := [name for name in names if names.count(name) > 1]:
            raise DataFileError(f"{path}: column {twice[0]!r} is there twice")
        columns = [name for name in names if name not in without] if without else None
        return pq.read_table(path, partitioning=None, use_threads=False, columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise DataFileError(f"{path}: cannot be read: {error}") from error


def cells(path: Path, name: str) -> list[Any] | None:
    """A column of a data file, row by row, and no other; None where it cannot be read."""
    try:
        found: list[Any] = pq.ParquetFile(path).read(columns=[name], use_threads=False)[name].to_pylist()
    except (OSError, pa.ArrowException, KeyError):
        return None
    return found


def first_cells(path: Path, name: str) -> dict[int, tuple[Any, bool]]:
    """Of every episode of a data file, a column's first value, and whether it has no other; none where it cannot be
    read."""
    try:
        table = pq.ParquetFile(path).read(columns=["episode_index", name], use_threads=False)
        rows = table.select(["episode_index", name]).group_by("episode_index", use_threads=False)
        found = rows.aggregate([(name, "first"), (name, "count_distinct")]).to_pylist()
    except (OSError, pa.ArrowException, KeyError):
        return {}
    return {row["episode_index"]: (row[f"{name}_first"], row[f"{name}_count_distinct"] == 1) for row in found}


def episode_cells(path: Path, index: int, name: str) -> pa.ChunkedArray:
    """One column of an episode's rows, by the number of their frame; no others are read, nor held in memory.

    Raises:
        DataFileError: it cannot be read, or has no such column.
    """
    try:
        file = pq.ParquetFile(path)
        if name not in file.schema_arrow.names:
            raise DataFileError(f"{path}: column {name!r} is missing; there are {', '.join(file.schema_arrow.names)}")
        table = file.read_row_groups(
            list(_groups_with(file.metadata, index)),
            columns=["episode_index", "frame_index", name],
            use_threads=False,
        )
        _require_episodes(path, table)
        table = table.filter(pc.equal(table["episode_index"], index))
        if "frame_index" in table.column_names:
            table = table.take(pc.sort_indices(table["frame_index"]))
        return table[name]
    except (OSError, pa.ArrowException) as error:
        raise DataFileError(f"{path}: cannot be read: {error}") from error


def _groups_with(metadata: pq.FileMetaData, index: int) -> Iterator[int]:
    """The groups of rows that may have some of an episode, as far as their statistics tell."""
    names = [metadata.schema.column(number).path for number in range(metadata.num_columns)]
    if "episode_index" not in names:
        return
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(names.index("episode_index")).statistics
        if statistics is None or not statistics.has_min_max or statistics.min <= index <= statistics.max:
            yield group


def read_column(table: pa.Table, name: str, width: int | None, where: str) -> FloatArray:
    """Float64 array [T, width], or [T] when width is None, finite in single precision too, as networks take it; LeRobot
    stores what is 1 wide as single numbers."""
    if name not in table.column_names:
        raise DatasetError(f"{where}: column {name!r} is missing; there are {', '.join(table.column_names)}")
    column = table[name].combine_chunks()
    kind = column.type
    if width is not None and not (width == 1 and not pa.types.is_nested(kind)):
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
    with np.errstate(over="ignore"):
        bad = np.argwhere(~np.isfinite(array.astype(np.float32)))
    if len(bad):
        number = array[tuple(bad[0])]
        raise DatasetError(
            f"{where}: column {name!r} is not finite at frame {bad[0][0]}"
            + (f", in single precision: {number:g}" if np.isfinite(number) else "")
        )
    return array
