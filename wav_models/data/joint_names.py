"""What other people's datasets call the joints of two arms: other spellings, counts from 0, names of other robots."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from wav_models.types import ARM_DOF

_SIDES: Final = {"left": "left", "l": "left", "right": "right", "r": "right"}
_PLAIN: Final = {"joint", "j", "pos", "position"}
"""Words that change nothing about which joint is meant."""
_ALOHA: Final = ("waist", "shoulder", "elbow", "forearm roll", "wrist angle", "wrist rotate")
"""Six joints of ALOHA's arms, from the base on; forearm roll is the Piper's fourth."""
_GRIPPER: Final = "gripper"


def spelled_as_ours(names: Sequence[object]) -> tuple[str | None, ...]:
    """Of every name, ours where only the spelling differs ("left_joint_1.pos"), else None."""
    return tuple(_ours(*_parts(str(name), strict=True), shift=0) for name in names)


def joints_meant(names: Sequence[object]) -> tuple[str | None, ...]:
    """Of every name, ours where it is of two arms that count from 0 or 1 or are named like ALOHA's, else None."""
    parts = [_parts(str(name), strict=False) for name in names]
    counted = [joint for _, joint in parts if isinstance(joint, int)]
    shift = 1 if min(counted, default=1) == 0 else 0
    return tuple(_ours(*part, shift=shift) for part in parts)


def _parts(name: str, *, strict: bool) -> tuple[str | None, str | int | None]:
    """Side, and number or "gripper"; None for what the name does not say.

    Args:
        strict: other words than plain ones mean another joint.
    """
    words = re.findall(r"[a-z]+|\d+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    sides = [_SIDES[word] for word in words if word in _SIDES]
    rest = [word for word in words if word not in _SIDES and word not in _PLAIN]
    side = sides[0] if len(sides) == 1 else None
    numbers = [int(word) for word in rest if word.isdigit()]
    if _GRIPPER in rest and not (strict and rest != [_GRIPPER]):
        return side, _GRIPPER
    if len(numbers) == 1 and not (strict and len(rest) > 1):
        return side, numbers[0]
    text = " ".join(rest)
    aloha = [place for place, joint in enumerate(_ALOHA, start=1) if joint in text and not strict]
    return side, aloha[0] if len(aloha) == 1 else None


def _ours(side: str | None, joint: str | int | None, *, shift: int) -> str | None:
    if side is None or joint is None:
        return None
    number = ARM_DOF if joint == _GRIPPER else int(joint) + shift
    if number == ARM_DOF:
        return f"{side}_{_GRIPPER}"
    return f"{side}_joint{number}" if 1 <= number < ARM_DOF else None
