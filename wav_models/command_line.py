"""From words on the command line to typed arguments, checked before anything is loaded or moved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import NoneType
from typing import Annotated, Any, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from wav_models.configuration import Range, check_values

Arguments = TypeVar("Arguments")

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
"""An option that is given or not."""

Port = Annotated[int, Range(0, 65535)]
"""Of TCP."""

_WORDS = ConstructorRegistry()
"""How the help calls what Python has another name for."""


@_WORDS.primitive_rule
def _nothing(type_info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[None] | None:
    """The default of an option that may be left out."""
    if type_info.type is not NoneType:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="none",
        instance_from_str=lambda _: None,
        is_instance=lambda value: value is None,
        str_from_instance=lambda _: ["none"],
        choices=("none",),
    )


def option(field: str) -> str:
    """How a field of the arguments is called on the command line."""
    return f"--{field.replace('_', '-')}"


def parsed(cls: type[Arguments], prog: str, argv: Sequence[str], description: str | None = None) -> Arguments:
    """Arguments of a command; words that are none end the process with exit code 2 and tyro's message.

    Args:
        description: of the command, for its help; what the class says of itself when None.

    Raises:
        ConfigurationError: a value is not what its field takes, such as a number outside of the range of its type.
    """
    config = (tyro.conf.DisallowNone,)  # what is not given is left out: there is no word for it
    return _checked(tyro.cli(cls, prog=prog, description=description, args=argv, config=config, registry=_WORDS))


def parsed_command(commands: Mapping[str, Callable[..., Any]], prog: str, argv: Sequence[str]) -> Any:
    """As `parsed`, for a command that has commands of its own, each with a class of arguments."""
    return _checked(tyro.extras.subcommand_cli_from_dict(dict(commands), args=argv, prog=prog))


def _checked(arguments: Arguments) -> Arguments:
    check_values(arguments, option)
    return arguments
