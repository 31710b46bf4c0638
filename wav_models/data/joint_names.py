"""What other people's datasets call the joints of arms: other spellings, counts from 0, names of another robot."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from wav_models.embodiment import Channel

_SIDES: Final = {"left": "left", "l": "left", "right": "right", "r": "right"}
_PLAIN: Final = {"joint", "j", "pos", "position"}
"""Words that change nothing about which joint is meant."""
_OTHER_QUANTITIES: Final = re.compile(
    "q?vel|velocity|speed|acc|acceleration|eff|effort|torque|tau|current|temp(erature)?"
)
"""Words for what is told of a joint beside where it is."""
_OF_A_POSE: Final = {
    *("x", "y", "z", "rx", "ry", "rz", "qx", "qy", "qz", "qw"),
    *("eef", "ee", "tcp", "cartesian", "pose", "poses", "quat", "quaternion", "orientation"),
}
_OF_JOINTS: Final = re.compile("joints?|arms?|grippers?|q?pos|positions?")
_NAMED: Final = ("waist", "shoulder", "elbow", "forearm roll", "wrist angle", "wrist rotate")
"""Six joints as ALOHA's arms have them, from the base on."""
_GRIPPER: Final = re.compile("grippers?")
_AT_THE_GRIPPER: Final = -1

_Place = tuple[str | None, int | None]
"""Which arm, and which of its joints, counted from its base, or `_AT_THE_GRIPPER`; None where a name does not say."""


def side_of(name: str) -> str | None:
    """ "left" or "right", where a name says one of them."""
    sides = {_SIDES[word] for word in _words(name) if word in _SIDES}
    return sides.pop() if len(sides) == 1 else None


def spelled_as_ours(names: Sequence[object], joints: Sequence[Channel]) -> list[str | None]:
    """Of every name, the name of ours where only the spelling differs ("left_joint_1.pos"), else None."""
    ours, known = _by_place(joints, strict=True), {joint.name for joint in joints}
    return [name if name in known else ours.get(_place(name, strict=True)) for name in map(str, names)]


def joints_meant(names: Sequence[object], joints: Sequence[Channel]) -> list[str | None]:
    """Of every name, ours where it is of an arm that counts from 0 or 1 or is named like ALOHA's, else None."""
    places, ours = [_place(str(name), strict=False) for name in names], _by_place(joints, strict=False)
    if any(number == 0 for _, number in places):
        places = [(side, n if n is None or n == _AT_THE_GRIPPER else n + 1) for side, n in places]
    return [ours.get(place) for place in places]


def of_poses(names: Sequence[object]) -> bool:
    """Whether they are of positions and directions in space, and so not of joints."""
    return any(word in _OF_A_POSE for name in names for word in _words(str(name)))


def is_gripper(name: object) -> bool:
    """Whether a name says that it is of a gripper, of whichever arm."""
    return _place(str(name), strict=False)[1] == _AT_THE_GRIPPER


def of_joints(feature: str) -> bool:
    """Whether the name of a feature says that it holds where joints or arms are, or shall be."""
    words = _words(feature)
    return (
        bool(any(map(_OF_JOINTS.fullmatch, words)) or side_of(feature))
        and not of_poses([feature])
        and not any(map(_OTHER_QUANTITIES.fullmatch, words))
    )


def _by_place(joints: Sequence[Channel], *, strict: bool) -> dict[_Place, str]:
    """Our names; a gripper is the joint after an arm's last one, too."""
    found = {_place(joint.name, strict=strict): joint.name for joint in joints}
    for side in {side for side, _ in found}:
        last = max(number or 0 for other, number in found if other == side)
        found.pop((side, None), None)
        if last and (side, _AT_THE_GRIPPER) in found:
            found[side, last + 1] = found[side, _AT_THE_GRIPPER]
    return found


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z]+|\d+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())


def _place(name: str, *, strict: bool) -> _Place:
    """Where a joint is, by its name.

    Args:
        strict: other words than plain ones mean another joint.
    """
    rest = [word for word in _words(name) if word not in _SIDES and word not in _PLAIN]
    side, numbers = side_of(name), [int(word) for word in rest if word.isdigit()]
    if any(map(_OTHER_QUANTITIES.fullmatch, rest)):
        return side, None
    if any(map(_GRIPPER.fullmatch, rest)) and not (strict and len(rest) > 1):
        return side, _AT_THE_GRIPPER
    if len(numbers) == 1 and not (strict and len(rest) > 1):
        return side, numbers[0]
    text = " ".join(rest)
    named = [number for number, joint in enumerate(_NAMED, start=1) if joint in text and not strict]
    return side, named[0] if len(named) == 1 else None
