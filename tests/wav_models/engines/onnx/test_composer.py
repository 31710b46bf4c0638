"""Graphs put together from parts, against the same computation in numpy and torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from wav_models.engines.onnx.composer import OnnxComposer
from wav_models.engines.onnx.weight_file import WeightFile
from wav_models.flow import equal_times, euler, euler_through
from wav_models.guidance import Guidance, guided

WEIGHT = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)


def written(composer: OnnxComposer, directory: Path) -> tuple[Any, onnxruntime.InferenceSession]:
    """The graph as a file beside its weights, and a session over it."""
    with WeightFile(directory / "weights.bin") as weights:
        model = composer.write(directory / "graph.onnx", weights)
    return model, onnxruntime.InferenceSession(directory / "graph.onnx", providers=["CPUExecutionProvider"])


def velocity_part() -> Any:
    """velocity = x_t @ weight + flow_time."""
    nodes = [
        helper.make_node("MatMul", ["x_t", "weight"], ["product"], name="a"),
        helper.make_node("Add", ["product", "flow_time"], ["velocity"], name="b"),
    ]
    graph = helper.make_graph(
        nodes,
        "part",
        [
            helper.make_tensor_value_info("x_t", TensorProto.FLOAT, [3, 4]),
            helper.make_tensor_value_info("flow_time", TensorProto.FLOAT, [1]),
        ],
        [helper.make_tensor_value_info("velocity", TensorProto.FLOAT, [3, 4])],
        [numpy_helper.from_array(WEIGHT, "weight")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


@pytest.mark.parametrize("times", [(0.0, 1.0), equal_times(5), (0.25, 0.5, 0.75), (0.0, 0.1, 0.75)])
def test_unrolled_euler_is_euler_with_one_copy_of_the_weights(times: tuple[float, ...], tmp_path: Path) -> None:
    part, composer = velocity_part(), OnnxComposer("loop", 20)
    noise = composer.input_like(part, "x_t", "noise")

    def call(x: str, t: str) -> str:
        return composer.call(part, "network", {"x_t": x, "flow_time": t})["velocity"]

    composer.output_like(part, "x_t", composer.euler_through(call, noise, times), "data")
    model, session = written(composer, tmp_path)
    x_0 = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    (found,) = session.run(None, {"noise": x_0})
    weight = torch.from_numpy(WEIGHT)
    expected = euler_through(lambda x, t: x @ weight + t, torch.from_numpy(x_0), times)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)
    assert sum(list(i.dims) == [4, 4] for i in model.graph.initializer) == 1


def test_a_guided_loop_is_the_guided_flow(tmp_path: Path) -> None:
    part, composer = velocity_part(), OnnxComposer("loop", 20)
    noise, target, weight = (composer.input_like(part, "x_t", name) for name in ("noise", "target", "weight"))

    def call(x: str, t: str) -> str:
        return composer.call(part, "network", {"x_t": x, "flow_time": t})["velocity"]

    composer.output_like(
        part, "x_t", composer.euler_through(composer.guided(call, target, weight), noise, equal_times(10)), "data"
    )
    _, session = written(composer, tmp_path)
    rng = np.random.default_rng(1)
    x_0, y = rng.normal(size=(2, 3, 4)).astype(np.float32)
    w = rng.uniform(size=(3, 4)).astype(np.float32) * (rng.uniform(size=(3, 4)) > 0.5)
    (found,) = session.run(None, {"noise": x_0, "target": y, "weight": w.astype(np.float32)})
    matrix = torch.from_numpy(WEIGHT)
    steered = guided(lambda x, t: x @ matrix + t, Guidance(torch.from_numpy(y), torch.from_numpy(w)))
    expected = euler(steered, torch.from_numpy(x_0), 10)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)


def test_an_input_nobody_bound_is_an_error() -> None:
    composer, part = OnnxComposer("loop", 20), velocity_part()
    with pytest.raises(KeyError, match="flow_time"):
        composer.call(part, "network", {"x_t": composer.input_like(part, "x_t")})


def test_a_graph_with_a_value_from_nowhere_is_refused(tmp_path: Path) -> None:
    composer, part = OnnxComposer("loop", 20), velocity_part()
    composer.output_like(part, "velocity", "nowhere", "data")
    with pytest.raises(ValueError, match="graph loop: value 'nowhere' comes from nowhere"):
        written(composer, tmp_path)


def test_what_no_output_needs_is_left_out(tmp_path: Path) -> None:
    composer, part = OnnxComposer("loop", 20), velocity_part()
    x, t = composer.input_like(part, "x_t"), composer.input_like(part, "flow_time")
    composer.call(part, "unused", {"x_t": x, "flow_time": t})
    composer.output_like(part, "x_t", composer.apply("Neg", x), "data")
    model, session = written(composer, tmp_path)
    assert [node.op_type for node in model.graph.node] == ["Neg", "Identity"]
    assert [value.name for value in session.get_inputs()] == ["x_t"]
    assert not model.graph.initializer


def test_equal_tensors_are_stored_once_and_read_back(tmp_path: Path) -> None:
    large = torch.from_numpy(np.random.default_rng(2).normal(size=(64, 64)).astype(np.float32))
    with WeightFile(tmp_path / "weights.bin") as weights:
        first, second = weights.refer("a", large), weights.refer("b", large.clone())
        third = weights.refer("c", large.t())
    places = [{entry.key: entry.value for entry in proto.external_data} for proto in (first, second, third)]
    assert places[0] == places[1] != places[2]
    stored = np.fromfile(tmp_path / "weights.bin", np.float32, offset=int(places[2]["offset"]), count=64 * 64)
    np.testing.assert_array_equal(stored.reshape(64, 64), large.t().numpy())
