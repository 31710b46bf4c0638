"""TensorRT, classic or for RTX: one code path. Compiles ONNX graphs to engines and runs these on torch's CUDA tensors.

TensorRT for RTX compiles without a GPU, for all architectures it knows at once; the classic one compiles for the GPU it
finds.
"""

from __future__ import annotations

import importlib
import importlib.util
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from wav_models.data.durable import write_bytes
from wav_models.engines.base import (
    FULL_MEMORY_REMEDY,
    EngineError,
    EngineOptions,
    full_memory_is_named,
    memory_is_full,
)
from wav_models.engines.compiled_engine import Graph, LentValues, StaleValuesError, Values
from wav_models.engines.manifest import REMEDY, Manifest, video_dit_name
from wav_models.engines.onnx.composer import OnnxComposer
from wav_models.engines.onnx.opaque_blocks import Dialect
from wav_models.engines.onnx.weight_file import WeightFile
from wav_models.engines.precision import user_cache
from wav_models.engines.replay import CudaRecorder, Replays

MODULES: Final = ("tensorrt", "tensorrt_rtx")
"""Python modules of the same interface; the first that is installed is used."""
RTX_GPUS: Final = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_120", "sm_121")
"""What TensorRT for RTX compiles for; Hopper, data-centre Blackwell and Jetson are served by the classic one."""
CUDA: Final = torch.device("cuda")


class TensorRT:
    """See `runtimes.Runtime`."""

    name = "tensorrt"
    precisions = ("fp32", "fp16", "bf16")
    loops = "stepwise"

    def require(self) -> None:
        tensorrt_module()

    def version(self) -> str:
        module = tensorrt_module()
        return f"{module.__name__} {module.__version__}"

    def target_gpu(self) -> str:
        """The architecture of the GPU, or all of them; EngineError for classic TensorRT without a GPU."""
        has_gpu = torch.cuda.is_available()
        if tensorrt_module().__name__ == "tensorrt_rtx":
            if has_gpu and self.present_gpu() not in RTX_GPUS:
                raise EngineError(
                    f"TensorRT for RTX serves {', '.join(RTX_GPUS)}, and this GPU is {self.present_gpu()}; install "
                    "classic TensorRT, or use 'onnxruntime' or 'torch'"
                )
            return " ".join(RTX_GPUS)
        if not has_gpu:
            raise EngineError(
                "classic TensorRT compiles on the GPU that shall run the graphs, and none is visible here; export on "
                "the robot, or install 'wav-policy[tensorrt-rtx]'"
            )
        return self.present_gpu()

    def present_gpu(self) -> str:
        """As "sm_89", for the GPU that torch uses."""
        if not torch.cuda.is_available():
            raise EngineError(
                "engine 'tensorrt' runs on an NVIDIA GPU, and torch sees none here; check nvidia-smi and that torch is "
                "a CUDA build, or use 'onnxruntime' or 'torch'"
            )
        major, minor = torch.cuda.get_device_capability()
        return f"sm_{major}{minor}"

    def targets(self, options: EngineOptions, device: str) -> tuple[str, ...]:
        return ("bf16", "fp16", "fp32")

    def dialect(self, precision: str) -> Dialect:
        """With attention as one operator where its parser reads that, for which TensorRT then has kernels."""
        from wav_models.engines.onnx.operators import standard_dialect

        trt = tensorrt_module()
        *_, parser = _make_parser(trt, _make_logger(trt))
        known = all(map(parser.supports_operator, ("Attention", "RMSNormalization")))
        return standard_dialect(attention=known and hasattr(trt, "IAttentionInputLayer"))

    def export(self, name: str, composer: OnnxComposer, directory: Path, weights: WeightFile) -> tuple[Any, Path]:
        """Compiled, so that it holds its weights itself; what it is made from is removed before the next one."""
        with tempfile.TemporaryDirectory(dir=directory) as scratch:
            path = Path(scratch) / f"{name}.onnx"
            with WeightFile(path.with_suffix(".bin")) as its_weights:
                model = composer.write(path, its_weights)
            del composer
            engine = directory / f"{name}.engine"
            build_engine(path, engine)
        return model, engine

    def load(self, directory: Path, manifest: Manifest, options: EngineOptions, device: str) -> dict[str, Graph]:
        """With `cuda_graphs` every engine is recorded once and replayed: fewer launches, and buffers that are kept.

        Every engine runs once here, so that whatever it compiles is compiled before the first plan, and kept.
        """
        self.present_gpu()
        trt = tensorrt_module()
        logger = _make_logger(trt)
        runtime = trt.Runtime(logger)
        replays = Replays(CudaRecorder()) if options.cuda_graphs else None
        engines = {
            name: load_tensorrt_engine(runtime, logger, directory / graph["file"])
            for name, graph in manifest.graphs.items()
        }
        with full_memory_is_named():
            memory = ActivationMemory(engines.values())
        kernels = KernelCache(trt, kernels_path(manifest))
        graphs: dict[str, Graph] = {
            name: TensorRTGraph(trt, engine, name, memory, kernels, replays=replays) for name, engine in engines.items()
        }
        run_all_once(graphs, video_dit_name(manifest.shape.num_video_samples))
        kernels.keep()
        return graphs


RUNTIME = TensorRT()


def tensorrt_module() -> Any:
    """The installed module.

    Raises:
        EngineError: there is none, or it is broken.
    """
    for name in MODULES:
        if importlib.util.find_spec(name) is not None:
            try:
                return importlib.import_module(name)
            except (ImportError, OSError) as error:
                raise EngineError(f"{name} is installed but cannot be loaded ({error}); install it again") from error
    raise EngineError(
        f"engine 'tensorrt' needs the Python package {' or '.join(MODULES)}, which is not installed; install "
        "'wav-policy[gpu]' or 'wav-policy[tensorrt-rtx]', or use 'onnxruntime' or 'torch'"
    )


def build_engine(onnx_path: Path, engine_path: Path) -> None:
    """Compile one graph; numbers have the types that the graph gives them.

    Raises:
        EngineError: with what the parser or the builder said.
    """
    trt = tensorrt_module()
    logger = _make_logger(trt)
    builder, network, parser = _make_parser(trt, logger)
    if not parser.parse_from_file(str(onnx_path)):
        errors = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise EngineError(f"{onnx_path.name}: TensorRT cannot read this graph: {errors}")
    _let_attention_be_spelled_out(trt, network)
    engine = builder.build_serialized_network(network, builder.create_builder_config())
    if engine is None:
        said = "; ".join(logger.errors)
        remedy = f" ({FULL_MEMORY_REMEDY})" if memory_is_full(said) else ""
        raise EngineError(f"{onnx_path.name}: TensorRT cannot compile this graph: {said}{remedy}")
    engine_path.write_bytes(engine)


def _let_attention_be_spelled_out(trt: Any, network: Any) -> None:
    """Where there is no kernel for it, as in float32; else such a graph would not compile."""
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        if str(layer.type).endswith("ATTENTION_INPUT"):
            layer.__class__ = trt.IAttentionInputLayer  # the bindings know every layer as its base class
            layer.attention.decomposable = True


def _make_parser(trt: Any, logger: Any) -> tuple[Any, Any, Any]:
    """Builder, an empty network whose numbers have the types of the graph, and what reads graphs into it."""
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    return builder, network, trt.OnnxParser(network, logger)


def run_all_once(graphs: Mapping[str, Any], lender: str) -> None:
    """Run every graph, which records it, before the first plan; outputs of `lender` are read in place by others."""
    lent = graphs[lender].run_once({}) if lender in graphs else {}
    for name, graph in graphs.items():
        if name != lender:
            graph.run_once(lent)


def kernels_path(manifest: Manifest) -> Path:
    """Where the kernels of an export are kept: one file for every checkpoint, precision and size."""
    label = f"{manifest.engine}-{manifest.precision}-{manifest.shape.label}"
    return user_cache() / "kernels" / manifest.checkpoint_sha256[:16] / f"{label}.kernels"


def load_tensorrt_engine(runtime: Any, logger: Any, path: Path) -> Any:
    """An engine of TensorRT from a file.

    Raises:
        EngineError: with what the runtime said.
    """
    engine = runtime.deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        said = "; ".join(logger.errors)
        remedy = FULL_MEMORY_REMEDY if memory_is_full(said) else REMEDY
        raise EngineError(f"{path}: TensorRT refuses this engine ({said}); {remedy}")
    return engine


class ActivationMemory:
    """What engines keep between their layers: one buffer, as large as the largest of them asks for. Hold `lock` while
    one runs.

    Args:
        engines: deserialised.
        device: of the buffer.
    """

    def __init__(self, engines: Iterable[Any], device: torch.device = CUDA) -> None:
        self.lock = threading.Lock()
        size = max((int(engine.device_memory_size_v2) for engine in engines), default=0)
        self._buffer = torch.empty(max(size, 1), dtype=torch.uint8, device=device)

    def lend(self, context: Any) -> None:
        """To an execution context, for as long as it lives; recordings of it hold the address too."""
        context.set_device_memory(self._buffer.data_ptr(), self._buffer.numel())


class KernelCache:
    """The kernels that TensorRT for RTX compiles for the GPU it finds, in one file for all engines that are loaded
    together: the next start reads them. TensorRT itself refuses those of another version, GPU or driver, and damaged
    ones; then they are made again. The classic one compiles nothing when engines are loaded, and has no such file.

    Args:
        trt: TensorRT's module.
        path: of the file.
    """

    def __init__(self, trt: Any, path: Path) -> None:
        self._strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        self._compiles_when_loaded = hasattr(trt, "IRuntimeCache")
        self._path = path
        self._found = b""
        self._cache: Any = None
        self._configurations: list[Any] = []

    def context(self, engine: Any) -> Any:
        """An execution context without memory of its own; None where there is no room for it. Keep this object as
        long as it."""
        if not self._compiles_when_loaded:
            return engine.create_execution_context(self._strategy)
        configuration = engine.create_runtime_config()
        configuration.set_execution_context_allocation_strategy(self._strategy)
        if self._cache is None:
            self._cache = self._read(configuration)
        configuration.set_runtime_cache(self._cache)
        self._configurations.append(configuration)
        return engine.create_execution_context(configuration)

    def keep(self) -> None:
        """Write what has been compiled since the file was read; without a place to write it is compiled again."""
        if self._cache is not None and (made := bytes(self._cache.serialize())) != self._found:
            with suppress(OSError):
                write_bytes(self._path, made)

    def _read(self, configuration: Any) -> Any:
        cache = configuration.create_runtime_cache()
        with suppress(OSError):
            self._found = self._path.read_bytes()
            cache.deserialize(self._found)  # what it refuses is written anew
        return cache


class TensorRTGraph:
    """One engine and its execution context; calls take turns, with those of the other engines too.

    They give new tensors every time, but for the largest ones of recorded work: what the experts see of many futures is
    lent, and read where it was written.

    Args:
        trt, engine: TensorRT's module and the deserialised engine.
        name: of the graph.
        memory, kernels: of all graphs that are loaded together.
        replays: of all graphs that are loaded together; None: the engine's work is started anew by every call.
        device: of its tensors.
    """

    def __init__(
        self,
        trt: Any,
        engine: Any,
        name: str,
        memory: ActivationMemory,
        kernels: KernelCache,
        *,
        replays: Replays | None = None,
        device: torch.device = CUDA,
    ) -> None:
        self._context = kernels.context(engine)
        if self._context is None:
            raise EngineError(f"TensorRT has no memory for this engine; {FULL_MEMORY_REMEDY}")
        memory.lend(self._context)
        self._memory, self._kernels = memory, kernels
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        tensors = {
            name: (tuple(engine.get_tensor_shape(name)), _torch_type(trt, engine.get_tensor_dtype(name)))
            for name in names
        }
        inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        self._inputs = {name: tensors[name] for name in inputs}
        self._outputs = {name: tensor for name, tensor in tensors.items() if name not in self._inputs}
        self._device = device
        self._stream = torch.cuda.Stream() if device.type == "cuda" else None
        self._replays = replays
        self._lends = name.startswith("video_dit_") and name != video_dit_name(1)

    def run_once(self, lent: Mapping[str, Tensor]) -> Values:
        """With zeros, and with what another graph lends where that fits, so that this form is recorded."""
        fitting = {name for name, (shape, _) in self._inputs.items() if name in lent and lent[name].shape == shape}
        return self.run(self._empty({k: v for k, v in self._inputs.items() if k not in fitting}), lent)

    def run(self, tensors: Mapping[str, Tensor], context: Mapping[str, Any]) -> Values:
        given = {name: tensors[name] if name in tensors else context[name] for name in self._inputs}
        with full_memory_is_named(), torch.inference_mode():
            given = {name: self._there(name, value) for name, value in given.items()}
            with self._memory.lock, self._on_stream():
                return self._execute(given) if self._replays is None else self._replay(self._replays, given, context)

    def _replay(self, replays: Replays, given: Values, context: Mapping[str, Any]) -> Values:
        with replays.lock:
            if isinstance(context, LentValues) and not context.lent.is_current:
                raise StaleValuesError
            lent = replays.run(self._execute, given)
            if self._lends:
                return LentValues(lent)
            return {name: tensor.clone() for name, tensor in lent.output.items()}

    def tensor(self, value: Tensor) -> Tensor:
        return value

    def _there(self, name: str, value: Tensor) -> Tensor:
        return value.to(self._device, self._inputs[name][1]).contiguous()

    def _empty(self, tensors: Mapping[str, tuple[tuple[int, ...], torch.dtype]]) -> Values:
        return {name: torch.zeros(shape, dtype=dtype, device=self._device) for name, (shape, dtype) in tensors.items()}

    @contextmanager
    def _on_stream(self) -> Iterator[None]:
        """A stream of the graph's own, which follows what was asked before, and is waited for."""
        if self._stream is None:
            yield
            return
        with torch.cuda.stream(self._stream):
            self._stream.wait_stream(torch.cuda.default_stream())
            yield
            self._stream.synchronize()

    def _execute(self, inputs: Mapping[str, Tensor]) -> Values:
        """Start the engine on the current stream: when work is recorded, that is the recording one."""
        outputs = self._empty(self._outputs)
        for name, tensor in (*inputs.items(), *outputs.items()):
            self._context.set_tensor_address(name, tensor.data_ptr())
        stream = torch.cuda.current_stream().cuda_stream if self._stream is not None else 0
        if not self._context.execute_async_v3(stream):
            raise EngineError("TensorRT could not start an engine; its log says why")
        return outputs


def _torch_type(trt: Any, dtype: Any) -> torch.dtype:
    return {
        trt.DataType.FLOAT: torch.float32,
        trt.DataType.HALF: torch.float16,
        trt.DataType.BF16: torch.bfloat16,
        trt.DataType.UINT8: torch.uint8,
        trt.DataType.BOOL: torch.bool,
        trt.DataType.INT32: torch.int32,
        trt.DataType.INT64: torch.int64,
    }[dtype]


def _make_logger(trt: Any) -> Any:
    """Keeps errors for the message instead of printing them."""

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.Severity.ERROR:
                self.errors.append(message)

    return Logger()
