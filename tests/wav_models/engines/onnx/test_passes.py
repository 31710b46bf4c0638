"""Passes change the form of a graph, not what it computes, beyond what 8 bits lose."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from wav_models.engines.onnx.composer import OnnxComposer
from wav_models.engines.onnx.weight_file import WeightFile

RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(2, 96, 64)).astype(np.float32) / 8.0
BIAS = RNG.normal(size=96).astype(np.float32)
X = RNG.normal(size=(5, 64)).astype(np.float32)
FACTORS = RNG.normal(size=(1, 1, 64)).astype(np.float32)
GATES = RNG.normal(size=(1, 96)).astype(np.float32)


class NoBlocks:
    """An exporter of a graph without opaque nodes."""


def two_layers() -> Any:
    """y = x W_0^T + b + x W_1^T + b, as the exporter writes linear layers."""
    nodes, sums = [], []
    for i in range(2):
        nodes += [
            helper.make_node("Transpose", [f"w{i}"], [f"t{i}"], name=f"transpose{i}", perm=[1, 0]),
            helper.make_node("MatMul", ["x", f"t{i}"], [f"p{i}"], name=f"product{i}"),
            helper.make_node("Add", [f"p{i}", "b"], [f"s{i}"], name=f"sum{i}"),
        ]
        sums.append(f"s{i}")
    nodes.append(helper.make_node("Add", sums, ["y"], name="total"))
    tensors = {"w0": WEIGHTS[0], "w1": WEIGHTS[1], "b": BIAS}
    graph = helper.make_graph(
        nodes,
        "layers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [5, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [5, 96])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def scaled_by_a_constant() -> Any:
    """y = x sigmoid(c W^T + b)."""
    nodes = [
        helper.make_node("Constant", [], ["c"], name="constant", value=numpy_helper.from_array(X[:1])),
        helper.make_node("Transpose", ["w"], ["t"], name="transpose", perm=[1, 0]),
        helper.make_node("MatMul", ["c", "t"], ["p"], name="product"),
        helper.make_node("Add", ["p", "b"], ["s"], name="sum"),
        helper.make_node("Sigmoid", ["s"], ["scale"], name="sigmoid"),
        helper.make_node("Mul", ["x", "scale"], ["y"], name="scaled"),
    ]
    graph = helper.make_graph(
        nodes,
        "layers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [5, 96])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [5, 96])],
        [numpy_helper.from_array(WEIGHTS[0], "w"), numpy_helper.from_array(BIAS, "b")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def modulated(*, shown: bool, factors: np.ndarray[Any, Any]) -> Any:
    """y = RMS(x) f W^T g + b g, as a gated branch; `shown`: what g multiplies is an output, too."""
    norm = helper.make_node("SimplifiedLayerNormalization", ["x", "ones"], ["n"], name="norm", axis=-1, epsilon=1e-6)
    nodes = [
        norm,
        helper.make_node("Mul", ["n", "f"], ["m"], name="scaled"),
        helper.make_node("Transpose", ["w"], ["t"], name="transpose", perm=[1, 0]),
        helper.make_node("MatMul", ["m", "t"], ["p"], name="product"),
        helper.make_node("Add", ["p", "b"], ["s"], name="sum"),
        helper.make_node("Mul", ["g", "s"], ["y"], name="gated"),
    ]
    tensors = {"w": WEIGHTS[0], "b": BIAS, "f": factors, "g": GATES, "ones": np.ones(64, np.float32)}
    outputs = {"y": [2, 5, 96], **({"s": [2, 5, 96]} if shown else {})}
    graph = helper.make_graph(
        nodes,
        "branch",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 5, 64])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def image_negative() -> Any:
    """255 - image, with bytes moved around before and after."""
    nodes = [
        helper.make_node("Transpose", ["image"], ["turned"], name="turn", perm=[1, 0]),
        helper.make_node("Cast", ["turned"], ["number"], name="number", to=TensorProto.FLOAT),
        helper.make_node("Sub", ["white", "number"], ["negative"], name="negate"),
        helper.make_node("Cast", ["negative"], ["byte"], name="byte", to=TensorProto.UINT8),
        helper.make_node("Transpose", ["byte"], ["out"], name="back", perm=[1, 0]),
    ]
    graph = helper.make_graph(
        nodes,
        "negative",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [4, 6])],
        [helper.make_tensor_value_info("out", TensorProto.UINT8, [4, 6])],
        [numpy_helper.from_array(np.array(255.0, np.float32), "white")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def reshaped(shapes: list[list[int]]) -> Any:
    """y = x [2, 6, 5] in one shape after the other."""
    names = ["x", *(f"x{i}" for i in range(1, len(shapes))), "y"]
    nodes = [
        helper.make_node("Reshape", [names[i], f"s{i}"], [names[i + 1]], name=f"reshape{i}") for i in range(len(shapes))
    ]
    graph = helper.make_graph(
        nodes,
        "shapes",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 6, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 4, 5])],
        [numpy_helper.from_array(np.array(shape, np.int64), f"s{i}") for i, shape in enumerate(shapes)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def finished(part: Any, output: str, directory: Path, *, quantize: bool) -> tuple[list[Any], Any]:
    """Nodes and session of a graph that is one part."""
    composer = OnnxComposer("graph", 20)
    (name,) = [value.name for value in part.graph.input]
    found = composer.call(part, "layers", {name: composer.input_like(part, name)})
    composer.output_like(part, output, found[output], output)
    composer.finish(NoBlocks(), quantize=quantize)  # type: ignore[arg-type]
    with WeightFile(directory / "weights.bin") as weights:
        model = composer.write(directory / "graph.onnx", weights)
    session = onnxruntime.InferenceSession(directory / "graph.onnx", providers=["CPUExecutionProvider"])
    return list(model.graph.node), session


@pytest.mark.parametrize(("quantize", "tolerance"), [(False, 1e-5), (True, 0.05)])
def test_linear_layers_compute_the_same(quantize: bool, tolerance: float, tmp_path: Path) -> None:
    nodes, session = finished(two_layers(), "y", tmp_path, quantize=quantize)
    (found,) = session.run(None, {"x": X})
    expected = X @ WEIGHTS[0].T + X @ WEIGHTS[1].T + 2 * BIAS
    assert np.abs(found - expected).max() < tolerance * np.abs(expected).max()
    counts = Counter(node.op_type for node in nodes)
    assert counts["Transpose"] == 0
    if quantize:
        assert counts["DynamicQuantizeLinear"] == 1  # both layers read the same numbers
        assert counts["MatMulIntegerToFloat"] == 2
        assert counts["MatMul"] == 0


@pytest.mark.parametrize("quantize", [False, True])
def test_what_depends_on_constants_alone_is_computed_once(quantize: bool, tmp_path: Path) -> None:
    """A linear layer of a constant, as of a flow time, leaves neither a product nor its quantisation."""
    nodes, session = finished(scaled_by_a_constant(), "y", tmp_path, quantize=quantize)
    x = RNG.normal(size=(5, 96)).astype(np.float32)
    (found,) = session.run(None, {"x": x})
    np.testing.assert_allclose(found, x / (1.0 + np.exp(-X[:1] @ WEIGHTS[0].T - BIAS)), rtol=1e-5)
    assert [node.op_type for node in nodes] == ["Mul"]


@pytest.mark.parametrize(("quantize", "left"), [(False, 1), (True, 0)])
@pytest.mark.parametrize("rows", [1, 5])
def test_factors_of_channels_are_folded_where_all_rows_have_the_same(
    rows: int, quantize: bool, left: int, tmp_path: Path
) -> None:
    """Into the norm's weight, and into scales and bias of 8 bits; not where every row has its own."""
    factors = np.repeat(FACTORS, rows, axis=1) * np.arange(1, rows + 1, dtype=np.float32)[:, None]
    nodes, session = finished(modulated(shown=False, factors=factors), "y", tmp_path, quantize=quantize)
    x = RNG.normal(size=(2, 5, 64)).astype(np.float32)
    (found,) = session.run(None, {"x": x})
    normed = x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + 1e-6) * factors
    expected = (normed @ WEIGHTS[0].T + BIAS) * GATES
    assert np.abs(found - expected).max() < (0.05 if quantize else 1e-5) * np.abs(expected).max()
    assert Counter(node.op_type for node in nodes)["Mul"] == left + (rows > 1)


def test_what_something_else_reads_keeps_its_factor(tmp_path: Path) -> None:
    part = modulated(shown=True, factors=FACTORS)
    composer = OnnxComposer("graph", 20)
    found = composer.call(part, "layers", {"x": composer.input_like(part, "x")})
    for name in ("s", "y"):
        composer.output_like(part, name, found[name], name)
    composer.finish(NoBlocks(), quantize=True)  # type: ignore[arg-type]
    with WeightFile(tmp_path / "weights.bin") as weights:
        composer.write(tmp_path / "graph.onnx", weights)
    session = onnxruntime.InferenceSession(tmp_path / "graph.onnx", providers=["CPUExecutionProvider"])
    before, after = session.run(["s", "y"], {"x": RNG.normal(size=(2, 5, 64)).astype(np.float32)})
    np.testing.assert_allclose(after, before * GATES, rtol=1e-5)


@pytest.mark.parametrize(
    ("shapes", "left"), [([[12, 5], [60], [3, 4, -1]], 1), ([[4, 3, 5], [3, 4, 5]], 1), ([[3, 20], [0, 4, 5]], 2)]
)
def test_shapes_in_between_are_left_out(shapes: list[list[int]], left: int, tmp_path: Path) -> None:
    """Not those that a later one takes a size over from."""
    nodes, session = finished(reshaped(shapes), "y", tmp_path, quantize=False)
    x = RNG.normal(size=(2, 6, 5)).astype(np.float32)
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], x.reshape(3, 4, 5))
    assert [node.op_type for node in nodes] == ["Reshape"] * left


def test_bytes_are_numbers_between_the_borders(tmp_path: Path) -> None:
    nodes, session = finished(image_negative(), "out", tmp_path, quantize=False)
    image = RNG.integers(0, 256, (4, 6), dtype=np.uint8)
    (found,) = session.run(None, {"image": image})
    np.testing.assert_array_equal(found, 255 - image)
    casts = [node for node in nodes if node.op_type == "Cast"]
    assert casts[0].input == ["image"]
    assert casts[-1].output == ["out"]
    moved = {value for node in nodes if node.op_type == "Transpose" for value in node.input}
    assert "image" not in moved
