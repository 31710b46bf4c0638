"""Runs graphs in ONNX Runtime: on the CPU without copies between graphs, or with the CUDA or TensorRT provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wav_models.engines.base import EngineError
from wav_models.engines.compiled_engine import Graph, Values
from wav_models.engines.manifest import Manifest

CPU = "CPUExecutionProvider"


def load_graphs(
    directory: Path, manifest: Manifest, *, num_threads: int = 1, providers: Sequence[str] = (CPU,)
) -> dict[str, Graph]:
    """Sessions of all graphs of a checked export.

    Args:
        directory: of the export.
        manifest: of it.
        num_threads: of every graph.
        providers: ONNX Runtime execution providers, best first.

    Raises:
        EngineError: a provider is not installed, or the runtime refuses a graph.
    """
    import onnxruntime

    available = onnxruntime.get_available_providers()
    missing = [name for name in providers if name not in available]
    if missing:
        raise EngineError(
            f"ONNX Runtime has no {', '.join(missing)}; available: {', '.join(available)}. "
            "Install onnxruntime-gpu, or use one of these"
        )
    return {
        name: OnnxGraph(directory / graph["file"], num_threads, providers) for name, graph in manifest.graphs.items()
    }


class OnnxGraph:
    """One session. Large weights are mapped from the export's weight file, not read into every session."""

    def __init__(self, path: Path, num_threads: int, providers: Sequence[str]) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.intra_op_num_threads = num_threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
        except Exception as error:  # the runtime's own classes have no common base
            raise EngineError(f"{path}: ONNX Runtime refuses this graph ({error}); export it again") from error
        self._inputs = tuple(value.name for value in self._session.get_inputs())
        self._outputs = tuple(value.name for value in self._session.get_outputs())
        self._device = "cpu" if providers[0] == CPU else "cuda"

    def run(self, tensors: Mapping[str, Tensor], context: Mapping[str, Any]) -> Values:
        from onnxruntime import OrtValue

        binding = self._session.io_binding()
        for name in self._inputs:
            if name in tensors:
                array = np.ascontiguousarray(tensors[name].numpy())
                binding.bind_ortvalue_input(name, OrtValue.ortvalue_from_numpy(array, self._device, 0))
            else:
                binding.bind_ortvalue_input(name, context[name])
        for name in self._outputs:
            binding.bind_output(name, self._device, 0)
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:  # the runtime's own classes have no common base
            raise EngineError(f"ONNX Runtime failed ({error}); if memory ran out, export for fewer samples") from error
        return dict(zip(self._outputs, binding.get_outputs(), strict=True))

    def tensor(self, value: Any) -> Tensor:
        """A copy; ONNX Runtime owns the memory of its values."""
        return torch.from_numpy(np.array(value.numpy()))
