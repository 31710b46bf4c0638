"""Puts exported network calls together to larger ONNX graphs: a loop over one network becomes one graph.

The exporter sees every network once; an Euler loop is written here, by copying the nodes of its step. Weights are
shared by all copies, and the runtime then folds what is constant per step (time embeddings, modulation) and computes
what is the same in every step once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


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
    _initializers: dict[str, Any] = field(default_factory=dict)
    _inputs: dict[str, Any] = field(default_factory=dict)
    _outputs: list[Any] = field(default_factory=list)
    _calls: int = 0

    def input_like(self, part: Any, name: str, rename: str | None = None) -> str:
        """Declare an input with the type and shape of an input of `part`; a second time it is the same input."""
        (found,) = [value for value in part.graph.input if value.name == name]
        value = type(found)()
        value.CopyFrom(found)
        value.name = rename or name
        self._inputs.setdefault(value.name, value)
        return value.name

    def constant(self, values: Any) -> str:
        """A float32 constant."""
        from onnx import numpy_helper

        name = f"constant_{len(self._initializers)}"
        self._initializers[name] = numpy_helper.from_array(np.asarray(values, np.float32), name)
        return name

    def apply(self, operator: str, *inputs: str) -> str:
        """The result of one ONNX operator."""
        from onnx import helper

        self._calls += 1
        name = f"{operator}_{self._calls}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], name=f"node_{name}"))
        return name

    def call(self, part: Any, weights: str, bindings: Mapping[str, str]) -> dict[str, str]:
        """Copy the nodes of `part` into this graph.

        Args:
            part: an ONNX model.
            weights: prefix of its initializers; calls with the same prefix share them.
            bindings: value of this graph for every input of `part`.

        Returns:
            Value of this graph for every output of `part`.
        """
        self._calls += 1
        names = {"": ""} | {value.name: bindings[value.name] for value in part.graph.input}
        for initializer in part.graph.initializer:
            names[initializer.name] = name = f"{weights}.{initializer.name}"
            if name not in self._initializers:
                copy = type(initializer)()
                copy.CopyFrom(initializer)
                copy.name = name
                self._initializers[name] = copy
        for node in part.graph.node:
            names |= {output: f"call_{self._calls}.{output}" for output in node.output if output}
            copy = type(node)()
            copy.CopyFrom(node)
            copy.name = f"call_{self._calls}.{node.name}"
            copy.input[:] = [names[value] for value in node.input]
            copy.output[:] = [names[value] for value in node.output]
            self._nodes.append(copy)
        return {value.name: names[value.name] for value in part.graph.output}

    def euler(self, velocity: Callable[[str, str], str], x_0: str, num_steps: int, end: float = 1.0) -> str:
        """`flow.euler` as a graph; `velocity` maps the names of x_t and flow time [1] to that of the velocity."""
        x, dt = x_0, end / num_steps
        for i in range(num_steps):
            step = self.apply("Mul", velocity(x, self.constant([i * dt])), self.constant(dt))
            x = self.apply("Add", x, step)
        return x

    def output_like(self, part: Any, part_name: str, value: str, name: str) -> None:
        """Declare the output `name`, with the type and shape of an input or output of `part`."""
        found = next(v for v in (*part.graph.input, *part.graph.output) if v.name == part_name)
        output = type(found)()
        output.CopyFrom(found)
        output.name = name
        self._outputs.append(output)
        from onnx import helper

        self._nodes.append(helper.make_node("Identity", [value], [name], name=f"node_{name}"))

    def model(self) -> Any:
        """The finished, checked ONNX model."""
        import onnx
        from onnx import helper

        graph = helper.make_graph(
            self._nodes, self.name, list(self._inputs.values()), self._outputs, list(self._initializers.values())
        )
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name="wav-policy")
        onnx.checker.check_model(model)
        return model
