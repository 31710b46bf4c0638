"""Whatever a file, a parameter or an argument holds: a configuration of the right types, or one message why not."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from wav_models.configuration import (
    ConfigurationError,
    NotNegative,
    Positive,
    Range,
    did_you_mean,
    flat_hints,
    from_dict,
    from_flat,
    from_texts,
    load,
    read,
    with_settings,
)

T = TypeVar("T")


@dataclass(frozen=True)
class Inner:
    rate: Positive = 1.0
    share: Annotated[float, Range(0.0, 1.0)] = 0.5
    pair: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.pair[0] > self.pair[1]:
            raise ValueError(f"pair {self.pair} must ascend")


@dataclass(frozen=True)
class Outer:
    name: str
    count: Annotated[int, Range(1, 9)] = 1
    flag: bool = False
    kind: Literal["fast", "slow"] = "fast"
    deadline: NotNegative | None = None
    offsets: tuple[int, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
ANYTHING = st.recursive(
    SCALARS,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5), inside, max_size=3),
    max_leaves=6,
)
INNERS = st.builds(
    Inner,
    rate=st.floats(1e-9, 1e9),
    share=st.floats(0.0, 1.0),
    pair=st.tuples(st.floats(-1e9, 0.0), st.floats(0.0, 1e9)),
)
OUTERS = st.builds(
    Outer,
    name=st.text(max_size=5),
    count=st.integers(1, 9),
    flag=st.booleans(),
    kind=st.sampled_from(["fast", "slow"]),
    deadline=st.none() | st.floats(0.0, 1e9),
    offsets=st.lists(st.integers(), max_size=4).map(tuple),
    notes=st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
    inner=INNERS,
)


def fits(config: Outer) -> bool:
    """Whether everything is as the hints say, looked at anew."""
    inner = config.inner
    numbers = (inner.rate, inner.share, *inner.pair, *(() if config.deadline is None else (config.deadline,)))
    return (
        type(config.name) is str
        and type(config.count) is int
        and 1 <= config.count <= 9
        and type(config.flag) is bool
        and config.kind in ("fast", "slow")
        and all(type(number) is float and math.isfinite(number) for number in numbers)
        and (config.deadline is None or config.deadline >= 0.0)
        and all(type(offset) is int for offset in config.offsets)
        and type(config.offsets) is tuple
        and all(type(note) is str for note in config.notes.values())
        and inner.rate > 0.0
        and 0.0 <= inner.share <= 1.0
        and inner.pair[0] <= inner.pair[1]
    )


def attempt(action: Callable[[], T]) -> tuple[T | None, str]:
    """What came of it, or the message of the one error there may be."""
    try:
        return action(), ""
    except ConfigurationError as error:
        return None, str(error)


@given(OUTERS)
def test_what_is_written_is_read(config: Outer) -> None:
    assert from_dict(Outer, asdict(config)) == config
    assert from_dict(Outer, json.loads(json.dumps(asdict(config)))) == config
    assert from_dict(Outer, yaml.safe_load(yaml.safe_dump(json.loads(json.dumps(asdict(config)))))) == config


@given(INNERS)
def test_parameters_are_named_by_dots_and_arguments_are_texts(inner: Inner) -> None:
    flat = {f"inner.{name}": value for name, value in asdict(inner).items()}
    assert from_flat(Outer, {"name": "x", **flat}).inner == inner
    texts = {name: repr(value) for name, value in asdict(inner).items() if name != "pair"}
    assert from_texts(Inner, texts) == Inner(inner.rate, inner.share)
    assert set(flat) < set(flat_hints(Outer))


@given(ANYTHING | st.dictionaries(st.sampled_from([f.name for f in fields(Outer)]), ANYTHING))
def test_anything_else_is_one_typed_error(data: Any) -> None:
    config, message = attempt(lambda: from_dict(Outer, data, "file.yaml"))
    if config is not None:
        assert fits(config)
    else:
        assert message.startswith("file.yaml: ")
        assert len(message) < 400
        assert "\n" not in message


@given(st.binary(max_size=200), st.sampled_from(["json", "yaml"]))
def test_any_bytes_are_a_mapping_or_one_typed_error(tmp_path_factory: Any, data: bytes, suffix: str) -> None:
    path = tmp_path_factory.getbasetemp() / f"any.{suffix}"
    path.write_bytes(data)
    found, message = attempt(lambda: read(path))
    assert isinstance(found, dict) or message.startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"nam": "x"}, r"file: unknown key 'nam'; did you mean 'name'\? Valid: count, deadline"),
        ({}, "file: key 'name' is missing"),
        ({"name": "x", "inner": {"rat": 1}}, r"file: inner: unknown key 'rat'; did you mean 'rate'"),
        ({"name": "x", "inner": {"rate": 0}}, "file: inner.rate is 0; a number above 0 fits"),
        ({"name": "x", "inner": {"rate": math.nan}}, "file: inner.rate is nan; a finite number above 0 fits"),
        ({"name": "x", "inner": {"rate": 10**400}}, r"file: inner.rate is 10+\.\.\.; a finite number above 0"),
        ({"name": "x", "inner": {"rate": "1e-3"}}, r"file: inner.rate is '1e-3', a text; write 1\.0e-3"),
        ({"name": "x", "inner": {"share": 1.5}}, "file: inner.share is 1.5; a number from 0 to 1 fits"),
        ({"name": "x", "inner": {"pair": [0.0, None]}}, r"file: inner.pair\[1\] is None; a number fits"),
        ({"name": "x", "inner": {"pair": [1.0, 0.0]}}, r"file: inner: pair \(1.0, 0.0\) must ascend"),
        ({"name": "x", "inner": {"pair": [1.0]}}, r"file: inner.pair is \[1.0\]; a list of 2 fits"),
        ({"name": "x", "count": True}, "file: count is True; a whole number from 1 to 9 fits"),
        ({"name": "x", "flag": "true"}, "file: flag is 'true', a text; true or false fits"),
        ({"name": "x", "kind": "medium"}, "file: kind is 'medium', a text; 'fast' or 'slow' fits"),
        ({"name": "x", "deadline": -1.0}, "deadline is -1.0; a number of at least 0 or nothing fits"),
        ({"name": "x", "notes": {"a": 1}}, "notes.a is 1; a text fits"),
        ({"name": "x" * 1000, "count": [0] * 1000}, r"count is \[0, .*\.\.\.; a whole"),
        ([1], "file: expected a mapping, got list"),
        ({"name": "x", "inner": 1}, "file: inner: expected a mapping, got int"),
    ],
)
def test_a_fault_names_place_key_value_and_what_fits(data: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        from_dict(Outer, data, "file")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "name: x\nname: y\n", "a.yaml: key 'name' is given twice"),
        ("a.json", '{"name": "x", "name": "y"}', "a.json: key 'name' is given twice"),
        ("a.yaml", "{[name]: x}\n", "a.yaml: not YAML: .*unhashable key"),
        ("a.json", '{"name": "x", "inner": {"rate": NaN}}', "a.json: inner.rate is nan; a finite number"),
        ("a.json", "[" * 100_000, "a.json: not JSON"),
        ("a.yaml", "[" * 10_000, "a.yaml: not YAML"),
        ("a.json", "x" * 2_000_000, "a.json: 2000000 bytes are too many"),
        ("a.yaml", "name: !!python/object/apply:os.getpid []", "a.yaml: not YAML"),
    ],
)
def test_a_file_is_read_strictly(name: str, text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        load(Outer, path)


def test_merged_yaml_keys_may_be_overridden(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("name: x\ninner: &one {rate: 2.0}\nnotes: {<<: {a: b}, a: c}\n")
    assert load(Outer, path).notes == {"a": "c"}


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.yaml: no such file"):
        read(tmp_path / "none.yaml")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read(tmp_path)


def test_a_list_as_launch_ros_writes_it_is_a_list(tmp_path: Path) -> None:
    """Nothing else that Python knows is made from a file."""
    file = tmp_path / "launch_params"
    file.write_text("/**:\n  ros__parameters:\n    names: !!python/tuple\n    - a\n    - b\n")
    assert read(file) == {"/**": {"ros__parameters": {"names": ["a", "b"]}}}
    file.write_text("a: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(ConfigurationError, match="not YAML"):
        read(file)


@dataclass(frozen=True)
class Slower:
    inner: Inner = field(default_factory=lambda: Inner(rate=0.1, share=0.2))


def test_what_is_absent_keeps_the_default_of_its_place() -> None:
    """Not that of its class, which other places have."""

    @dataclass(frozen=True)
    class Whole:
        slower: Slower = field(default_factory=lambda: Slower(Inner(rate=0.01, share=0.3)))

    assert from_dict(Slower, {"inner": {"share": 0.9}}) == Slower(Inner(rate=0.1, share=0.9))
    assert from_dict(Whole, {"slower": {"inner": {"share": 0.9}}}) == Whole(Slower(Inner(rate=0.01, share=0.9)))
    assert from_dict(Whole, {"slower": {}}) == Whole()


def test_a_setting_that_is_given_twice_is_refused() -> None:
    assert with_settings({"a": {"b": 1}}, ["a.b=2", "a.c=3"]) == {"a": {"b": 2, "c": 3}}
    with pytest.raises(ConfigurationError, match=r"planner: a\.b is given twice"):
        with_settings({"a": {"b": 1}}, ["a.b=2", "a.b=3"], "planner")


def test_a_list_that_nobody_reads_is_left_out_once_the_nearest_is_told() -> None:
    names = [*(f"parameter_{number:03}" for number in range(100)), "velocity"]
    assert did_you_mean("velocty", names) == "; did you mean 'velocity'?"
    assert did_you_mean("velocty", names[-3:]).endswith("Valid: parameter_098, parameter_099, velocity")
    assert "parameter_050" in did_you_mean("zzz", names)
