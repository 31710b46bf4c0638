"""Files that are either absent or complete, whenever the process or the machine dies."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa
    from torch import Tensor


def sync(path: Path) -> None:
    """Force a file's content, or a directory's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(temporary: Path, path: Path) -> None:
    """Move a finished file to its final name; both must be on one file system."""
    sync(temporary)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.replace(temporary, path)
    sync(path.parent)


def write_json(path: Path, data: Any) -> None:
    """Replace a JSON file atomically."""
    write_bytes(path, (json.dumps(data, indent=2) + "\n").encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file atomically."""
    temporary = _beside(path)
    temporary.write_bytes(data)
    publish(temporary, path)


def write_parquet(path: Path, table: pa.Table) -> None:
    """Replace a Parquet file atomically."""
    publish(stage_parquet(_beside(path), table), path)


def stage_parquet(temporary: Path, table: pa.Table) -> Path:
    """Write a Parquet file (snappy, one row group) to the disk for `publish`; returns its path."""
    import pyarrow.parquet as pq  # a machine that only computes has none

    pq.write_table(table, temporary, compression="snappy", row_group_size=max(1, table.num_rows))
    sync(temporary)
    return temporary


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file that may be read by whoever may read others beside it: safetensors' own are private.

    Raises:
        SafetensorError: it cannot be written; a full disk, too.
    """
    from safetensors.torch import save_file

    path.touch()
    mode = path.stat().st_mode
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path, metadata)
    path.chmod(mode)


def _beside(path: Path) -> Path:
    """A name in the same directory that no reader takes for data."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.partial")
