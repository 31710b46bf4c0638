"""Exports of a checkpoint: written by `wav export`, or into a cache when an engine is loaded."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from wav_models.checkpoint import Checkpoint
from wav_models.checkpoint_files import file_sha256
from wav_models.configuration import check_choice
from wav_models.engines.base import EngineError
from wav_models.engines.manifest import (
    FORMAT,
    MANIFEST,
    Manifest,
    PlanShape,
    check_manifest,
    weights_sha256,
)
from wav_models.engines.precision import user_cache, weight_bits
from wav_models.engines.runtimes import get_runtime
from wav_models.engines.scratch import scratch_beside
from wav_models.networks.autoencoder import Autoencoder
from wav_models.networks.wav_model import WAVModel

logger = logging.getLogger(__name__)

EXPORTER_PACKAGES: Final = ("torch", "onnx", "onnxscript")
WEIGHTS: Final = "weights.bin"

TellProgress = Callable[[str, int, int], None]
"""Called with every finished graph: its name, which one it is, and of how many."""


@dataclass(frozen=True)
class ExportTarget:
    """What an export is for.

    Attributes:
        engine: name of a runtime.
        precision: of weights and arithmetic.
        shape: futures, value samples and steps.

    Raises:
        EngineError: the engine has no graphs in that precision.
    """

    engine: str
    precision: str
    shape: PlanShape

    def __post_init__(self) -> None:
        fit = get_runtime(self.engine).precisions
        if self.precision not in fit:
            raise EngineError(f"engine {self.engine!r} has no graphs in {self.precision!r}; {', '.join(fit)} fit")

    @property
    def label(self) -> str:
        """Short and unique, for a directory's name."""
        return f"{self.engine}-{self.precision}-{self.shape.label}"

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights that graphs are made of."""
        return {"fp16": torch.float16, "bf16": torch.bfloat16}.get(self.precision, torch.float32)


def export_directory(checkpoint: Path, target: ExportTarget) -> Path:
    """Where `wav export` writes, and where an engine looks first."""
    return checkpoint / "engines" / target.label


def cache_directory(checkpoint_sha256: str, target: ExportTarget) -> Path:
    """Where an engine puts the graphs it had to make itself."""
    return user_cache() / "engines" / checkpoint_sha256[:16] / target.label


def expected_manifest(checkpoint_sha256: str, target: ExportTarget, gpu: str) -> Manifest:
    """What a usable export says of itself.

    Raises:
        EngineError: the runtime is not installed.
    """
    versions = {package: importlib.metadata.version(package) for package in EXPORTER_PACKAGES}
    return Manifest(
        FORMAT,
        target.engine,
        target.precision,
        get_runtime(target.engine).version(),
        gpu,
        0,
        checkpoint_sha256,
        target.shape,
        versions,
        {},
        {},
        weight_bits=weight_bits(),
    )


def export(
    checkpoint: Checkpoint,
    target: ExportTarget,
    directory: Path,
    *,
    only: tuple[str, ...] = (),
    report: TellProgress | None = None,
    measured: bool = True,
) -> Manifest:
    """Write the graphs of a checkpoint, see `export_model`; then run them, where all are there and can run here, so
    that it is known whether engine "auto" takes them.
    """
    parts = (checkpoint.model, checkpoint.autoencoder, weights_sha256(checkpoint))
    manifest = export_model(*parts, target, directory, only=only, report=report)
    if measured and not only:
        from wav_models.engines.measurement import measure_export

        manifest = replace(manifest, measured=measure_export(checkpoint, directory, manifest))
        manifest.write(directory)
    return manifest


def export_model(
    model: WAVModel,
    autoencoder: Autoencoder,
    checkpoint_sha256: str,
    target: ExportTarget,
    directory: Path,
    *,
    only: tuple[str, ...] = (),
    report: TellProgress | None = None,
) -> Manifest:
    """Write all graphs and their manifest; an older export of that name is replaced once the new one is complete.

    Args:
        model, autoencoder: on the CPU; a model that is not in the precision of the target is copied.
        checkpoint_sha256: of both.
        target: what it is for.
        directory: of the export.
        only: names of the graphs to write; () = all.
        report: progress.

    Raises:
        EngineError: the runtime is missing or refuses a graph, or `directory` holds something else.
        ValueError: there is no graph of a name in `only`.
    """
    from wav_models.engines.onnx.weight_file import WeightFile

    runtime = get_runtime(target.engine)
    manifest = expected_manifest(checkpoint_sha256, target, runtime.target_gpu())
    dialect = runtime.dialect(target.precision)
    manifest = replace(manifest, opset=dialect.opset)
    if directory.exists() and any(directory.iterdir()) and not (directory / MANIFEST).exists():
        raise EngineError(f"{directory}: exists and is no export; give another directory")
    builders = _make_graphs(model, autoencoder, target, dialect).builders()
    for name in only:
        check_choice("graph", name, builders)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with scratch_beside(directory) as temporary:
        with WeightFile(temporary / WEIGHTS) as weights:
            names = only or tuple(builders)
            for number, name in enumerate(names, start=1):
                manifest.graphs[name] = _describe(*runtime.export(name, builders[name](), temporary, weights))
                if report is not None:
                    report(name, number, len(names))
        if not (temporary / WEIGHTS).stat().st_size:
            (temporary / WEIGHTS).unlink()
        manifest.files.update({path.name: file_sha256(path) for path in sorted(temporary.iterdir())})
        manifest.write(temporary)
        temporary.chmod(0o755)  # it was for its owner alone; robots run as another user
        _replace(temporary, directory)
    return manifest


def find_export(checkpoint: Checkpoint, target: ExportTarget) -> Path | None:
    """The export of this checkpoint for that target, beside the checkpoint or in the cache; None if there is none.

    Raises:
        EngineError: one is beside the checkpoint, but it is foreign, stale or damaged.
    """
    beside = export_directory(checkpoint.directory, target)
    cached = cache_directory(weights_sha256(checkpoint), target)
    if not beside.exists() and not cached.exists():
        return None
    expected = expected_manifest(weights_sha256(checkpoint), target, get_runtime(target.engine).present_gpu())
    if beside.exists():
        check_manifest(beside, expected)
        return beside
    try:
        check_manifest(cached, expected)
    except EngineError as error:
        logger.warning("graphs in the cache are not used and will be made again: %s", error)
        return None
    return cached


def exports_beside(checkpoint: Checkpoint, engine: str) -> list[str]:
    """Labels of all exports for an engine that lie beside a checkpoint, of whatever size."""
    directories = (path.parent for path in (checkpoint.directory / "engines").glob(f"{engine}-*/{MANIFEST}"))
    return sorted(directory.name for directory in directories)


def _make_graphs(model: WAVModel, autoencoder: Autoencoder, target: ExportTarget, dialect: Any) -> Any:
    from wav_models.engines.onnx.graphs import OnnxGraphs
    from wav_models.engines.weights import with_weights_in

    runtime = get_runtime(target.engine)
    return OnnxGraphs(
        with_weights_in(model, target.dtype),
        autoencoder,
        target.shape,
        dialect,
        loops=runtime.loops,
        quantize=target.precision == "int8",
    )


def _describe(model: Any, path: Path) -> dict[str, Any]:
    def shapes(values: Any) -> dict[str, list[int]]:
        return {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values}

    return {
        "file": path.name,
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
