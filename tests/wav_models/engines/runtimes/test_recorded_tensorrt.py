"""Recorded engines of TensorRT over a stand-in for it, which computes with NumPy at the addresses it is given."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
from wav_models.engines.onnx.operators import ATTENTION_OPSET, OPSET
from wav_models.engines.replay import Replays
from wav_models.engines.runtimes import tensorrt
from wav_models.engines.runtimes.tensorrt import RUNTIME, ActivationMemory, TensorRTGraph, record_all

TRT = SimpleNamespace(
    TensorIOMode=SimpleNamespace(INPUT="in"),
    ExecutionContextAllocationStrategy=SimpleNamespace(USER_MANAGED="ours"),
    DataType=SimpleNamespace(**{n: n for n in ("FLOAT", "HALF", "BF16", "UINT8", "BOOL", "INT32", "INT64")}),
)
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
    made = {name: TensorRTGraph(TRT, e, name, memory, replays=replays, device=cpu) for name, e in engines.items()}
    record_all(made, "video_dit_4")
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
    graph = TensorRTGraph(TRT, engine, "video_dit_4", ActivationMemory([engine], cpu), device=cpu)
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
    graphs = [TensorRTGraph(TRT, engine, str(n), memory, device=cpu) for n, engine in enumerate(engines)]
    ((_, size),) = {engine.memory or (0, 0) for engine in engines}
    assert size == 4000

    def run(number: int) -> Tensor:
        return graphs[number % 3].run({"in": torch.full(SHAPE, float(number))}, {})["out"]

    with ThreadPoolExecutor(3) as threads:
        outputs = list(threads.map(run, range(9)))
    assert [float(output[0, 0]) for output in outputs] == [2.0 * n for n in range(9)]
    assert not any(at_once)


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
    assert RUNTIME.dialect().opset == opset


def test_a_gpu_that_tensorrt_for_rtx_does_not_serve_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt, "tensorrt_module", lambda: SimpleNamespace(__name__="tensorrt_rtx"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    with pytest.raises(EngineError, match="serves sm_75, .*, and this GPU is sm_90; install classic TensorRT"):
        RUNTIME.target_gpu()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 9))
    assert "sm_89" in RUNTIME.target_gpu().split()
