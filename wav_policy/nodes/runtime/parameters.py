"""ROS parameters as a typed configuration: one read-only parameter per field, nested dataclasses as `outer.inner`.

Unknown overrides (from `-p name:=value` or a parameter file) are errors: a misspelt limit must not be ignored. Nor must
a file be whose sections are for nodes of other names, as rcl does: that is said.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from wav_models.configuration import Range, flat_hints, range_of, what_fits
from wav_models.field_descriptions import flat_descriptions
from wav_policy.bringup.parameter_files import section, typed

if TYPE_CHECKING:
    from rcl_interfaces.msg import ParameterDescriptor
    from rclpy.node import Node

T = TypeVar("T")

_LEAST, _GREATEST = -(2**63), 2**63 - 1
"""Whole numbers that ROS knows."""


def declare(node: Node, cls: type[T]) -> T:
    """Declare one read-only parameter per field of `cls` and return the configured instance.

    Args:
        node: its parameter overrides are consumed; its log tells which parameter files apply to it and which do not.
        cls: frozen dataclass as `wav_models.configuration` takes them, with a default for every field.

    Raises:
        ParameterError: an override is no field (names the valid ones), or has the wrong type or value.
    """
    overrides = {name: override.value for name, override in node._parameter_overrides.items()}
    files = parameter_files(sys.argv)
    sections = {file: section(file, node.get_fully_qualified_name()) for file in files}
    config = typed(cls, node.get_name(), overrides, sections)
    _tell(node, sections)
    declare_described(node, describe(config))
    refuse_nonsense(node)
    return config


def parameter_files(arguments: Sequence[str]) -> list[Path]:
    """The files of a node's command line, in the order in which they apply."""
    return [Path(value) for option, value in pairwise(arguments) if option == "--params-file"]


def _tell(node: Node, sections: dict[Path, dict[str, Any] | None]) -> None:
    """Who applies a file says so: whoever starts a node cannot know."""
    logger, name = node.get_logger(), node.get_fully_qualified_name()
    if applied := [str(file) for file, values in sections.items() if values is not None]:
        logger.info(f"parameters from {', '.join(applied)}")
    for file in (file for file, values in sections.items() if values is None):
        logger.error(f"NOTHING in {file} applies to this node: no section is for {name}; name one '/**' or '{name}'")


@dataclass(frozen=True)
class Described:
    """A parameter as `ros2 param describe` shows it.

    Attributes:
        name: flat.
        value: as ROS takes it.
        description: what it means.
        constraints: what fits, in words.
        low, high: least and greatest number; None where there is no limit or no number.
    """

    name: str
    value: Any
    description: str = ""
    constraints: str = ""
    low: float | None = None
    high: float | None = None


def describe(config: Any) -> list[Described]:
    """All values of a configuration, with what its class says about them."""
    kind = type(config)
    texts = flat_descriptions(kind)
    found = []
    for name, hint in flat_hints(kind).items():
        value = attrgetter(name)(config)
        limits = range_of(hint) or Range()
        low, high = (limit if math.isfinite(limit) else None for limit in (limits.low, limits.high))
        ros_value = list(value) if isinstance(value, tuple) else value
        found.append(Described(name, ros_value, texts[name], f"{what_fits(hint)}, set at the start", low, high))
    return found


def declare_described(node: Node, parameters: Iterable[Described]) -> None:
    """Declare read-only parameters, whatever the command line says; those that there are already keep their value."""
    for parameter in parameters:
        descriptor = _descriptor(parameter)
        if node.has_parameter(parameter.name):
            descriptor.type = node.get_parameter(parameter.name).type_.value
            node.set_descriptor(parameter.name, descriptor)
        else:
            node.declare_parameter(parameter.name, parameter.value, descriptor, ignore_override=True)


def refuse_nonsense(node: Node) -> None:
    """Answer whoever sets a parameter of a type that there is not: rclpy raises that in whoever spins the node, and
    leaves the one who asked without an answer.

    Args:
        node: has its parameter services already.
    """
    from rcl_interfaces.srv import SetParameters, SetParametersAtomically

    for service in node.services:
        if service.srv_type in (SetParameters, SetParametersAtomically):
            service.callback = _refusing(service.callback)


def _refusing(callback: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    from rcl_interfaces.msg import SetParametersResult
    from rcl_interfaces.srv import SetParameters
    from rclpy.parameter import Parameter

    kinds = {kind.value for kind in Parameter.Type}

    def answer(request: Any, response: Any) -> Any:
        strange = next((each for each in request.parameters if each.value.type not in kinds), None)
        if strange is None:
            return callback(request, response)
        reason = f"nothing is set: {strange.name[:100]} has a value of type {strange.value.type}, which is none"
        refused = SetParametersResult(successful=False, reason=reason)
        if isinstance(request, SetParameters.Request):
            response.results = [refused] * len(request.parameters)
        else:
            response.result = refused
        return response

    return answer


def _descriptor(parameter: Described) -> ParameterDescriptor:
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    descriptor = ParameterDescriptor(
        description=parameter.description, additional_constraints=parameter.constraints, read_only=True
    )
    if parameter.low is None and parameter.high is None:
        return descriptor
    if isinstance(parameter.value, int):
        low, high = (None if limit is None else int(limit) for limit in (parameter.low, parameter.high))
        whole = IntegerRange(
            from_value=_LEAST if low is None else low, to_value=_GREATEST if high is None else high, step=1
        )
        descriptor.integer_range = [whole]
    else:
        low_end, high_end = parameter.low, parameter.high
        number = FloatingPointRange(
            from_value=-sys.float_info.max if low_end is None else low_end,
            to_value=sys.float_info.max if high_end is None else high_end,
        )
        descriptor.floating_point_range = [number]
    return descriptor
