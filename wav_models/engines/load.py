"""An engine over an export."""

from __future__ import annotations

from pathlib import Path

from wav_models.checkpoint import Checkpoint
from wav_models.engines.base import EngineOptions
from wav_models.engines.compiled_engine import CompiledEngine
from wav_models.engines.manifest import private_copy, read_manifest
from wav_models.engines.runtimes import get_runtime
from wav_models.networks.text_encoder import TextEncoder


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
