"""How a dataset of another lab becomes one of two Piper arms: cameras, joints, units, actions, rate.

A mapping guesses nothing: what it does not say is as in this project's own datasets. `suggestion` proposes one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np

from wav_models.alignment import IndexArray
from wav_models.configuration import Range, check_choice, did_you_mean
from wav_models.data.joint_names import spelled_as_ours
from wav_models.data.layout import ACTION_KEY, STATE_KEY, VIDEO_KEYS
from wav_models.types import ANGLES, JOINT_DIM, JOINT_NAMES, VIEWS, FloatArray

GROUPS = {"angles": tuple(ANGLES), "grippers": tuple(j for j in range(JOINT_DIM) if j not in ANGLES)}
"""Joints that `scale` and `offset` take together."""

Actions = Literal["absolute", "relative", "relative_angles"]


@dataclass(frozen=True)
class DataMapping:
    """Where everything of a frame is found, and what its numbers mean: ours = scale * theirs + offset.

    Attributes:
        cameras: feature of every view.
        state, action: features of the joints.
        joints: of each of the 14 joints, in our order, the name or the column in the dataset; None: they are named as
            ours, in any order and spelling.
        scale: by joint name of ours, "angles" or "grippers"; 1 where nothing is said. To rad and m.
        offset: the same, added after scaling [rad, m]; 0 where nothing is said.
        actions: joint targets; or "relative": what is added to the state of the same frame, to that of the grippers
            too unless "relative_angles".
        fps: rate that is wanted [Hz]; the dataset's own when None.
        instruction: of episodes that have none.

    Raises:
        ValueError: a view is missing or unknown, or there are not 14 different joints.
    """

    cameras: dict[str, str] = field(default_factory=lambda: dict(VIDEO_KEYS))
    state: str = STATE_KEY
    action: str = ACTION_KEY
    joints: tuple[str | int, ...] | None = None
    scale: dict[str, float] = field(default_factory=dict)
    offset: dict[str, float] = field(default_factory=dict)
    actions: Actions = "absolute"
    fps: Annotated[int, Range(1)] | None = None
    instruction: str | None = None

    def __post_init__(self) -> None:
        for view in self.cameras:
            check_choice("view", view, VIEWS)
        if missing := [view for view in VIEWS if view not in self.cameras]:
            raise ValueError(f"cameras: no feature for {', '.join(missing)}")
        if len(set(self.cameras.values())) < len(self.cameras):
            raise ValueError(f"cameras: one feature for two views: {self.cameras}")
        if self.joints is not None and not len(self.joints) == len(set(self.joints)) == JOINT_DIM:
            raise ValueError(f"joints: {len(set(self.joints))} different ones of {len(self.joints)}; {JOINT_DIM} fit")
        for name in ("scale", "offset"):
            for joint in getattr(self, name):
                check_choice(f"joint of {name}", joint, (*JOINT_NAMES, *GROUPS))

    def columns(self, feature: str, width: int, names: Sequence[object]) -> list[int]:
        """Of each of our joints, the column in a feature that is `width` wide and names them so (or not at all).

        Raises:
            ValueError: a joint is not there, or its name means nothing.
        """
        if self.joints is None:
            found = spelled_as_ours(names)
            if len(names) != width or set(found) != set(JOINT_NAMES):
                there = ", ".join(map(str, names)) if names else f"no names for {width} columns"
                raise ValueError(
                    f"{feature}: {there}; two Piper arms have {', '.join(JOINT_NAMES)}. Say in `joints` which is which"
                )
            return [found.index(joint) for joint in JOINT_NAMES]
        columns = []
        for joint in self.joints:
            if isinstance(joint, int) and not isinstance(joint, bool):
                if not 0 <= joint < width:
                    raise ValueError(f"{feature}: there is no column {joint}; it is {width} wide")
                columns.append(joint)
            elif joint in names:
                columns.append(list(names).index(joint))
            else:
                raise ValueError(f"{feature}: unknown joint {joint!r}{did_you_mean(joint, map(str, names))}")
        return columns

    def apply(self, states: FloatArray, actions: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Numbers of the dataset, already in our order, in our units: states and absolute joint targets.

        Args:
            states, actions: shape [T, 14].

        Returns:
            The same shapes, rad and m.
        """
        scale, offset = self._per_joint(self.scale, 1.0), self._per_joint(self.offset, 0.0)
        states = scale * states + offset
        relative = np.zeros(JOINT_DIM, dtype=np.bool_)
        if self.actions != "absolute":
            relative[ANGLES if self.actions == "relative_angles" else slice(None)] = True
        return states, scale * actions + np.where(relative, states, offset)

    @staticmethod
    def _per_joint(values: dict[str, float], default: float) -> FloatArray:
        """Shape [14]; single joints count more than groups."""
        array = np.full(JOINT_DIM, default)
        for name, joints in GROUPS.items():
            array[list(joints)] = values.get(name, default)
        for joint, name in enumerate(JOINT_NAMES):
            array[joint] = values.get(name, array[joint])
        return array


def resampled_length(length: int, fps: float, rate: float) -> int:
    """Frames at `rate` [Hz] within an episode of `length` frames at `fps` [Hz]."""
    return int((length - 1) / fps * rate + 1e-6) + 1 if length else 0


def resample(
    states: FloatArray, actions: FloatArray, fps: float, rate: float
) -> tuple[FloatArray, FloatArray, IndexArray]:
    """An episode of T frames at `fps` [Hz] as one at `rate` [Hz].

    Action f is due at frame f + 1; so is that of a resampled frame, at the next resampled one.

    Returns:
        States and actions, interpolated, shape [N, 14]; the nearest recorded frame of each (of two, the earlier), shape
        [N].
    """
    count, recorded = resampled_length(len(states), fps, rate), np.arange(len(states)) / fps
    times = np.arange(count) / rate

    def at(moments: FloatArray, rows: FloatArray, known: FloatArray) -> FloatArray:
        return np.stack([np.interp(moments, known, column) for column in rows.T], axis=1)

    frames = np.clip(np.ceil(times * fps - 0.5 - 1e-6).astype(np.int64), 0, len(states) - 1)
    return at(times, states, recorded), at(times + 1.0 / rate, actions, recorded + 1.0 / fps), frames
