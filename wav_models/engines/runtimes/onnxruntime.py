"""Runs graphs in ONNX Runtime: on the CPU without copies between graphs, or with the CUDA or TensorRT provider."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from wav_models.engines.base import FULL_MEMORY_REMEDY, EngineError, EngineOptions, memory_is_full
from wav_models.engines.compiled_engine import Graph, Values
from wav_models.engines.manifest import REMEDY, Manifest
from wav_models.engines.onnx.composer import OnnxComposer
from wav_models.engines.onnx.opaque_blocks import Dialect
from wav_models.engines.onnx.weight_file import WeightFile

PACKAGES: Final = ("onnxruntime", "onnx", "onnxscript")
"""What running and making graphs needs."""
CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
ON_GPU: Final = (CUDA, "TensorrtExecutionProvider", "NvTensorRTRTXExecutionProvider")
"""Providers whose values stay in the memory of an NVIDIA GPU."""


class OnnxRuntime:
    """See `runtimes.Runtime`."""

    name = "onnxruntime"
    precisions = ("fp32", "fp16", "int8")
    loops = "unrolled"

    def require(self) -> None:
        missing = [package for package in PACKAGES if importlib.util.find_spec(package) is None]
        if missing:
            raise EngineError(
                f"engine {self.name!r} needs the Python package {' and '.join(missing)}, which is not installed; "
                "use 'torch'"
            )
        try:
            importlib.import_module("onnxruntime")
        except (ImportError, OSError) as error:
            raise EngineError(f"onnxruntime is installed but cannot be loaded ({error}); install it again") from error

    def version(self) -> str:
        import onnxruntime

        return f"onnxruntime {onnxruntime.__version__}"

    def target_gpu(self) -> str:
        return ""

    def present_gpu(self) -> str:
        return ""

    def targets(self, options: EngineOptions, device: str) -> tuple[str, ...]:
        """Without what it has no kernels for, that pay: 8 bits on a GPU, half precision on a CPU."""
        providers = options.providers or default_providers(device)
        return ("int8", "fp32") if providers[0] == CPU else ("fp16", "fp32")

    def dialect(self, precision: str) -> Dialect:
        from wav_models.engines.onnx.operators import onnxruntime_dialect

        return onnxruntime_dialect(on_gpu=precision == "fp16")

    def export(self, name: str, composer: OnnxComposer, directory: Path, weights: WeightFile) -> tuple[Any, Path]:
        path = directory / f"{name}.onnx"
        return composer.write(path, weights), path

    def load(self, directory: Path, manifest: Manifest, options: EngineOptions, device: str) -> dict[str, Graph]:
        import onnxruntime

        threads = options.num_threads or torch.get_num_threads()
        providers = options.providers or default_providers(device)
        available = onnxruntime.get_available_providers()
        if missing := [name for name in providers if name not in available]:
            raise EngineError(
                f"ONNX Runtime has no {', '.join(missing)}; available: {', '.join(available)}. "
                "Install onnxruntime-gpu in place of onnxruntime, or use one of these"
            )
        return {
            name: OnnxGraph(directory / graph["file"], threads, providers) for name, graph in manifest.graphs.items()
        }


RUNTIME = OnnxRuntime()


def default_providers(device: str) -> tuple[str, ...]:
    """Where graphs run unless something else is asked for: on the GPU if the networks are there ("cuda")."""
    import onnxruntime

    return (CUDA, CPU) if device == "cuda" and CUDA in onnxruntime.get_available_providers() else (CPU,)


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
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=list(providers), enable_fallback=0
            )
        except Exception as error:  # the runtime's own classes have no common base
            remedy = FULL_MEMORY_REMEDY if memory_is_full(str(error)) else REMEDY
            raise EngineError(f"{path}: ONNX Runtime refuses this graph ({error}); {remedy}") from error
        unusable = [name for name in providers if name not in self._session.get_providers()]
        if unusable:  # the runtime itself would go on with the next one
            raise EngineError(
                f"ONNX Runtime has {', '.join(unusable)} but cannot load what it needs (the CUDA, cuDNN or TensorRT "
                "that onnxruntime-gpu was built for); install these, or use other providers"
            )
        self._inputs = tuple(value.name for value in self._session.get_inputs())
        self._outputs = tuple(value.name for value in self._session.get_outputs())
        self._device = "cuda" if providers[0] in ON_GPU else "cpu"

    def run(self, tensors: Mapping[str, Tensor], context: Mapping[str, Any]) -> Values:
        from onnxruntime import OrtValue

        binding = self._session.io_binding()
        for name in self._inputs:
            if name in tensors:
                array = np.ascontiguousarray(tensors[name].cpu().numpy())
                binding.bind_ortvalue_input(name, OrtValue.ortvalue_from_numpy(array, self._device, 0))
            else:
                binding.bind_ortvalue_input(name, context[name])
        for name in self._outputs:
            binding.bind_output(name, self._device, 0)
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:  # the runtime's own classes have no common base
            remedy = FULL_MEMORY_REMEDY if memory_is_full(str(error)) else f"{REMEDY}, or use engine 'torch'"
            raise EngineError(f"ONNX Runtime failed ({error}); {remedy}") from error
        return dict(zip(self._outputs, binding.get_outputs(), strict=True))

    def tensor(self, value: Any) -> Tensor:
        """A copy; ONNX Runtime owns the memory of its values."""
        return torch.from_numpy(np.array(value.numpy()))
