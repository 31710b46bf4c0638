"""Lines of the episode table, put right in place: every file is replaced whole, and nothing that it says is lost."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from wav_models.data.durable import write_parquet
from wav_models.data.layout import INFO_PATH
from wav_models.data.statistics import FeatureStats
from wav_models.data.tables import DatasetError, read_table
from wav_models.words import counted

PLACE: Final = ("meta/episodes/chunk_index", "meta/episodes/file_index")
"""Columns in which a line says which file of the table it stands in."""


def place_of(path: Path) -> tuple[int, int] | None:
    """Chunk and file number in a name such as chunk-000/file-012.parquet; None where it is another name."""
    match = re.search(r"chunk-(\d+)/file-(\d+)\.parquet$", path.as_posix())
    return None if match is None else (int(match[1]), int(match[2]))


def misplaced_lines(root: Path) -> Iterator[Path]:
    """Files of the episode table with lines that say of themselves that they are elsewhere, or not where."""
    for path in _files(root):
        table = read_table(path)
        told = table.select([name for name in PLACE if name in table.column_names]).to_pylist()
        if (place := place_of(path)) and any(tuple(row.get(name) for name in PLACE) != place for row in told):
            yield path


def require_all_lines(root: Path, info: Mapping[str, Any], count: int) -> None:
    """DatasetError where the table has lost lines: what they named would pass for leftovers, and be removed.

    Args:
        root: dataset directory, which is going to be written to.
        info: its `meta/info.json`.
        count: how many lines there are.
    """
    told = info.get("total_episodes")
    if isinstance(told, int) and told > count:
        raise DatasetError(
            f"{root / 'meta/episodes'}: has {counted(count, 'episode')}, {INFO_PATH} tells {told}; restore "
            "it from a copy, or use another directory"
        )


def mend_lines(
    root: Path,
    columns: Mapping[str, pa.DataType] | None = None,
    stats: Mapping[str, Mapping[int, FeatureStats]] | None = None,
) -> None:
    """Make LeRobot find and combine the lines of a dataset that this process has locked.

    Every line says where it is: LeRobot's merge leaves what its source said, and its tools then look for it there.

    Args:
        root: dataset directory.
        columns: that every file has from now on, null where it did not: LeRobot's delete and split drop what they do
            not know, its merge forgets the type of what is null throughout, and its loader refuses files of which a
            later one has more columns than the first, or others.
        stats: statistics that every line has from now on, by feature and episode; LeRobot's tools make
            `meta/stats.json` of them.
    """
    for path in _files(root):
        table = read_table(path)
        mended = table
        for name, number in zip(PLACE, place_of(path) or (), strict=False):
            mended = _with_column(mended, name, pa.array([number] * len(table), pa.int64()))
        for name, dtype in (columns or {}).items():
            if name not in mended.column_names or pa.types.is_null(mended[name].type):
                mended = _with_column(mended, name, pa.nulls(len(table), dtype))
        indices = table["episode_index"].to_pylist()
        for feature, of_episode in (stats or {}).items():
            for name in of_episode[indices[0]] if indices else ():
                cells = pa.array([of_episode[index][name] for index in indices])
                mended = _with_column(mended, f"stats/{feature}/{name}", cells)
        if mended.schema != table.schema or mended != table:
            write_parquet(path, mended)


def _files(root: Path) -> list[Path]:
    return sorted((root / "meta/episodes").glob("*/*.parquet"))


def _with_column(table: pa.Table, name: str, cells: pa.Array) -> pa.Table:
    if name not in table.column_names:
        return table.append_column(name, cells)
    return table.set_column(table.column_names.index(name), name, cells)
