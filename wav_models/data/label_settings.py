"""What values were computed with: returns of different discounts, or with other penalties, are different quantities."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from wav_models.configuration import parse_json
from wav_models.data.dataset import Dataset, DatasetError
from wav_models.data.layout import VALUE_KEY

_METADATA_KEY: Final = b"wav_label"


def with_label_settings(table: pa.Table, settings: dict[str, Any]) -> pa.Table:
    """The table with a note of what its column `state_value` was computed with."""
    metadata = {**(table.schema.metadata or {}), _METADATA_KEY: json.dumps(settings, sort_keys=True).encode()}
    return table.replace_schema_metadata(metadata)


def read_label_settings(path: Path) -> dict[str, Any] | None:
    """What the values of a data file were computed with.

    Returns:
        The settings; empty where they are not known, because something else computed the values; None without values.

    Raises:
        DatasetError: the file cannot be read.
    """
    try:
        schema = pq.read_schema(path)
        if VALUE_KEY not in schema.names:
            return None
        return dict(parse_json((schema.metadata or {}).get(_METADATA_KEY, b"{}")))
    except (OSError, pa.ArrowException, ValueError, TypeError) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from error


def label_conflict(datasets: Sequence[Dataset]) -> str | None:
    """Two data files whose values were computed with different settings, in words; None where there are none."""
    first: tuple[Path, dict[str, Any]] | None = None
    for path in dict.fromkeys(episode.data_file for dataset in datasets for episode in dataset.episodes):
        settings = read_label_settings(path)
        if settings is None:
            continue
        if first is None:
            first = path, settings
        elif settings != first[1]:
            return f"{path} is labelled with {_in_words(settings)}, {first[0]} with {_in_words(first[1])}"
    return None


def _in_words(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items()) or "unknown settings"
