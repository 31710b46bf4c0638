"""Versions of the arm's firmware, and what is known of each."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

_PATTERN: Final = re.compile(rb"S-V(\d{1,2})\.(\d{1,2})-(\d{1,9})")
_DATE_LENGTH: Final = 6  # YYMMDD, sent right behind the version


@dataclass(frozen=True, order=True)
class FirmwareVersion:
    """Such as S-V1.8-10.

    Attributes:
        built: date of production, "250925"; "" where the arm does not tell.
    """

    major: int
    minor: int
    patch: int
    built: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"S-V{self.major}.{self.minor}-{self.patch}"


@dataclass(frozen=True)
class _Remark:
    """What is known of the versions from `first` to `last`, both included."""

    first: FirmwareVersion
    last: FirmwareVersion
    text: str


def _version(major: int, minor: int, patch: int) -> FirmwareVersion:
    return FirmwareVersion(major, minor, patch)


OLDEST: Final = _version(1, 5, 2)
"""The first that speaks the protocol of this driver (interface V2 of piper_sdk)."""

NEWEST: Final = _version(1, 8, 9)
"""The newest of which something is known here."""

TEACH_NEEDS_RESET_BELOW: Final = _version(1, 8, 5)

_REMARKS: Final = (
    _Remark(
        OLDEST,
        _version(1, 8, 4),
        "teach mode is left only by a reset (0x150), at which the arm falls: support it, then call piper/reset",
    ),
    _Remark(
        OLDEST,
        _version(1, 8, 5),
        "after a program that used MIT mode the arm may ignore joint targets until it is reset (piper_sdk#83)",
    ),
    _Remark(
        _version(1, 8, 2),
        _version(1, 8, 2),
        "may come up as a leader, on identifiers 0x3A*, or with corrupt limits in flash (pyAgxArm#55): look at "
        "`wav arm show` after every start; `wav arm follower` and `wav arm restore-limits` mend it",
    ),
    _Remark(
        _version(1, 8, 6),
        _version(1, 8, 6),
        "loses the true joint angles without telling when it is pushed (piper_sdk#119, #120, #127). Where an arm is "
        "not where it says, only a reset helps, at which it falls: support it, then call piper/left/reset or "
        "piper/right/reset with data true",
    ),
)


def parse_version(told: bytes) -> FirmwareVersion | None:
    """The software version in the answer to 0x4AF.

    Args:
        told: data of all frames, one after the other: hardware, name, software and date without a gap.
    """
    match = _PATTERN.search(told)
    if match is None:
        return None
    digits = match[3].decode()
    patch, built = (digits[:-_DATE_LENGTH], digits[-_DATE_LENGTH:]) if len(digits) > _DATE_LENGTH else (digits, "")
    return FirmwareVersion(int(match[1]), int(match[2]), int(patch), built)


def known_of(version: FirmwareVersion | None) -> tuple[str, ...]:
    """What an operator should know of it; () where nothing speaks against it."""
    if version is None:
        return ("the arm does not tell its firmware version: what is known of versions cannot be looked up",)
    if version < OLDEST:
        return (f"{version} is older than {OLDEST} and speaks another protocol: have it updated by the vendor",)
    if version > NEWEST:
        return (f"{version} is newer than any this driver was written for ({NEWEST}): try it with care",)
    return tuple(f"{version} {r.text}" for r in _REMARKS if r.first <= version <= r.last)
