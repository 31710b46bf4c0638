"""What a robot is, as far as a model has to know: data of the checkpoint, not of the code.

Names and order of what is measured and commanded, units and limits, which of them are grippers, cameras, rate, and what
a reward is made of. `wav_models.embodiments` has instances; nothing else in this package knows a robot.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Unit = Literal["rad", "m", "1"]
"""Radians, metres, or a share of something: a normalised command."""
ActionKind = Literal["joint_targets", "end_effector_deltas"]
"""Absolute targets of what the state measures, in the same order; or motions of the tool and a gripper command."""


class EmbodimentError(ValueError):
    """A checkpoint, a dataset and a robot do not belong together; names both and what differs."""


@dataclass(frozen=True)
class Channel:
    """One number of a state or an action.

    Attributes:
        lower, upper: what it can be, in its unit.
        gripper: it opens and closes.
    """

    name: str
    unit: Unit
    lower: float
    upper: float
    gripper: bool = False


@dataclass(frozen=True)
class View:
    """One camera.

    Attributes:
        key: of its videos in a dataset.
        size: (height, width) it takes images of [px].
    """

    name: str
    key: str
    size: tuple[int, int]


@dataclass(frozen=True)
class RewardTerm:
    """One scalar component of the reward (Table 2): a channel of the value expert.

    Attributes:
        formula: one of `rewards.terms.FORMULAS`.
        source: what it is applied to: "state", "action", or the name of a view, which only labelling needs.
        weight: in the reward.
        columns: first and last + 1 of the state or action; all where both are 0.
    """

    name: str
    formula: str
    source: str
    weight: float
    columns: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Embodiment:
    """A kind of robot.

    Attributes:
        robot_type: what LeRobot's info.json calls it.
        state: what is measured.
        views: cameras, in the order in which the model sees them.
        control_rate: at which it takes commands [Hz].
        reward_terms: the value expert predicts these and, last, the discounted return.
        action_kind: what a command is.
        commands: channels of an action; empty for joint targets, which are those of the state.

    Raises:
        ValueError: a name is given twice, limits do not ascend, or parts do not fit each other.
    """

    name: str
    robot_type: str
    state: tuple[Channel, ...]
    views: tuple[View, ...]
    control_rate: float
    reward_terms: tuple[RewardTerm, ...]
    action_kind: ActionKind = "joint_targets"
    commands: tuple[Channel, ...] = ()

    def __post_init__(self) -> None:
        names = {"state": self.state_names, "commands": self.action_names, "views": self.view_names}
        for what, entries in names.items():
            if twice := [name for name, count in Counter(entries).items() if count > 1]:
                raise ValueError(f"{self.name}: {what} names {twice[0]!r} twice")
        if not self.state or not self.views:
            raise ValueError(f"{self.name}: there must be a number in the state, and a view, at least")
        if bool(self.commands) == self.relative_to_state:
            raise ValueError(f"{self.name}: commands are given exactly where actions are not joint_targets")
        for channel in (*self.state, *self.commands):
            if not (math.isfinite(channel.lower) and math.isfinite(channel.upper) and channel.lower < channel.upper):
                raise ValueError(f"{self.name}: {channel.name} has the limits {channel.lower:g} and {channel.upper:g}")
        for term in self.reward_terms:
            width = {"state": self.state_dim, "action": self.action_dim}.get(term.source, 0)
            if not 0 <= term.columns[0] <= term.columns[1] <= width:
                raise ValueError(f"{self.name}: reward term {term.name} has columns {term.columns}; 0 to {width} fit")

    @property
    def actions(self) -> tuple[Channel, ...]:
        """Channels of a command, in order."""
        return self.commands or self.state

    @property
    def relative_to_state(self) -> bool:
        """Whether a command minus the measured state is a motion: the model sees such differences."""
        return self.action_kind == "joint_targets"

    @property
    def state_dim(self) -> int:
        return len(self.state)

    @property
    def action_dim(self) -> int:
        return len(self.actions)

    @property
    def state_names(self) -> tuple[str, ...]:
        return tuple(channel.name for channel in self.state)

    @property
    def action_names(self) -> tuple[str, ...]:
        return tuple(channel.name for channel in self.actions)

    @property
    def view_names(self) -> tuple[str, ...]:
        return tuple(view.name for view in self.views)

    @property
    def view_keys(self) -> dict[str, str]:
        """Key of every view's videos in a dataset."""
        return {view.name: view.key for view in self.views}

    @property
    def image_sizes(self) -> dict[str, tuple[int, int]]:
        """Height and width of every view as recorded [px]."""
        return {view.name: view.size for view in self.views}

    @property
    def sources(self) -> tuple[str, ...]:
        """What a recorded frame is made of: every view, the measured joints, the command."""
        return (*self.view_names, "joint_states", "action")

    @property
    def value_names(self) -> tuple[str, ...]:
        """Channels of the value expert."""
        return (*(term.name for term in self.reward_terms), "discounted_return")

    @property
    def value_dim(self) -> int:
        return len(self.reward_terms) + 1

    @property
    def arm_columns(self) -> list[int]:
        """Columns of an action that move the arms: all but the grippers."""
        return [column for column, channel in enumerate(self.actions) if not channel.gripper]

    def require(self, other: Embodiment, ours: str, theirs: str) -> None:
        """EmbodimentError unless `other` has all that this one needs: it may have more views.

        Args:
            ours, theirs: what the two are, for the message: "checkpoint DIR", "the robot".
        """
        if found := "; ".join(self.differences(other)):
            raise EmbodimentError(
                f"{ours} is of the robot {self.name}, {theirs} of {other.name}: {found}. Use what belongs together"
            )

    def differences(self, other: Embodiment) -> Iterator[str]:
        """What `other` lacks or has otherwise, in words."""
        if self.action_kind != other.action_kind:
            yield f"actions are {self.action_kind}, not {other.action_kind}"
        for what, mine, theirs in (("state", self.state, other.state), ("action", self.actions, other.actions)):
            names, other_names = [c.name for c in mine], [c.name for c in theirs]
            if names != other_names:
                pairs = enumerate(zip(names, other_names, strict=False))
                same = next((n for n, (name, other) in pairs if name != other), min(len(names), len(other_names)))
                yield f"{what} has {_listed(names, same)}, not {_listed(other_names, same)}"
                continue
            for channel, others in zip(mine, theirs, strict=True):
                if channel != others:
                    form = "g" if _described(channel, "g") != _described(others, "g") else ""
                    yield f"{what} {channel.name} is {_described(channel, form)}, not {_described(others, form)}"
        if missing := [name for name in self.view_names if name not in other.view_names]:
            yield f"there is no view {', '.join(missing)}, only {', '.join(other.view_names)}"


def _listed(names: list[str], same: int) -> str:
    """All names, or, where there are many, some from the first that differs on: so many before it are the same."""
    first = min(same, len(names) - 2)
    before, after = ["..."] * (first > 0), ["..."] * (first + 2 < len(names))
    shown = names if len(names) <= 8 else [*before, *names[first : first + 2], *after]
    return f"{len(names)} numbers ({', '.join(shown)})"


def _described(channel: Channel, form: str) -> str:
    gripper = ", a gripper" if channel.gripper else ""
    return f"{channel.lower:{form}} to {channel.upper:{form}} {channel.unit}{gripper}"
