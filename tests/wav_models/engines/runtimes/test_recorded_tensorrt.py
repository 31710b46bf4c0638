"""Recorded engines of TensorRT over a stand-in for it, which computes with NumPy at the addresses it is given."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.wav_models.engines.test_replay import Rerun
from wav_models.engines.base import EngineError
from wav_models.engines.compiled_engine import LentValues, StaleValuesError
from wav_models.engines.export import ExportTarget, expected_manifest
from wav_models.engines.manifest import PlanShape
from wav_models.engines.onnx.operators import ATTENTION_OPSET, OPSET
from wav_models.engines.replay import Replays
from wav_models.engines.runtimes import tensorrt
from wav_models.engines.runtimes.tensorrt import (
    RUNTIME,
    ActivationMemory,
    KernelCache,
    TensorRTGraph,
    kernels_path,
    run_all_once,
)
from wav_models.planner.config import PlannerConfig

TRT = SimpleNamespace(
    TensorIOMode=SimpleNamespace(INPUT="in"),
    ExecutionContextAllocationStrategy=SimpleNamespace(USER_MANAGED="ours"),
    DataType=SimpleNamespace(**{n: n for n in ("FLOAT", "HALF", "BF16", "UINT8", "BOOL", "INT32", "INT64")}),
)
CLASSIC = KernelCache(TRT, Path())
SHAPE = (4, 3)
Compute = Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[Any]]]


class Engine:
    """Tensors of one shape; `addresses` are those of every execution, `memory` is what it computes in."""

    def __init__(self, inputs: list[str], outputs: list[str], compute: Compute, memory: int = 0) -> None:
        self.inputs, self.outputs, self.compute = inputs, outputs, compute
        self.num_io_tensors = len(inputs) + len(outputs)
        self.addresses: dict[str, int] = {}
        self.device_memory_size_v2 = memory
        self.memory: tuple[int, int] | None = None

    def create_execution_context(self, strategy: str) -> Engine:
        assert strategy == "ours"
        return self

    def set_device_memory(self, memory: int, size: int) -> None:
        self.memory = memory, size

    def get_tensor_name(self, index: int) -> str:
        return [*self.inputs, *self.outputs][index]

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name in self.inputs else "out"

    def get_tensor_dtype(self, name: str) -> str:
        return "FLOAT"

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return SHAPE

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        assert self.memory is not None
        assert self.memory[1] >= self.device_memory_size_v2
        arrays = {name: _at(address) for name, address in self.addresses.items()}
        for name, result in self.compute({name: arrays[name] for name in self.inputs}).items():
            arrays[name][:] = result
        return True


def _at(address: int) -> NDArray[Any]:
    numbers = ctypes.cast(address, ctypes.POINTER(ctypes.c_float))
    return np.ctypeslib.as_array(numbers, (SHAPE[0] * SHAPE[1],)).reshape(SHAPE)


@pytest.fixture
def graphs() -> tuple[dict[str, TensorRTGraph], dict[str, Engine], Rerun]:
    """Futures are the doubled noise; a value step adds x_t to them."""
    engines = {
        "value_step": Engine(
            ["x_t", "value_video_0"], ["velocity"], lambda x: {"velocity": x["x_t"] + x["value_video_0"]}
        ),
        "video_dit_4": Engine(["video_noise"], ["value_video_0"], lambda x: {"value_video_0": 2.0 * x["video_noise"]}),
    }
    recorder = Rerun()
    replays, cpu = Replays(recorder), torch.device("cpu")
    memory = ActivationMemory(engines.values(), cpu)
    made = {
        name: TensorRTGraph(TRT, e, name, memory, CLASSIC, replays=replays, device=cpu) for name, e in engines.items()
    }
    run_all_once(made, "video_dit_4")
    return made, engines, recorder


def test_a_value_step_reads_where_the_futures_were_written(
    graphs: tuple[dict[str, TensorRTGraph], dict[str, Engine], Rerun],
) -> None:
    made, engines, recorder = graphs
    assert recorder.recorded == 2  # both, before the first plan
    noise, x_t = torch.full(SHAPE, 3.0), torch.ones(SHAPE)
    futures = made["video_dit_4"].run({"video_noise": noise}, {})
    velocity: Tensor = made["value_step"].run({"x_t": x_t}, futures)["velocity"]
    assert torch.equal(velocity, torch.full(SHAPE, 7.0))
    assert engines["value_step"].addresses["value_video_0"] == futures["value_video_0"].data_ptr()
    made["value_step"].run({"x_t": 2.0 * x_t}, futures)
    assert torch.equal(velocity, torch.full(SHAPE, 7.0))  # what is not lent stays
    assert recorder.recorded == 2


def test_what_was_lent_is_not_read_when_it_is_overwritten(
    graphs: tuple[dict[str, TensorRTGraph], dict[str, Engine], Rerun],
) -> None:
    made, _, _ = graphs
    first = made["video_dit_4"].run({"video_noise": torch.ones(SHAPE)}, {})
    assert isinstance(first, LentValues)
    made["video_dit_4"].run({"video_noise": torch.zeros(SHAPE)}, {})
    with pytest.raises(StaleValuesError):
        made["value_step"].run({"x_t": torch.ones(SHAPE)}, first)


def test_without_recordings_every_call_has_tensors_of_its_own() -> None:
    engine = Engine(["video_noise"], ["value_video_0"], lambda x: {"value_video_0": 2.0 * x["video_noise"]})
    cpu = torch.device("cpu")
    graph = TensorRTGraph(TRT, engine, "video_dit_4", ActivationMemory([engine], cpu), CLASSIC, device=cpu)
    one, two = (graph.run({"video_noise": torch.full(SHAPE, x)}, {})["value_video_0"] for x in (1.0, 2.0))
    assert (float(one[0, 0]), float(two[0, 0])) == (2.0, 4.0)


def test_engines_compute_in_one_memory_and_take_turns() -> None:
    """It is of the size of the largest; an engine that ran meanwhile would overwrite what another has half computed."""
    cpu, running, at_once = torch.device("cpu"), threading.Semaphore(1), []

    def compute(x: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        alone = running.acquire(blocking=False)
        at_once.append(not alone)
        time.sleep(0.01)
        if alone:
            running.release()
        return {"out": 2.0 * x["in"]}

    engines = [Engine(["in"], ["out"], compute, size) for size in (100, 4000, 20)]
    memory = ActivationMemory(engines, cpu)
    graphs = [TensorRTGraph(TRT, engine, str(n), memory, CLASSIC, device=cpu) for n, engine in enumerate(engines)]
    ((_, size),) = {engine.memory or (0, 0) for engine in engines}
    assert size == 4000

    def run(number: int) -> Tensor:
        return graphs[number % 3].run({"in": torch.full(SHAPE, float(number))}, {})["out"]

    with ThreadPoolExecutor(3) as threads:
        outputs = list(threads.map(run, range(9)))
    assert [float(output[0, 0]) for output in outputs] == [2.0 * n for n in range(9)]
    assert not any(at_once)


RTX = SimpleNamespace(**vars(TRT), IRuntimeCache=object)


class CompiledWhenLoaded:
    """An engine whose kernels are compiled when it runs first, unless the cache of its configuration has them.

    Methods are those of TensorRT for RTX's engine, runtime configuration and runtime cache."""

    def __init__(self, name: str, gpu: str = "ours") -> None:
        self.name, self.gpu = name, gpu
        self.compiled: list[str] = []
        self.has: list[str] = []
        self.strategy = ""

    def create_runtime_config(self) -> CompiledWhenLoaded:
        return CompiledWhenLoaded(self.name, self.gpu)

    def set_execution_context_allocation_strategy(self, strategy: str) -> None:
        self.strategy = strategy

    def create_runtime_cache(self) -> CompiledWhenLoaded:
        return CompiledWhenLoaded("", self.gpu)

    def set_runtime_cache(self, cache: CompiledWhenLoaded) -> bool:
        self.has = cache.has
        return True

    def deserialize(self, blob: bytes) -> bool:
        gpu, *kernels = blob.decode().split()
        self.has += kernels if gpu == self.gpu else []
        return gpu == self.gpu

    def serialize(self) -> bytes:
        return " ".join([self.gpu, *self.has]).encode()

    def create_execution_context(self, configuration: CompiledWhenLoaded) -> CompiledWhenLoaded:
        assert configuration.strategy == "ours"  # its memory is the one that all engines share
        if self.name not in configuration.has:
            self.compiled.append(self.name)
            configuration.has.append(self.name)
        return self


def compiled_at_a_start(path: Path, *names: str, gpu: str = "ours") -> list[str]:
    """What had to be compiled when these engines were loaded with the file at `path`."""
    engines = [CompiledWhenLoaded(name, gpu) for name in names]
    kernels = KernelCache(RTX, path)
    for engine in engines:
        assert kernels.context(engine) is engine
    kernels.keep()
    return [name for engine in engines for name in engine.compiled]


def test_kernels_are_compiled_at_the_first_start_only(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "kernels"
    assert compiled_at_a_start(path, "one", "two") == ["one", "two"]
    written = path.stat().st_mtime_ns
    assert compiled_at_a_start(path, "one", "two") == []
    assert path.stat().st_mtime_ns == written
    assert compiled_at_a_start(path, "one", "two", "three") == ["three"]
    assert compiled_at_a_start(path, "one", "two", gpu="another") == ["one", "two"]  # refused, and made again
    assert compiled_at_a_start(path, "one", "two", gpu="another") == []


def test_without_a_place_for_kernels_they_are_compiled_at_every_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for _ in range(2):
        assert compiled_at_a_start(tmp_path / "file" / "kernels", "one") == ["one"]


def test_kernels_are_those_of_one_export(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(tensorrt.TensorRT, "version", lambda _: "tensorrt_rtx 1.7")
    manifest = expected_manifest("ab" * 32, ExportTarget("tensorrt", "fp16", PlanShape.of(PlannerConfig())), "sm_89")
    others = [
        replace(manifest, precision="bf16"),
        replace(manifest, checkpoint_sha256="cd" * 32),
        replace(manifest, shape=replace(manifest.shape, num_value_steps=3)),
    ]
    paths = {kernels_path(each) for each in (manifest, *others)}
    assert len(paths) == 4
    assert all(tmp_path in path.parents for path in paths)


def test_tensorrt_for_rtx_has_what_keeps_its_kernels() -> None:
    """The names; nothing is compiled when an engine is loaded where there is no GPU."""
    rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    for owner, names in {
        "ICudaEngine": ["create_runtime_config", "create_execution_context"],
        "IRuntimeConfig": [
            "create_runtime_cache",
            "set_runtime_cache",
            "set_execution_context_allocation_strategy",
        ],
        "IRuntimeCache": ["deserialize", "serialize"],
    }.items():
        assert not [name for name in names if not hasattr(getattr(rtx, owner), name)], owner
        assert not [name for name in names if not hasattr(CompiledWhenLoaded, name)]


@pytest.mark.parametrize(
    ("known", "opset"), [({"Attention", "RMSNormalization"}, ATTENTION_OPSET), ({"RMSNormalization"}, OPSET)]
)
def test_attention_is_one_operator_where_the_parser_reads_that(
    known: set[str], opset: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser = SimpleNamespace(supports_operator=known.__contains__)
    builder = SimpleNamespace(create_network=lambda _: None)
    trt = SimpleNamespace(
        ILogger=type("ILogger", (), {}),
        NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1),
        Builder=lambda _: builder,
        OnnxParser=lambda *_: parser,
        IAttentionInputLayer=None,
    )
    monkeypatch.setattr(tensorrt, "tensorrt_module", lambda: trt)
    assert RUNTIME.dialect("fp16").opset == opset


def test_a_gpu_that_tensorrt_for_rtx_does_not_serve_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt, "tensorrt_module", lambda: SimpleNamespace(__name__="tensorrt_rtx"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    with pytest.raises(EngineError, match="serves sm_75, .*, and this GPU is sm_90; install classic TensorRT"):
        RUNTIME.target_gpu()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 9))
    assert "sm_89" in RUNTIME.target_gpu().split()
