"""Graphs put together from parts, against the same computation in numpy and torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from wav_models.engines.onnx_composer import OnnxComposer
from wav_models.flow import euler

WEIGHT = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)


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


@pytest.mark.parametrize(("num_steps", "end"), [(1, 1.0), (5, 1.0), (3, 0.75)])
def test_unrolled_euler_is_euler_with_one_copy_of_the_weights(num_steps: int, end: float) -> None:
    part, composer = velocity_part(), OnnxComposer("loop", 20)
    noise = composer.input_like(part, "x_t", "noise")

    def call(x: str, t: str) -> str:
        return composer.call(part, "network", {"x_t": x, "flow_time": t})["velocity"]

    composer.output_like(part, "x_t", composer.euler(call, noise, num_steps, end), "data")
    model = composer.model()
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x_0 = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    (found,) = session.run(None, {"noise": x_0})
    weight = torch.from_numpy(WEIGHT)
    expected = euler(lambda x, t: x @ weight + t, torch.from_numpy(x_0), num_steps, end)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)
    assert sum(list(i.dims) == [4, 4] for i in model.graph.initializer) == 1


def test_an_input_nobody_bound_is_an_error() -> None:
    composer, part = OnnxComposer("loop", 20), velocity_part()
    with pytest.raises(KeyError, match="flow_time"):
        composer.call(part, "network", {"x_t": composer.input_like(part, "x_t")})


def test_a_graph_with_a_value_from_nowhere_is_refused() -> None:
    composer, part = OnnxComposer("loop", 20), velocity_part()
    composer.output_like(part, "velocity", "nowhere", "data")
    with pytest.raises(onnx.checker.ValidationError, match="nowhere"):
        composer.model()
