"""Exports of a checkpoint for ONNX Runtime: written by `wav export`, or into a cache when an engine is loaded."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from wav_models.checkpoint import Checkpoint
from wav_models.engines.base import EngineError
from wav_models.engines.manifest import (
    FORMAT,
    MANIFEST,
    Manifest,
    PlanShape,
    check_manifest,
    file_sha256,
    fingerprint,
)

logger = logging.getLogger(__name__)

ENGINE: Final = "onnxruntime"
PRECISIONS: Final = ("fp32",)
EXPORTER_PACKAGES: Final = ("torch", "onnx", "onnxscript")

Report = Callable[[str, float], None]
"""Called with every finished graph and the seconds it took."""


def export_directory(checkpoint: Path, shape: PlanShape, precision: str = "fp32") -> Path:
    """Where `wav export` writes, and where an engine looks first."""
    return checkpoint / "engines" / f"{ENGINE}-{precision}-{shape.label}"


def cache_directory(checkpoint_sha256: str, shape: PlanShape, precision: str = "fp32") -> Path:
    """Where an engine puts the graphs it had to make itself."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "wav_policy" / "engines" / checkpoint_sha256[:16] / f"{ENGINE}-{precision}-{shape.label}"


def expected_manifest(checkpoint: Checkpoint, shape: PlanShape, precision: str = "fp32") -> Manifest:
    """What a usable export of this checkpoint says of itself.

    Raises:
        EngineError: there are no graphs in that precision.
    """
    from wav_models.engines.onnx_graphs import OPSET

    if precision not in PRECISIONS:
        raise EngineError(
            f"engine {ENGINE!r} has no graphs in {precision!r}; {' or '.join(PRECISIONS)} fits, or engine 'torch'"
        )
    import onnxruntime

    versions = {package: importlib.metadata.version(package) for package in EXPORTER_PACKAGES}
    versions["onnxruntime"] = onnxruntime.__version__
    return Manifest(FORMAT, ENGINE, precision, OPSET, fingerprint(checkpoint.directory), shape, versions, {})


def export(
    checkpoint: Checkpoint, shape: PlanShape, directory: Path, *, precision: str = "fp32", report: Report | None = None
) -> Manifest:
    """Write all graphs and their manifest; an older export of that name is replaced once the new one is complete.

    Raises:
        EngineError: the checkpoint or the precision cannot be exported, or `directory` holds something else.
    """
    import onnx

    from wav_models.engines.onnx_graphs import OnnxGraphs

    manifest = expected_manifest(checkpoint, shape, precision)
    if directory.exists() and any(directory.iterdir()) and not (directory / MANIFEST).exists():
        raise EngineError(f"{directory}: exists and is no export; give another directory")
    builders = OnnxGraphs(checkpoint, shape).builders()
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        for name, build in builders.items():
            began = time.perf_counter()
            path = temporary / f"{name}.onnx"
            model = build()
            onnx.save(model, path)
            manifest.graphs[name] = _describe(model, path)
            if report is not None:
                report(name, time.perf_counter() - began)
        manifest.write(temporary)
        _replace(temporary, directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return manifest


def find_export(checkpoint: Checkpoint, shape: PlanShape, precision: str = "fp32") -> Path | None:
    """The export of this checkpoint and these sizes, beside the checkpoint or in the cache; None if there is none.

    Raises:
        EngineError: one is beside the checkpoint, but it is foreign, stale or damaged.
    """
    expected = expected_manifest(checkpoint, shape, precision)
    beside = export_directory(checkpoint.directory, shape, precision)
    if beside.exists():
        check_manifest(beside, expected)
        return beside
    cached = cache_directory(expected.checkpoint_sha256, shape, precision)
    if not cached.exists():
        return None
    try:
        check_manifest(cached, expected)
    except EngineError as error:
        logger.warning("graphs in the cache are not used and will be made again: %s", error)
        return None
    return cached


def _describe(model: Any, path: Path) -> dict[str, Any]:
    def shapes(values: Any) -> dict[str, list[int]]:
        return {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values}

    return {
        "file": path.name,
        "sha256": file_sha256(path),
        "inputs": shapes(model.graph.input),
        "outputs": shapes(model.graph.output),
    }


def _replace(source: Path, directory: Path) -> None:
    """Rename `source` to `directory`, whatever export is there."""
    previous = source.with_name(f"{source.name}.previous")
    if directory.exists():
        os.rename(directory, previous)
    os.rename(source, directory)
    shutil.rmtree(previous, ignore_errors=True)
