"""What a configuration's docstrings say is found under the flat names of its fields."""

from __future__ import annotations

from dataclasses import dataclass, field

from wav_models.field_descriptions import flat_descriptions


@dataclass(frozen=True)
class Inner:
    """Of a motor.

    Attributes:
        speed: how fast it turns: forwards,
            or backwards [rad/s].
        left, right: which side.
    """

    speed: float = 0.0
    left: bool = False
    right: bool = True


@dataclass(frozen=True)
class Outer:
    """A robot."""

    name: str = ""
    """What it is called,
    in words."""
    silent: bool = False
    inner: Inner = field(default_factory=Inner)
    """Not of a value."""


def test_both_ways_to_write_them_are_understood() -> None:
    assert flat_descriptions(Outer) == {
        "name": "What it is called, in words.",
        "silent": "",
        "inner.speed": "how fast it turns: forwards, or backwards [rad/s].",
        "inner.left": "which side.",
        "inner.right": "which side.",
    }
