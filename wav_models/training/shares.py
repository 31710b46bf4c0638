"""A training state of which every worker holds a share, written while the training goes on.

Every worker copies its shares to the host and writes them beside the state, by torch.distributed.checkpoint and as
safetensors; the main one then puts them together to the state's one file, with which any number of workers goes on.
Whoever is killed meanwhile leaves the file of the save before.
"""

from __future__ import annotations

import shutil
import warnings
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import checkpoint
from torch.distributed.checkpoint.api import CheckpointException

from wav_models.training.state import save_tensors, writing


def shares_directory(path: Path) -> Path:
    """Where the shares of the state at `path` are until they are put together."""
    return path.with_name(f"{path.name}.shares")


def write_shares(tensors: dict[str, Tensor], path: Path, group: dist.ProcessGroup, *, is_main: bool) -> Future[Any]:
    """Begin to write this worker's shares; all workers must call this. The tensors may change once it returns.

    Args:
        tensors: by name; what is no share is the same on all workers.
        path: of the state.
        group: connects the workers, and nothing else uses it meanwhile.
    """
    directory = shares_directory(path)
    if is_main:  # of a save that was killed; no other worker writes before this one has joined in
        shutil.rmtree(directory, ignore_errors=True)
    writer = checkpoint.HuggingFaceStorageWriter(str(directory), save_distributed=True)
    shares: Future[Any] = checkpoint.async_save(dict(tensors), storage_writer=writer, process_group=group)  # type: ignore[assignment]
    return shares


def _require_written(shares: Future[Any]) -> None:
    """Wait for all workers; raises what the first of them raised that failed."""
    try:
        shares.result()
    except CheckpointException as error:
        (cause, _), *_ = error.failures.values()
        raise cause from error


def put_together(shares: Future[Any], path: Path, numbers: object, *, is_main: bool) -> None:
    """Wait until all workers have written; then the main one writes the state.

    Raises:
        StateError: it could not be written.
    """
    directory = shares_directory(path)
    with writing(path):
        _require_written(shares)
        if not is_main:
            return
        reader = checkpoint.HuggingFaceStorageReader(str(directory))
        sizes = reader.read_metadata().state_dict_metadata
        tensors = {name: torch.empty(x.size, dtype=x.properties.dtype) for name, x in sizes.items()}  # type: ignore[union-attr]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that this is done by one process
            checkpoint.load(tensors, storage_reader=reader, no_dist=True)
    save_tensors(path, tensors, numbers)
    shutil.rmtree(directory, ignore_errors=True)
