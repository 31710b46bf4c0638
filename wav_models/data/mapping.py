"""How a dataset of another lab becomes one of a robot of ours: cameras, joints, units, actions, rate.

A mapping guesses nothing: what it does not say is as in this project's own datasets. `suggestion` proposes one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np

from wav_models.configuration import Range, check_choice, did_you_mean, read
from wav_models.data.header import feature_of, flat_names, shape_of
from wav_models.data.joint_names import spelled_as_ours
from wav_models.data.layout import ACTION_KEY, STATE_KEY
from wav_models.embodiment import Channel, Embodiment
from wav_models.types import FloatArray, IndexArray
from wav_models.words import counted

GROUPS: Final = ("angles", "grippers")
"""Joints that `scale` and `offset` take together."""

Actions = Literal["absolute", "relative", "relative_angles"]
Role = Literal["state", "action"]


@dataclass(frozen=True)
class DataMapping:
    """Where everything of a frame is found, and what its numbers mean: ours = scale * theirs + offset.

    Attributes:
        cameras: feature of every view; empty: they are named as ours.
        state, action: features of the joints; of several, the columns count through, one feature after the other.
        joints: of each joint of the robot (each number of its state), in our order, the name or the column in the
            dataset; None: they are named as ours, in any order and spelling. Of several features a name is
            FEATURE.NAME, see `joint_features`.
        scale: by joint name of ours, "angles" or "grippers"; 1 where nothing is said. To rad and m.
        offset: the same, added after scaling [rad, m]; 0 where nothing is said.
        action_joints, action_scale, action_offset: the same for the actions. Of joint targets, where they differ from
            the state's; of other commands by their own names, and where nothing is said they are as ours.
        actions: as the robot takes them; or, of joint targets, "relative": what is added to the state of the same
            frame, to that of the grippers too unless "relative_angles".
        fps: rate that is wanted [Hz]; the dataset's own when None, and always where commands are motions: half as many
            would be other ones.
        instruction: of episodes that have none.
        success: feature, or column of the episode table, that says which episodes succeeded; None: as ours do.
        success_from: numbers there from this one on, in any frame, mean success.

    Raises:
        ValueError: one feature is given for two views, one joint for two, no feature, or a number that is none.
    """

    cameras: dict[str, str] = field(default_factory=dict)
    state: str | tuple[str, ...] = STATE_KEY
    action: str | tuple[str, ...] = ACTION_KEY
    joints: tuple[str | int, ...] | None = None
    scale: dict[str, float] = field(default_factory=dict)
    offset: dict[str, float] = field(default_factory=dict)
    action_joints: tuple[str | int, ...] | None = None
    action_scale: dict[str, float] = field(default_factory=dict)
    action_offset: dict[str, float] = field(default_factory=dict)
    actions: Actions = "absolute"
    fps: Annotated[int, Range(1)] | None = None
    instruction: str | None = None
    success: str | None = None
    success_from: float = 1.0

    def __post_init__(self) -> None:
        if len(set(self.cameras.values())) < len(self.cameras):
            raise ValueError(f"cameras: one feature for two views: {self.cameras}")
        for role, keys in (("state", self.features("state")), ("action", self.features("action"))):
            if not keys or len(set(keys)) < len(keys):
                raise ValueError(f"{role}: {len(set(keys))} different features of {len(keys)}; at least one is needed")
        for name, joints in self._joint_lists.items():
            if len(set(joints)) < len(joints):
                raise ValueError(f"{name}: {len(set(joints))} different ones of {len(joints)}")
        for name in ("scale", "action_scale", "offset", "action_offset"):
            for joint, number in getattr(self, name).items():
                if not math.isfinite(number) or (number == 0.0 and name.endswith("scale")):
                    raise ValueError(f"{name}.{joint} is {number}; a finite number is needed, of a scale not 0")

    @property
    def _joint_lists(self) -> dict[str, tuple[str | int, ...]]:
        """The lists of joints that the mapping gives, by name."""
        lists = {"joints": self.joints, "action_joints": self.action_joints}
        return {name: joints for name, joints in lists.items() if joints is not None}

    def check(self, robot: Embodiment) -> None:
        """ValueError where the mapping is none to this robot: a view or joint is missing or unknown."""
        if not robot.relative_to_state and self.actions != "absolute":
            raise ValueError(f"actions: {self.actions} are of joint targets; {robot.name} takes {robot.action_kind}")
        if self.fps is not None and self.fps > robot.control_rate:
            raise ValueError(f"fps: {self.fps} Hz; {robot.name} takes {robot.control_rate:g} commands a second at most")
        for view in self.cameras:
            check_choice("view", view, robot.view_names)
        if missing := [view for view in robot.view_names if self.cameras and view not in self.cameras]:
            raise ValueError(f"cameras: no feature for {', '.join(missing)}")
        expected: dict[Role, tuple[Channel, ...]] = {"state": robot.state, "action": robot.actions}
        for name, joints in self._joint_lists.items():
            channels = expected["action" if name == "action_joints" else "state"]
            if len(joints) != len(channels):
                raise ValueError(f"{name}: there are {len(joints)}; {len(channels)} fit {robot.name}")
        for name in ("scale", "offset", "action_scale", "action_offset"):
            channels = expected["action" if name.startswith("action") else "state"]
            for joint in getattr(self, name):
                check_choice(f"joint of {name}", joint, (*(channel.name for channel in channels), *GROUPS))

    def features(self, role: Role) -> tuple[str, ...]:
        """Those that hold the joints, in order."""
        keys = self.state if role == "state" else self.action
        return (keys,) if isinstance(keys, str) else keys

    def cameras_of(self, robot: Embodiment) -> dict[str, str]:
        """Feature of every view of the robot."""
        return self.cameras or robot.view_keys

    def columns(self, role: Role, feature: str, width: int, names: Sequence[object], robot: Embodiment) -> list[int]:
        """Of each of our joints, the column in a feature that is `width` wide and names them so (or not at all).

        Raises:
            ValueError: a joint is not there, or its name means nothing.
        """
        key, joints, given = "joints", robot.state, self.joints
        if role == "action":
            key, joints = "action_joints", robot.actions
            given = self.joints if self.action_joints is None and robot.relative_to_state else self.action_joints
        if given is None:
            found, ours = spelled_as_ours(names, joints), [joint.name for joint in joints]
            if len(names) != width or sorted(map(str, found)) != sorted(ours):
                there = ", ".join(map(str, names)) if names else f"no names for {counted(width, 'column')}"
                raise ValueError(f"{feature}: {there}; the robot has {', '.join(ours)}. Say in `{key}` which is which")
            return [found.index(joint) for joint in ours]
        columns = []
        for joint in given:
            if isinstance(joint, int) and not isinstance(joint, bool):
                if not 0 <= joint < width:
                    raise ValueError(f"{feature}: there is no column {joint}; it is {width} wide")
                columns.append(joint)
            elif (count := list(names).count(joint)) > 1:
                raise ValueError(f"{feature}: {count} columns are called {joint!r}; say in `{key}` their numbers")
            elif count:
                columns.append(list(names).index(joint))
            else:
                raise ValueError(f"{feature}: unknown joint {joint!r} in `{key}`{did_you_mean(joint, map(str, names))}")
        return columns

    def apply(self, states: FloatArray, actions: FloatArray, robot: Embodiment) -> tuple[FloatArray, FloatArray]:
        """Numbers of the dataset, already in our order, in our units: states, and commands as the robot takes them.

        Args:
            states, actions: shape [T, S], [T, A].
            robot: whose they become.

        Returns:
            The same shapes, in the robot's units.
        """
        scale = _per_joint(self.scale, np.full(robot.state_dim, 1.0), robot.state)
        offset = _per_joint(self.offset, np.full(robot.state_dim, 0.0), robot.state)
        states = scale * states + offset
        if not robot.relative_to_state:
            scale, offset = np.full(robot.action_dim, 1.0), np.full(robot.action_dim, 0.0)
        scale = _per_joint(self.action_scale, scale, robot.actions)
        offset = _per_joint(self.action_offset, offset, robot.actions)
        if self.actions == "absolute":
            return states, scale * actions + offset
        relative = np.zeros(robot.state_dim, dtype=np.bool_)
        relative[robot.arm_columns if self.actions == "relative_angles" else slice(None)] = True
        return states, scale * actions + np.where(relative, states, offset)


def joint_features(info: Mapping[str, Any], keys: Sequence[str]) -> tuple[list[Any], list[int]]:
    """What the columns of joints are called that lie in one feature or, one after the other, in several.

    Args:
        info: `meta/info.json`.
        keys: features of it.

    Returns:
        Names, none where a single feature has none; of several features FEATURE.NAME, with the column's number where it
        has no name. How many columns each has.

    Raises:
        ValueError: there is no such feature, or it is no row of numbers.
    """
    names: list[Any] = []
    widths = []
    for key in keys:
        feature = feature_of(info, key)
        shape, own = shape_of(feature), flat_names(feature.get("names"))
        if len(shape) != 1 or not isinstance(shape[0], int) or shape[0] < 1:
            raise ValueError(f"{key} has shape {shape}; joints are one row of numbers")
        widths.append(shape[0])
        if len(keys) > 1:
            own = [f"{key}.{name}" for name in (own if len(own) == shape[0] else range(shape[0]))]
        names += own
    return names, widths


def read_mapping(path: Path) -> dict[str, Any]:
    """Fields of a mapping in a YAML file, as they are or under `mapping`, as they are printed."""
    fields = read(path)
    inner = fields.get("mapping")
    return inner if len(fields) == 1 and isinstance(inner, dict) else fields


def group(name: str, joints: Sequence[Channel]) -> list[int]:
    """Columns of the joints that one of `GROUPS` is about."""
    return [column for column, joint in enumerate(joints) if joint.gripper == (name == GROUPS[1])]


def _per_joint(values: dict[str, float], default: FloatArray, joints: Sequence[Channel]) -> FloatArray:
    """Shape [S], as the default; single joints count more than groups."""
    array = default.copy()
    for name in GROUPS:
        if name in values:
            array[group(name, joints)] = values[name]
    for column, joint in enumerate(joints):
        array[column] = values.get(joint.name, array[column])
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
        States and actions, interpolated, shape [N, S]; the nearest recorded frame of each (of two, the earlier), shape
        [N].
    """
    count, recorded = resampled_length(len(states), fps, rate), np.arange(len(states)) / fps
    times = np.arange(count) / rate

    def at(moments: FloatArray, rows: FloatArray, known: FloatArray) -> FloatArray:
        return np.stack([np.interp(moments, known, column) for column in rows.T], axis=1)

    frames = np.clip(np.ceil(times * fps - 0.5 - 1e-6).astype(np.int64), 0, len(states) - 1)
    return at(times, states, recorded), at(times + 1.0 / rate, actions, recorded + 1.0 / fps), frames
