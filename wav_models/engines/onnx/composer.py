"""Puts exported network calls together to larger ONNX graphs: a loop over one network becomes one graph.

The exporter sees every network, and every kind of block, once; an Euler loop is written here, by copying the nodes of
its step. Weights are shared by all copies, and the runtime then folds what is constant per step (time embeddings,
modulation) and computes what is the same in every step once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wav_models.engines.onnx.opaque_blocks import DOMAIN, BlockExporter
from wav_models.engines.onnx.passes import (
    GraphParts,
    convert_bytes_at_the_border,
    drop_copies,
    fold_constants,
    fold_factors,
    fold_transposed_weights,
    merge_reshapes,
    needed,
    quantize_linear_layers,
)
from wav_models.engines.onnx.weight_file import MIN_BYTES, WeightFile, inline, torch_tensor
from wav_models.guidance import MAX_GUIDANCE


@dataclass
class OnnxComposer:
    """An ONNX graph under construction. Values are referred to by name.

    Attributes:
        name: of the graph.
        opset: of the operators, the same in all parts.
    """

    name: str
    opset: int
    _nodes: list[Any] = field(default_factory=list)
    _tensors: dict[str, Tensor] = field(default_factory=dict)
    _inputs: dict[str, Any] = field(default_factory=dict)
    _outputs: dict[str, Any] = field(default_factory=dict)
    _calls: int = 0

    def input_like(self, part: Any, name: str, rename: str | None = None) -> str:
        """Declare an input with the type and shape of an input of `part`; a second time it is the same input."""
        (found,) = [value for value in part.graph.input if value.name == name]
        value = type(found)()
        value.CopyFrom(found)
        value.name = rename or name
        self._inputs.setdefault(value.name, value)
        return value.name

    def inputs_of(self, part: Any, but: tuple[str, ...] = ()) -> dict[str, str]:
        """Declare all inputs of `part` but some; by name, as `call` binds them."""
        return {value.name: self.input_like(part, value.name) for value in part.graph.input if value.name not in but}

    def constant(self, values: Any) -> str:
        """A float32 constant."""
        name = f"constant_{len(self._tensors)}"
        self._tensors[name] = torch.from_numpy(np.asarray(values, np.float32))
        return name

    def apply(self, operator: str, *inputs: str) -> str:
        """The result of one ONNX operator."""
        from onnx import helper

        self._calls += 1
        name = f"{operator}_{self._calls}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], name=f"node_{name}"))
        return name

    def call(
        self, part: Any, weights: str, bindings: Mapping[str, str], results: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """Copy the nodes of `part` into this graph.

        Args:
            part: an ONNX model.
            weights: prefix of its initializers; calls with the same prefix share them.
            bindings: value of this graph for every input of `part`.
            results: names that outputs of `part` shall have; others get one of their own.

        Returns:
            Value of this graph for every output of `part`.
        """
        self._calls += 1
        names = {"": ""} | {value.name: bindings[value.name] for value in part.graph.input} | dict(results or {})
        for initializer in part.graph.initializer:
            names[initializer.name] = name = f"{weights}.{initializer.name}"
            if name not in self._tensors:
                self._tensors[name] = torch_tensor(initializer)
        for node in part.graph.node:
            names |= {o: f"call_{self._calls}.{o}" for o in node.output if o not in names}
            copy = type(node)()
            copy.CopyFrom(node)
            copy.name = f"call_{self._calls}.{node.name}"
            copy.input[:] = [names[value] for value in node.input]
            copy.output[:] = [names[value] for value in node.output]
            self._nodes.append(copy)
        return {value.name: names[value.name] for value in part.graph.output}

    def _expand(self, exporter: BlockExporter) -> None:
        """Put the graphs of blocks in the place of their opaque nodes; every layer with weights of its own."""
        from onnx import helper

        nodes, self._nodes = self._nodes, []
        for node in nodes:
            if node.domain != DOMAIN:
                self._nodes.append(node)
                continue
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            network, index, kind = attributes["network"].decode(), attributes["index"], attributes["kind"]
            weights = {name: f"{network}.{index}.{name}" for name in exporter.weights(network, index)}
            self._tensors |= {weights[name]: x for name, x in exporter.weights(network, index).items()}
            bindings = {f"x_{i}": value for i, value in enumerate(node.input)} | weights
            results = {f"y_{i}": value for i, value in enumerate(node.output)}
            self.call(exporter.block(kind), f"{network}.kind_{kind}", bindings, results)

    def euler_through(self, velocity: Callable[[str, str], str], x: str, times: Sequence[float]) -> str:
        """`flow.euler_through` as a graph; `velocity` maps the names of x_t and flow time [1] to its own."""
        for time, following in pairwise(times):
            step = self.apply("Mul", velocity(x, self.constant([time])), self.constant(following - time))
            x = self.apply("Add", x, step)
        return x

    def guided(self, velocity: Callable[[str, str], str], target: str, weight: str) -> Callable[[str, str], str]:
        """`guidance.guided` with the unit jacobian as a graph; the gains are constants once flow times are."""
        one, beta = self.constant([1.0]), self.constant([MAX_GUIDANCE])

        def corrected(x: str, t: str) -> str:
            uncorrected = velocity(x, t)
            left = self.apply("Sub", one, t)
            end = self.apply("Add", x, self.apply("Mul", left, uncorrected))
            square = self.apply("Add", self.apply("Mul", t, t), self.apply("Mul", left, left))
            clipped = self.apply("Div", self.apply("Mul", beta, t), square)
            gain = self.apply("Min", clipped, self.apply("Div", one, left))
            pull = self.apply("Mul", self.apply("Mul", gain, weight), self.apply("Sub", target, end))
            return self.apply("Add", uncorrected, pull)

        return corrected

    def output_like(self, part: Any, part_name: str, value: str, name: str) -> None:
        """Declare the output `name`, with the type and shape of an input or output of `part`."""
        from onnx import helper

        found = next(v for v in (*part.graph.input, *part.graph.output) if v.name == part_name)
        output = type(found)()
        output.CopyFrom(found)
        output.name = name
        self._outputs[name] = output
        self._nodes.append(helper.make_node("Identity", [value], [name], name=f"node_{name}"))

    def finish(self, exporter: BlockExporter, *, quantize: bool) -> None:
        """Put the blocks in place, and give the nodes the form that runtimes are fast at."""
        self._expand(exporter)
        parts = GraphParts(self._nodes, self._tensors)
        convert_bytes_at_the_border(parts, self._inputs.values(), self._outputs.values())
        drop_copies(parts, self._outputs)
        fold_transposed_weights(parts)
        fold_constants(parts, self.opset)
        if quantize:
            quantize_linear_layers(parts)
        fold_factors(parts, self._outputs)
        merge_reshapes(parts)

    def write(self, path: Path, weights: WeightFile) -> Any:
        """Write the finished graph; large tensors go to `weights`, beside it.

        Returns:
            The ONNX model without those.

        Raises:
            ValueError: a value comes from nowhere.
        """
        import onnx
        from onnx import helper

        nodes = needed(self._nodes, list(self._outputs), {*self._inputs, *self._tensors}, self.name)
        used = {value for node in nodes for value in node.input}
        initializers = [
            weights.refer(name, x) if x.nbytes >= MIN_BYTES else inline(name, x)
            for name, x in self._tensors.items()
            if name in used
        ]
        inputs = [value for name, value in self._inputs.items() if name in used]
        graph = helper.make_graph(nodes, self.name, inputs, list(self._outputs.values()), initializers)
        opsets = {"": self.opset, "com.microsoft": 1}
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(*entry) for entry in opsets.items()],
            ir_version=10,
            producer_name="wav-policy",
        )
        onnx.save(model, path)
        return model
