"""The one strict way from YAML, JSON, ROS parameters and launch arguments to a typed configuration.

A configuration is a frozen dataclass. Its hints say what fits: bool, int, float, str, Path, `Literal`, tuples,
mappings, unions, other dataclasses, and `Annotated[float, Range(...)]` for what must lie in a range. Nothing is guessed
but that a whole number does for a number and a list for a tuple; numbers must be finite.
"""

from __future__ import annotations

import copy
import difflib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")

_MAX_FILE: Final = 1_000_000
"""No configuration is larger [bytes]."""
_MAX_NUMBER: Final = 1.7e308
"""Beyond it, and above all infinite, is no quantity."""
_MAX_SHOWN: Final = 80
"""Characters of a value in a message."""
_MAX_LISTED: Final = 500
"""Characters of a list that is still read when the nearest has been told."""


class ConfigurationError(ValueError):
    """A key that there is not, one that is missing, or a value that does not fit; names place, key, value and remedy.

    Attributes:
        key: flat name of the key to blame; "" where it is not a single one.
    """

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(message)
        self.key = key


@dataclass(frozen=True)
class Range:
    """For `Annotated`: the number lies between `low` and `high`, both included unless `above` excludes the low one."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False

    def __contains__(self, number: float) -> bool:
        return (number > self.low if self.above else number >= self.low) and number <= self.high

    def __str__(self) -> str:
        low = f" {'above' if self.above else 'from'} {self.low:g}" if self.low > -math.inf else ""
        high = f" {'to' if low else 'up to'} {self.high:g}" if self.high < math.inf else ""
        return f"{low}{high}" if high or self.above or not low else f" of at least {self.low:g}"


Positive = Annotated[float, Range(0.0, above=True)]
NotNegative = Annotated[float, Range(0.0)]
Count = Annotated[int, Range(0)]
AtLeastOne = Annotated[int, Range(1)]


def did_you_mean(name: Any, valid: Iterable[str]) -> str:
    """Ending of an error message: the closest valid name, and all valid ones where they are few or none is close."""
    names = sorted(valid)
    listed = ", ".join(names)
    close = difflib.get_close_matches(str(name)[:_MAX_SHOWN], names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    return hint if close and len(listed) > _MAX_LISTED else f"{hint} Valid: {listed}"


def check_choice(what: str, value: Any, choices: Iterable[str]) -> None:
    """ConfigurationError with the nearest of the choices unless the value is one of them."""
    choices = tuple(choices)
    if value not in choices:
        raise ConfigurationError(f"unknown {what} {_shown(value)}{did_you_mean(value, choices)}")


def from_dict(cls: type[T], data: Mapping[str, Any], where: str = "") -> T:
    """Build a configuration strictly from nested mappings; what is absent keeps its default.

    Args:
        cls: dataclass.
        data: what YAML or JSON hold.
        where: file or node, for messages.

    Raises:
        ConfigurationError: see there.
    """
    return _build(cls, data, where, "")


def from_flat(cls: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """The same from `{"outer.inner": value}`, as ROS parameters are named."""
    valid = flat_hints(cls)
    nested: dict[str, Any] = {}
    for name, value in values.items():
        if name not in valid:
            place, names = _at(where or cls.__name__), did_you_mean(name, valid)
            raise ConfigurationError(f"{place}unknown parameter {name!r}{names}", name)
        *outer, inner = name.split(".")
        level = nested
        for key in outer:
            level = level.setdefault(key, {})
        level[inner] = value
    return _build(cls, nested, where, "")


def from_texts(cls: type[T], texts: Mapping[str, str], where: str = "") -> T:
    """The same from texts, as launch arguments are; true and false, and numbers as Python writes them."""
    hints = get_type_hints(cls, include_extras=True)
    return _build(cls, {name: _from_text(text, hints.get(name)) for name, text in texts.items()}, where, "")


def with_assignments(config: T, assignments: Sequence[str], where: str = "") -> T:
    """The same with the values of texts "NAME=VALUE", as on a command line; values are written as in YAML.

    Raises:
        ConfigurationError: see there; or a text is no assignment.
    """
    return from_dict(type(config), with_settings(asdict(config), assignments, where), where)  # type: ignore[call-overload]


def flat_hints(cls: type, prefix: str = "") -> dict[str, Any]:
    """Types of all values of a configuration by flat name, as `from_flat` takes them, in field order, with what
    `Annotated` says."""
    hints = get_type_hints(cls, include_extras=True)
    found: dict[str, Any] = {}
    for field in fields(cls):
        if is_dataclass(hint := hints[field.name]):
            found |= flat_hints(cast(type, hint), f"{prefix}{field.name}.")
        else:
            found[prefix + field.name] = hint
    return found


def range_of(hint: Any) -> Range | None:
    """Of a number that must lie in one."""
    rules = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return next((rule for rule in rules if isinstance(rule, Range)), None)


def check_values(config: Any, named: Callable[[str], str] = str) -> None:
    """ConfigurationError for a value that its field does not take, of a configuration that was built by other means.

    Args:
        config: a dataclass.
        named: how a field is called in the message.
    """
    for name, hint in flat_hints(type(config)).items():
        try:
            _converted(getattr(config, name), hint)
        except _Misfit as misfit:
            raise ConfigurationError(f"{named(name)}{misfit}", name) from None


def load(cls: type[T], path: Path, settings: Iterable[str] = ()) -> T:
    """Read a configuration from a `.json` or `.yaml` file.

    Args:
        settings: "outer.inner=value" each, with a value as YAML writes it; they count more than the file.

    Raises:
        ConfigurationError: see there; or as `read`.
    """
    return from_dict(cls, with_settings(read(path), settings), str(path))


def parse_json(text: str | bytes, hook: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """What JSON says; ValueError where it is none, also where it is nested too deeply for Python.

    Args:
        hook: makes what becomes of an object's pairs; a dictionary by default.
    """
    try:
        return json.loads(text, object_pairs_hook=hook)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def with_settings(data: Mapping[str, Any], settings: Iterable[str], where: str = "") -> dict[str, Any]:
    """Nested mappings in which some keys have other values.

    Args:
        settings: "outer.inner=value" each, with a value as YAML writes it.
        where: for messages.

    Raises:
        ConfigurationError: not of that form, a part of the key is no mapping, or a key comes twice.
    """
    nested: dict[str, Any] = copy.deepcopy(dict(data))
    seen: set[str] = set()
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not (key and equals):
            raise ConfigurationError(f"{_at(where)}{_shown(setting)} is no NAME=VALUE")
        if key in seen:
            raise ConfigurationError(f"{_at(where)}{key} is given twice", key)
        seen.add(key)
        *outer, inner = key.strip().split(".")
        level = nested
        for name in outer:
            level = level.setdefault(name, {})
            if not isinstance(level, dict):
                raise ConfigurationError(f"{_at(where)}{key}: {name} has no keys of its own", key)
        level[inner] = _setting(text)
    return nested


def _setting(text: str) -> Any:
    """As YAML, and 3e-4 is a number as everywhere but there."""
    try:
        return float(text) if re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", text.strip()) else _read_yaml(text, None)
    except ValueError as error:
        raise ConfigurationError(f"{text!r} is not YAML: {' '.join(str(error).split())}") from error


def read(path: Path) -> dict[str, Any]:
    """The mapping that a `.json` or `.yaml` file holds; an empty YAML file is an empty mapping.

    Raises:
        ConfigurationError: no such file, one that cannot be read, is too large or malformed, names a key twice, or
            holds no mapping.
    """
    try:
        if (size := path.stat().st_size) > _MAX_FILE:
            raise ConfigurationError(f"{path}: {size} bytes are too many for a configuration")
        text = path.read_text(encoding="utf-8")
        data = parse_json(text, _once) if path.suffix == ".json" else _read_yaml(text, {})
    except FileNotFoundError as error:
        raise ConfigurationError(f"{path}: no such file") from error
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from error
    except ConfigurationError as error:
        raise error if str(error).startswith(str(path)) else ConfigurationError(f"{path}: {error}") from None
    except (ValueError, RecursionError) as error:
        kind = "JSON" if path.suffix == ".json" else "YAML"
        raise ConfigurationError(f"{path}: not {kind}: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise ConfigurationError(f"{path}: expected a mapping, got {type(data).__name__}")
    return data


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ConfigurationError(f"key {next(key for key in keys if keys.count(key) > 1)!r} is given twice")
    return found


def _read_yaml(text: str, empty: Any) -> Any:
    """What the text says; `empty` where it says nothing."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Takes no key twice."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            scalars = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            _once([(key.value, None) for key in scalars if key.tag != "tag:yaml.org,2002:merge"])
            return super().construct_mapping(node, deep)

    # What launch_ros writes for a list.
    as_list: Any = yaml.SafeLoader.construct_yaml_seq
    Loader.add_constructor("tag:yaml.org,2002:python/tuple", as_list)
    try:
        data = yaml.load(text, Loader)
        return empty if data is None else data
    except yaml.YAMLError as error:
        raise ValueError(error) from error


def _build(cls: type[T], data: Any, where: str, path: str, absent: Mapping[str, Any] | None = None) -> T:
    """As `from_dict`; `absent` has what keys that are absent are, where that is not the class's own default."""
    place = _at(where or ("" if path else cls.__name__)) + _at(path)
    if not isinstance(data, Mapping):
        raise ConfigurationError(f"{place}expected a mapping, got {type(data).__name__}")
    hints = get_type_hints(cls, include_extras=True)
    known = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]
    values = dict(absent or {})
    for key in data:
        if key not in known:
            raise ConfigurationError(f"{place}unknown key {_shown(key)}{did_you_mean(key, known)}")
    for name, field in known.items():
        if name not in (*data, *values) and field.default is MISSING and field.default_factory is MISSING:
            raise ConfigurationError(f"{place}key {name!r} is missing")
    for key, value in data.items():
        inner = f"{path}.{key}" if path else key
        if is_dataclass(hint := hints[key]):
            values[key] = _build(cast(type, hint), value, where, inner, _defaults_in(known[key], values))
            continue
        try:
            values[key] = _converted(value, hint)
        except _Misfit as misfit:
            raise ConfigurationError(f"{_at(where or cls.__name__)}{inner}{misfit}", inner) from None
        except ConfigurationError as error:  # of a dataclass in a tuple, a dict or a union
            raise ConfigurationError(f"{_at(where or cls.__name__)}{_at(inner)}{error}", inner) from None
    try:
        return cls(**values)
    except ValueError as error:
        raise ConfigurationError(f"{place}{error}") from error


def _defaults_in(field: Field[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """What a dataclass holds that is made for this field where nothing is given, or that `values` has for it."""
    if field.name not in values and field.default_factory is MISSING:
        return {}
    made = values[field.name] if field.name in values else field.default_factory()  # type: ignore[operator]
    return {each.name: getattr(made, each.name) for each in fields(made)}


def _at(place: str) -> str:
    return f"{place}: " if place else ""


class _Misfit(Exception):
    """Says which element is what, and what would fit."""

    def __init__(self, value: Any, hint: Any, element: str = "") -> None:
        self.value, self.hint, self.element = value, hint, element
        super().__init__(f"{element} is {_shown(value)}{_remedy(value, hint)}")


def _converted(value: Any, hint: Any) -> Any:
    """The value as the hint wants it, or `_Misfit`."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise _Misfit(value, hint)
        return from_dict(hint, value)
    if origin is Annotated:
        try:
            number = _converted(value, arguments[0])
        except _Misfit:
            raise _Misfit(value, hint) from None
        if any(isinstance(rule, Range) and number not in rule for rule in arguments[1:]):
            raise _Misfit(value, hint)
        return number
    if origin in (Union, UnionType):
        return _any_of(value, hint)
    if origin is tuple:
        return _tuple(value, hint)
    if origin is dict:
        if not isinstance(value, dict):
            raise _Misfit(value, hint)
        return {key: _element(item, arguments[1], f".{key}") for key, item in value.items()}
    if origin is Literal:
        fits = value in arguments
    elif hint is float and type(value) in (int, float):
        if -_MAX_NUMBER <= value <= _MAX_NUMBER:
            return float(value)
        fits = False
    elif isinstance(value, bool):
        fits = hint is bool
    else:
        fits = isinstance(value, hint)
    if not fits:
        raise _Misfit(value, hint)
    return value


def _any_of(value: Any, hint: Any) -> Any:
    for each in get_args(hint):
        try:
            return _converted(value, each)
        except _Misfit:
            continue
    raise _Misfit(value, hint)


def _tuple(value: Any, hint: Any) -> tuple[Any, ...]:
    items = value.tolist() if hasattr(value, "tolist") else value  # of ROS arrays
    hints = get_args(hint)
    if not isinstance(items, (list, tuple)):
        raise _Misfit(value, hint)
    if hints[1:] == (...,):
        hints = hints[:1] * len(items)
    if len(items) != len(hints):
        raise _Misfit(value, hint)
    return tuple(_element(item, each, f"[{i}]") for i, (item, each) in enumerate(zip(items, hints, strict=True)))


def _element(value: Any, hint: Any, name: str) -> Any:
    try:
        return _converted(value, hint)
    except _Misfit as misfit:
        raise _Misfit(misfit.value, misfit.hint, name + misfit.element) from None


def _from_text(text: str, hint: Any) -> Any:
    """What the text says if it says what the hint wants; otherwise the text, which is refused then."""
    kind = get_args(hint)[0] if get_origin(hint) in (Annotated, UnionType) else hint
    if kind is bool:
        return {"true": True, "false": False}.get(text, text)
    if kind is Path:
        return Path(text).expanduser().absolute()
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            return text
    return text


_WORDS: Final[dict[Any, str]] = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    dict: "a mapping",
    Path: "a path",
    NoneType: "nothing",
}


def what_fits(hint: Any) -> str:
    """In words, what a field of this type takes."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return what_fits(arguments[0]) + "".join(str(rule) for rule in arguments[1:] if isinstance(rule, Range))
    if origin in (Union, UnionType):
        return " or ".join(map(what_fits, arguments))
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if origin is tuple:
        return f"a list of {what_fits(arguments[0])} each" if arguments[1:] == (...,) else f"a list of {len(arguments)}"
    if is_dataclass(hint):
        return "a mapping"
    return _WORDS.get(origin or hint, str(hint))


def _remedy(value: Any, hint: Any) -> str:
    """Ending of an error message: what kind of value it is, and what would fit."""
    fits = what_fits(hint)
    if type(value) in (int, float) and not -_MAX_NUMBER <= value <= _MAX_NUMBER:
        return f"; {fits.replace('a number', 'a finite number')} fits"
    if not isinstance(value, str):
        return f"; {fits} fits"
    if "a number" in fits and (number := re.fullmatch(r"([+-]?\d+\.?\d*)[eE]([+-]?\d+)", value)):
        mantissa, exponent = number[1], int(number[2])
        return f", a text; write {mantissa}{'' if '.' in mantissa else '.0'}e{exponent:+d}"
    return f", a text; {fits} fits"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
