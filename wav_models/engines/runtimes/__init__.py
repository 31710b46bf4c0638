"""What runs exported graphs: one module of this package per runtime, each with its `RUNTIME`. A new one is one file."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from wav_models.checkpoint import Checkpoint
from wav_models.configuration import did_you_mean
from wav_models.engines.base import EngineError, EngineOptions
from wav_models.engines.compiled_engine import CompiledEngine, Graph
from wav_models.engines.manifest import Manifest, private_copy, read_manifest
from wav_models.engines.names import RUNTIMES
from wav_models.engines.onnx.composer import OnnxComposer
from wav_models.engines.onnx.opaque_blocks import Dialect
from wav_models.engines.onnx.weight_file import WeightFile
from wav_models.networks.text_encoder import TextEncoder


class Runtime(Protocol):
    """One way to run exported graphs. Methods raise EngineError where its package or a GPU is missing."""

    name: str
    precisions: tuple[str, ...]
    """What its graphs can compute in."""
    loops: str
    """Form of the graphs: "unrolled" or "stepwise"."""

    def require(self) -> None:
        """Whether its packages are installed and load."""

    def version(self) -> str:
        """Package and version, for the manifest."""

    def target_gpu(self) -> str:
        """What graphs are compiled for here, see `Manifest.gpu`."""

    def present_gpu(self) -> str:
        """Architecture that graphs would run on here; "" where it does not matter."""

    def targets(self, options: EngineOptions, device: str) -> tuple[str, ...]:
        """Precisions that pay on a device, best first."""

    def dialect(self, precision: str) -> Dialect:
        """The operators that its graphs in a precision consist of, by what the installed version can read."""

    def export(self, name: str, composer: OnnxComposer, directory: Path, weights: WeightFile) -> tuple[Any, Path]:
        """Write one graph; its ONNX model and the file."""

    def load(self, directory: Path, manifest: Manifest, options: EngineOptions, device: str) -> Mapping[str, Graph]:
        """All graphs of an export. `directory` may be gone afterwards."""


def get_runtime(name: str) -> Runtime:
    """The runtime of that name; EngineError with the nearest valid name otherwise."""
    if name not in RUNTIMES:
        raise EngineError(f"no graphs can be exported for engine {name!r}{did_you_mean(name, RUNTIMES)}")
    runtime: Runtime = importlib.import_module(f"{__name__}.{name}").RUNTIME
    return runtime


def load_engine(
    directory: Path, checkpoint: Checkpoint, text_encoder: TextEncoder, options: EngineOptions | None = None
) -> CompiledEngine:
    """The engine over an export. What is loaded does not change when a file does.

    Raises:
        EngineError: a file is missing or damaged, or the runtime is missing or refuses a graph.
    """
    manifest = read_manifest(directory)
    device = next(checkpoint.model.parameters()).device.type
    with private_copy(directory, manifest) as private:
        graphs = get_runtime(manifest.engine).load(private, manifest, options or EngineOptions(), device)
    return CompiledEngine(manifest, graphs, checkpoint.config, text_encoder)
