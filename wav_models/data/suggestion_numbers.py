"""What the numbers of another lab's dataset say: units, whether actions are targets, joints beyond their limits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from wav_models.data.conventions import MARGIN
from wav_models.data.dataset import DatasetError
from wav_models.data.mapped_dataset import MappedDataset
from wav_models.data.mapping import GROUPS, Actions, DataMapping, group
from wav_models.embodiment import Embodiment, Unit
from wav_models.types import FloatArray

UNITS: Final[dict[Unit, dict[str, float]]] = {
    "rad": {"radians": 1.0, "degrees": np.pi / 180.0, "thousandths of a degree": np.pi / 180e3},
    "m": {"metres": 1.0, "millimetres": 1e-3, "thousandths of a millimetre": 1e-6},
    "1": {"shares": 1.0},
}
"""By the unit of a joint of ours, those it may be stored in, and their sizes."""
LEAST: Final[dict[Unit, float]] = {"rad": 0.2, "m": 0.005, "1": 0.05}
"""Some joint of a recording moves farther than this, or its unit is another."""
PERCENT: Final = (75.0, 101.0)
"""Largest openings between which millimetres of a wide gripper and per cent of a stroke look the same."""
ALIKE: Final = 5.0
"""So many times at most do the targets of some joints span what the joints themselves do, or the other way round."""
CLEARLY: Final = 3.0
"""So many times nearer to the next state one reading of the actions must be than the other."""
AGREEMENT: Final = 0.3
"""Cosine between relative actions and the steps of the state, at least; 0 between what has nothing to do with it."""


@dataclass(frozen=True)
class Ranges:
    """Lowest and highest value of every joint over a dataset, shape [2, S], of state and action."""

    state: FloatArray
    action: FloatArray


@dataclass
class Suggestion:
    """What a dataset is taken for.

    Attributes:
        mapping: as far as it can be told; what the caller gave is in it unchanged.
        assumed: what was concluded, with the reason.
        undecided: what must be said before it can be used, with the key that says it.
        before: ranges as stored, in our order; None where the joints are not known.
        after: the same through the mapping.
    """

    mapping: DataMapping
    assumed: list[str] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)
    before: Ranges | None = None
    after: Ranges | None = None


@dataclass
class _Fit:
    """How well actions, read one way or the other, lead to the next state; sums over frames and some joints.

    Attributes:
        joints: which.
        absolute, relative: distance of the action, and of state plus action, from the next state.
        together, actions, steps: products of actions and steps of the state, with each other and with themselves.
    """

    joints: list[int]
    absolute: float = 0.0
    relative: float = 0.0
    together: float = 0.0
    actions: float = 0.0
    steps: float = 0.0

    def add(self, states: FloatArray, actions: FloatArray) -> None:
        """Frames of an episode, shape [T, S]."""
        now, action = states[:-1, self.joints], actions[:-1, self.joints]
        step = states[1:, self.joints] - now
        self.absolute += float(np.abs(action - now - step).sum())
        self.relative += float(np.abs(action - step).sum())
        self.together += float((action * step).sum())
        self.actions += float((action**2).sum())
        self.steps += float((step**2).sum())

    @property
    def agreement(self) -> float:
        """Cosine between actions and steps: large where actions say which way the joints move."""
        return self.together / max(np.sqrt(self.actions * self.steps), 1e-12)


def read_ranges(dataset: MappedDataset, *, mapped: bool = False) -> tuple[Ranges, tuple[_Fit, _Fit]]:
    """Over all episodes, as stored or as `mapped`; the fit of the angles, and of the grippers."""
    robot = dataset.robot
    ranges = np.stack([np.full((2, robot.state_dim), np.inf), np.full((2, robot.state_dim), -np.inf)], axis=1)
    fits = _Fit(group(GROUPS[0], robot.state)), _Fit(group(GROUPS[1], robot.state))
    for episode in dataset.episodes:
        states, actions = dataset.read_numbers(episode.index)
        if not len(states):
            continue
        for fit in fits:
            fit.add(states, actions)
        for row, values in enumerate(dataset.mapping.apply(states, actions, robot) if mapped else (states, actions)):
            ranges[row, 0] = np.minimum(ranges[row, 0], values.min(axis=0))
            ranges[row, 1] = np.maximum(ranges[row, 1], values.max(axis=0))
    if not np.isfinite(ranges).all():
        raise DatasetError(f"{dataset.root}: no episode has a frame")
    return Ranges(ranges[0], ranges[1]), fits


def unit_of(group: str, joints: list[int], suggestion: Suggestion, robot: Embodiment) -> dict[str, float]:
    """Scale of a group of joints: the largest unit in which they stay within the robot's limits, and move."""
    assert suggestion.before is not None
    unit = robot.state[joints[0]].unit
    units, least = UNITS[unit], LEAST[unit]
    low, high = suggestion.before.state[:, joints]
    lower, upper = (limits[joints] for limits in _limits(robot))
    fitting = [(n, s) for n, s in units.items() if (s * low >= lower).all() and (s * high <= upper).all()]
    moving = [(name, scale) for name, scale in fitting if (scale * np.maximum(abs(low), abs(high))).max() >= least]
    percent = group == "grippers" and unit == "m" and PERCENT[0] < high.max() <= PERCENT[1]
    if len(moving) == 1 and not percent:
        name, scale = moving[0]
        if scale != 1.0:
            suggestion.assumed.append(f"{group} are in {name}: only so are they within the robot's limits, and move")
        return {} if scale == 1.0 else {group: scale}
    turned = _flipped([robot.state_names[joint] for joint in joints], low, high, lower, upper)
    span = f"{group} run from {low.min():.4g} to {high.max():.4g}"
    if percent:
        hint = "millimetres, or per cent of the stroke? `scale: {grippers: 0.001}`, or 0.0007 for a gripper of 70 mm"
    elif group == "grippers" and low.min() >= -0.05 and 0.5 < high.max() <= 1.05:
        hint = "a share of the stroke? Then `scale: {grippers: 0.07}` for a gripper of 70 mm; or radians?"
    elif group == "grippers" and high.max() <= 0.0 and low.min() < 0.0:
        hint = "of the other sign, or from the other end? `scale: {grippers: -1}`, or with `offset: {grippers: 0.07}`"
    elif len(moving) > 1:
        hint = f"{' or '.join(name for name, _ in moving)}? Say the factor to rad and m: `scale: {{{group}: 1.0}}`"
    elif fitting and not turned:
        hint = f"do they move at all? If so, say the factor to rad and m: `scale: {{{group}: 1.0}}`"
    else:
        hint = f"in no unit within the robot's limits{turned}; say `scale`, `offset`"
    suggestion.undecided.append(f"{span}: {hint}")
    return {}


def _flipped(joints: list[str], low: FloatArray, high: FloatArray, lower: FloatArray, upper: FloatArray) -> str:
    """The joints that would be within their limits with the other sign, in words."""
    outside = (low < lower) | (high > upper)
    turned = outside & (-high >= lower) & (-low <= upper)
    names = [joint for joint, other in zip(joints, turned, strict=True) if other]
    return f"; with the other sign {', '.join(names)} would be" if names else ""


def kind_of_actions(fit: _Fit, grippers: _Fit, suggestion: Suggestion) -> Actions | None:
    """Whether actions are targets or what is added to the state; None where nobody can tell."""
    if fit.relative > CLEARLY * fit.absolute or fit.absolute == fit.relative == 0.0:
        return "absolute"
    if fit.absolute > CLEARLY * fit.relative and fit.agreement > AGREEMENT:
        kind: Actions = "relative" if grippers.relative < grippers.absolute else "relative_angles"
        if kind == "relative" and grippers.actions and grippers.agreement <= AGREEMENT:
            suggestion.undecided.append(
                "actions of the angles are relative, those of the grippers neither near the next state nor point they "
                "to it: say `actions: relative` or `relative_angles`, and their unit by `action_scale`"
            )
            return None
        suggestion.assumed.append(f"actions are {kind}: they point where the joints move next, and are small")
        return kind
    suggestion.undecided.append(
        "actions are neither near the next state nor do they point to it: in another unit, or late? Say `actions: "
        "absolute`, `relative` or `relative_angles`, their unit by `action_scale`, and leave out what is wrong"
    )
    return None


def action_units(mapping: DataMapping, suggestion: Suggestion, robot: Embodiment) -> dict[str, float]:
    """`action_scale`, where joint targets of a group span another range than its states do: they have a unit of their
    own."""
    assert suggestion.before is not None
    states, actions = (np.ptp(ranges, axis=0) for ranges in (suggestion.before.state, suggestion.before.action))
    found = dict(mapping.action_scale)
    for name in GROUPS:
        joints = group(name, robot.state)
        unit = robot.state[joints[0]].unit if joints else "1"
        is_said = any(joint in found for joint in (name, *(robot.state_names[column] for column in joints)))
        if (
            not joints
            or is_said
            or mapping.actions == "relative"
            or (mapping.actions != "absolute" and name == GROUPS[0])
        ):
            continue
        scales = np.array([mapping.scale.get(robot.state_names[c], mapping.scale.get(name, 1.0)) for c in joints])
        reached, told = (float((abs(scales) * spans[joints]).max()) for spans in (states, actions))
        if max(reached, told) < LEAST[unit] or reached < ALIKE * told < ALIKE**2 * reached:
            continue
        raw = float(actions[joints].max())
        fitting = [(n, s) for n, s in UNITS[unit].items() if reached < ALIKE * s * raw < ALIKE**2 * reached]
        if len(fitting) == 1:
            found[name] = fitting[0][1]
            suggestion.assumed.append(
                f"actions of the {name} are in {fitting[0][0]}: only so do they span what the state does"
            )
        else:
            suggestion.undecided.append(
                f"{name}: the actions span {told:.3g} {unit}, the states {reached:.3g} {unit}: in another unit, shares "
                f"of the stroke? `action_scale: {{{name}: 0.07}}`; the factor of the state's, if that is right"
            )
    return found


def _limits(robot: Embodiment) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest number of every joint that may be measured, shape [S] each."""
    margin = np.array([MARGIN[joint.unit] for joint in robot.state])
    return np.array([j.lower for j in robot.state]) - margin, np.array([j.upper for j in robot.state]) + margin


def outside(ranges: Ranges, robot: Embodiment) -> Iterator[str]:
    """Joints beyond the robot's limits; nothing that such data teach can be done."""
    lower, upper = _limits(robot)
    for what, (low, high) in (("state", ranges.state), ("action", ranges.action)):
        for column in np.flatnonzero((low < lower) | (high > upper)):
            joint = robot.state[column]
            yield (
                f"{what} {joint.name} runs from {low[column]:.4g} to {high[column]:.4g}, the robot's from "
                f"{joint.lower:.4g} to {joint.upper:.4g}: say its `scale` and `offset`, or leave the "
                "episodes out"
            )
