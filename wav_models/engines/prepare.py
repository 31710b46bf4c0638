"""Graphs that engine "auto" takes on a processor, made where they are missing: once, in a process of its own.

`python -m wav_models.engines.prepare CHECKPOINT DIRECTORY PLANNER` is that process; PLANNER is JSON.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

import torch

from wav_models.checkpoint import Checkpoint, load_checkpoint
from wav_models.configuration import from_dict
from wav_models.engines.base import EngineError
from wav_models.engines.export import ExportTarget, cache_directory, export, export_directory, find_export
from wav_models.engines.manifest import PlanShape, weights_sha256
from wav_models.engines.runtimes import get_runtime
from wav_models.planner.config import PlannerConfig
from wav_models.signals import die_with_parent

_ENGINE, _PRECISION = "onnxruntime", "int8"
_MOST_PARAMETERS: Final = 200_000_000
"""Of a model whose graphs are made without being asked for: larger ones take many minutes and gigabytes."""
_PATIENCE: Final = 400.0
"""Of somebody who waits for a node to be configured [s]; it takes about 30 s of one core, on older ones 120 s."""
_NEWS: Final = 10.0
"""How often somebody who waits is told that it goes on [s]."""
_ENDED_WITH_US: Final = (-signal.SIGINT, -signal.SIGTERM)
"""Of a process that was ended together with the node that waits for it."""
_ON_TORCH: Final = "engine 'auto' runs on torch, more slowly"


def make_missing(checkpoint: Path, planner: PlannerConfig, tell: Callable[[str], None]) -> None:
    """Make the graphs of this checkpoint and search, unless they are there or a GPU shall run the networks.

    Where that fails nothing is lost but speed.

    Args:
        checkpoint: directory of it.
        planner: what the graphs are for.
        tell: called with what is being done, and with why it failed.

    Raises:
        CheckpointError: the checkpoint cannot be loaded.
    """
    if torch.cuda.is_available():
        return
    try:
        get_runtime(_ENGINE).require()
        directory = _missing_at(loaded := load_checkpoint(checkpoint), _target(planner))
    except EngineError as error:
        tell(f"{_ON_TORCH}: {error}")
        return
    if directory is None:
        return
    by_hand = f"wav export --checkpoint {checkpoint} --precision {_PRECISION}"
    if sum(parameter.numel() for parameter in loaded.model.parameters()) > _MOST_PARAMETERS:
        tell(f"{_ON_TORCH}, until `{by_hand}` has made its graphs")
        return
    tell("making the networks' graphs for this processor, once; half a minute or more ...")
    command = [sys.executable, "-m", __name__, str(checkpoint), str(directory), json.dumps(asdict(planner))]
    try:
        with _news(tell):
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, preexec_fn=die_with_parent, timeout=_PATIENCE
            )
    except subprocess.TimeoutExpired:
        tell(f"{_ON_TORCH}: its graphs were not made within {_PATIENCE:.0f} s on this busy computer; `{by_hand}` can")
        return
    if done.returncode not in (0, *_ENDED_WITH_US):
        tell(f"{_ON_TORCH}: its graphs could not be made in {directory}: {_cause(done.stderr)}")


@contextmanager
def _news(tell: Callable[[str], None]) -> Iterator[None]:
    """Tell every `_NEWS` seconds, from a thread, that it goes on."""
    done, began = threading.Event(), time.monotonic()

    def go_on() -> None:
        while not done.wait(_NEWS):
            tell(f"still making the networks' graphs, {time.monotonic() - began:.0f} s of at most {_PATIENCE:.0f}")

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _cause(errors: str) -> str:
    """The line of a traceback that says what happened: exporters write more below it."""
    lines = errors.strip().splitlines() or ["killed"]
    return next((line for line in reversed(lines) if "Error" in line), lines[-1])


def _target(planner: PlannerConfig) -> ExportTarget:
    return ExportTarget(_ENGINE, _PRECISION, PlanShape.of(planner))


def _missing_at(checkpoint: Checkpoint, target: ExportTarget) -> Path | None:
    """Where graphs have to be written; None where they are there.

    In the cache, which serves every copy of the weights; beside the checkpoint where older ones would be found first.
    """
    try:
        found = find_export(checkpoint, target)
    except EngineError:
        return export_directory(checkpoint.directory, target)
    return None if found else cache_directory(weights_sha256(checkpoint), target)


def main(checkpoint: str, directory: str, planner: str) -> None:
    """Write the graphs and measure them."""
    target = _target(from_dict(PlannerConfig, json.loads(planner)))
    export(load_checkpoint(Path(checkpoint)), target, Path(directory))


if __name__ == "__main__":
    torch.set_num_threads(1)  # as the node that will run them; the measurement counts for it
    main(*sys.argv[1:])
