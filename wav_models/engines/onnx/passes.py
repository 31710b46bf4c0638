"""Passes over the nodes of a composed graph: what the exporter writes, in the form that runtimes are fast at."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from wav_models.engines.precision import weight_bits

MIN_QUANTIZED_SIZE: Final = 64
"""Input and output channels from which a linear layer gains by 8-bit arithmetic."""
FACTOR_PLACES: Final = {"SimplifiedLayerNormalization": (1,), "MatMulIntegerToFloat": (3, 6)}
"""Per operator, which of its inputs a factor per output channel multiplies: scales, and bias."""


@dataclass
class GraphParts:
    """Nodes in the order of execution, and constants by name; passes change both."""

    nodes: list[Any]
    tensors: dict[str, Tensor]


def needed(nodes: list[Any], outputs: Iterable[str], given: set[str], graph: str) -> list[Any]:
    """The nodes that `outputs` depend on.

    Args:
        nodes: in the order of execution.
        outputs: of the graph.
        given: its inputs and constants.
        graph: its name, for the message.

    Raises:
        ValueError: a value is made by no node before it.
    """
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted.isdisjoint(node.output):
            continue
        kept.append(node)
        wanted = (wanted - set(node.output)) | {value for value in node.input if value}
    if wanted - given:
        raise ValueError(f"graph {graph}: value {min(wanted - given)!r} comes from nowhere")
    return kept[::-1]


def convert_bytes_at_the_border(parts: GraphParts, inputs: Iterable[Any], outputs: Iterable[Any]) -> None:
    """Images become float32 where they enter and uint8 where they leave: TensorRT does nothing else with bytes."""
    from onnx import TensorProto, helper

    entering = {value.name for value in inputs if value.type.tensor_type.elem_type == TensorProto.UINT8}
    leaving = {value.name for value in outputs if value.type.tensor_type.elem_type == TensorProto.UINT8}
    for node in parts.nodes:
        node.input[:] = [f"{name}.float" if name in entering else name for name in node.input]
        node.output[:] = [f"{name}.float" if name in leaving else name for name in node.output]
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.UINT8:
                attribute.i = TensorProto.FLOAT
    float32, uint8 = TensorProto.FLOAT, TensorProto.UINT8
    parts.nodes[:0] = [helper.make_node("Cast", [n], [f"{n}.float"], f"cast_{n}", to=float32) for n in entering]
    parts.nodes += [helper.make_node("Cast", [f"{n}.float"], [n], f"cast_{n}", to=uint8) for n in leaving]


def drop_copies(parts: GraphParts, outputs: Iterable[str]) -> None:
    """A value that is copied to an output of the graph becomes that output; one that goes to two is copied once."""
    made, names = {value for node in parts.nodes for value in node.output}, dict[str, str]()
    kept = []
    for node in parts.nodes:
        if node.op_type == "Identity" and node.output[0] in outputs and node.input[0] in made - names.keys():
            names[node.input[0]] = node.output[0]
        else:
            kept.append(node)
    for node in kept:
        node.input[:] = [names.get(value, value) for value in node.input]
        node.output[:] = [names.get(value, value) for value in node.output]
    parts.nodes[:] = kept


def fold_transposed_weights(parts: GraphParts) -> None:
    """Linear layers multiply by the transpose of their weight: store it that way, once for all calls and graphs."""
    aliases: dict[str, str] = {}
    kept = []
    for node in parts.nodes:
        if node.op_type == "Transpose" and node.input[0] in parts.tensors and parts.tensors[node.input[0]].ndim == 2:
            name = f"{node.input[0]}.transposed"
            parts.tensors[name] = parts.tensors[node.input[0]].t()
            aliases[node.output[0]] = name
        else:
            node.input[:] = [aliases.get(value, value) for value in node.input]
            kept.append(node)
    parts.nodes[:] = kept


def fold_constants(parts: GraphParts, opset: int) -> None:
    """What depends on constants alone is computed here: time embeddings and modulation of every unrolled step.

    Runtimes leave it in the graph once its linear layers are in 8 bits. Not in bfloat16, which the reference lacks.
    """
    from onnx import defs
    from onnx.reference import ReferenceEvaluator

    known = {name: x.numpy() for name, x in parts.tensors.items() if x.dtype != torch.bfloat16}
    kept, folded = [], set()
    for node in parts.nodes:
        constant = known.keys() >= {value for value in node.input if value}
        if not constant or node.op_type == "Identity" or node.domain or not defs.has(node.op_type):
            kept.append(node)
            continue
        values = {name: known[name] for name in node.input if name}
        results = ReferenceEvaluator(node, opsets={"": opset}).run(None, values)
        known.update(zip(node.output, results, strict=True))
        folded.update(node.output)
    used = folded.intersection(value for node in kept for value in node.input)
    parts.tensors.update({name: torch.from_numpy(np.array(known[name])) for name in used})
    parts.nodes[:] = kept


def quantize_linear_layers(parts: GraphParts) -> None:
    """Linear layers in 8 bits: weights per output channel, symmetric; activations per call, from their own range.

    Call after `fold_transposed_weights`. Layers that read the same activations share their quantised form.
    """
    from onnx import helper

    readers = defaultdict(list)
    for node in parts.nodes:
        for value in node.input:
            readers[value].append(node)
    quantized: set[str] = set()
    fused: set[int] = set()
    kept: list[Any] = []
    for node in parts.nodes:
        if id(node) in fused:
            continue
        bias_add = _bias_add(node, readers, parts.tensors)
        if bias_add is None:
            kept.append(node)
            continue
        activations, weight = node.input
        add, bias = bias_add
        fused.add(id(add))
        names = [f"{activations}.{end}" for end in ("uint8", "scale", "zero")]
        if activations not in quantized:
            quantized.add(activations)
            kept.append(helper.make_node("DynamicQuantizeLinear", [activations], names, name=f"quantize_{activations}"))
        weight_names = _quantized_weight(parts.tensors, weight)
        kept.append(
            helper.make_node(
                "MatMulIntegerToFloat",
                [names[0], weight_names[0], names[1], weight_names[1], names[2], "", bias],
                [add.output[0]],
                name=f"{node.name}.int8",
                domain="com.microsoft",
            )
        )
    parts.nodes[:] = kept


def fold_factors(parts: GraphParts, outputs: Iterable[str]) -> None:
    """A constant factor per channel after an RMS norm or a linear layer in 8 bits becomes part of its weights: of an
    expert's modulation, which is the same for all tokens. Call after `quantize_linear_layers`."""
    readers = Counter([*outputs, *(value for node in parts.nodes for value in node.input)])
    makers = {value: node for node in parts.nodes for value in node.output}
    kept = []
    for node in parts.nodes:
        factors = [value for value in node.input if value in parts.tensors]
        values = [value for value in node.input if value in makers]
        if node.op_type != "Mul" or (len(factors), len(values)) != (1, 1) or readers[values[0]] != 1:
            kept.append(node)
            continue
        maker, factor = makers[values[0]], parts.tensors[factors[0]]
        places = FACTOR_PLACES.get(maker.op_type, ())
        sizes = {factor.numel(), *factor.shape[-1:], *(parts.tensors[maker.input[place]].numel() for place in places)}
        if not places or factor.ndim == 0 or len(sizes) != 1:
            kept.append(node)
            continue
        for place in places:
            name = f"{maker.input[place]}.times.{factors[0]}"
            parts.tensors[name] = parts.tensors[maker.input[place]] * factor.flatten()
            maker.input[place] = name
        maker.output[0] = node.output[0]
        makers[node.output[0]] = maker
    parts.nodes[:] = kept


def merge_reshapes(parts: GraphParts) -> None:
    """A reshape of a reshape is one, unless it takes sizes over (0). Those that nobody reads any more are left."""
    makers: dict[str, Any] = {}
    for node in parts.nodes:
        if node.op_type != "Reshape" or node.input[1] not in parts.tensors:
            continue
        before = makers.get(node.input[0])
        if before is not None and parts.tensors[node.input[1]].all():
            node.input[0] = before.input[0]
        makers[node.output[0]] = node


def _bias_add(node: Any, readers: dict[str, list[Any]], tensors: dict[str, Tensor]) -> tuple[Any, str] | None:
    """The addition of a bias to a product with a large weight, and the bias; None if `node` is no such product."""
    if node.op_type != "MatMul" or node.input[1] not in tensors or len(readers[node.output[0]]) != 1:
        return None
    if min(tensors[node.input[1]].shape) < MIN_QUANTIZED_SIZE:
        return None
    (add,) = readers[node.output[0]]
    biases = [value for value in add.input if value in tensors]
    return (add, biases[0]) if add.op_type == "Add" and biases else None


def _quantized_weight(tensors: dict[str, Tensor], name: str) -> tuple[str, str]:
    """Names of the weight [in, out] as int8, in `weight_bits` of this processor, and of its scales [out]."""
    names = f"{name}.int8", f"{name}.scale"
    if names[0] not in tensors:
        weight = tensors[name].float()
        scale = weight.abs().amax(dim=0).clamp_min(torch.finfo(torch.float32).tiny) / (2 ** (weight_bits() - 1) - 1)
        tensors[names[0]] = (weight / scale).round().to(torch.int8)
        tensors[names[1]] = scale
    return names
