"""Conventions of numbers that training cannot see and that move arms wrongly: units, signs, relative actions.

What cannot be told from numbers alone is not guessed: exchanged arms, and a gripper that counts from the other end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from wav_models.data.dataset import Episode
from wav_models.embodiment import Channel, Embodiment
from wav_models.types import FloatArray

MARGIN: Final = {"rad": 0.2, "m": 0.005, "1": 0.05}
"""So far beyond its limits a number may be measured, by unit."""
RELATIVE_DISTANCE: Final = 0.3
"""Joint targets of a robot that follows are nearer to its state than this [rad]: 0.03 in good recordings, 0.9 where
actions are relative. Median over joints of the largest distance."""
LEAST_MOTION: Final = 0.05
"""Somewhere in a dataset some joint moves farther than this, unless its unit is another [rad]."""
MAX_LAG: Final = 10
"""Steps by which the state is searched behind the action."""


@dataclass(frozen=True)
class JointLimits:
    """Of the robot that is to run a policy of the data: lowest and highest of every number of the state, shape [S]."""

    lower: FloatArray
    upper: FloatArray

    @classmethod
    def of(cls, robot: Embodiment) -> JointLimits:
        """Those that its embodiment names."""
        return cls(np.array([c.lower for c in robot.state]), np.array([c.upper for c in robot.state]))


@dataclass(frozen=True)
class Finding:
    """One convention that does not hold."""

    is_error: bool
    message: str
    remedy: str


class Conventions:
    """Collects episode by episode what the conventions are judged by.

    Args:
        robot: whose data it is.
        limits: of the very robot that is to run a policy of the data; None: not compared.
    """

    def __init__(self, robot: Embodiment, limits: JointLimits | None = None) -> None:
        self._robot, self._limits = robot, limits
        sizes = robot.state_dim, robot.action_dim
        self._lowest = [np.full(size, np.inf) for size in sizes]
        self._highest = [np.full(size, -np.inf) for size in sizes]
        self._farthest = np.zeros(robot.state_dim)
        self._lags: list[int] = []
        self._equal = True

    def add(self, episode: Episode) -> None:
        """Take an episode into account; one without frames counts for nothing."""
        if not len(episode):
            return
        for row, values in enumerate((episode.states, episode.actions)):
            self._lowest[row] = np.minimum(self._lowest[row], values.min(axis=0))
            self._highest[row] = np.maximum(self._highest[row], values.max(axis=0))
        if not self._robot.relative_to_state:
            return
        self._farthest = np.maximum(self._farthest, np.abs(episode.actions - episode.states).max(axis=0))
        self._equal = self._equal and bool((episode.actions == episode.states).all())
        if (lag := action_lag(episode.states, episode.actions, self._robot.arm_columns)) is not None:
            self._lags.append(lag)

    @property
    def lag(self) -> float | None:
        """Steps by which the state follows the action, median over episodes; None where nothing moves."""
        return float(np.median(self._lags)) if self._lags else None

    def findings(self) -> Iterator[Finding]:
        """What does not hold."""
        if not np.isfinite(self._lowest[0]).all():
            return
        yield from self._outside()
        if self._robot.relative_to_state:
            yield from self._of_joint_targets()

    def _of_joint_targets(self) -> Iterator[Finding]:
        joints = self._robot.arm_columns
        relative = float(np.median(self._farthest[joints]))
        if relative > RELATIVE_DISTANCE:
            yield Finding(
                True,
                f"actions are {relative:.2f} rad away from the state (largest distance, median over joints; one that "
                f"follows stays within {RELATIVE_DISTANCE}): relative actions, or another unit than the state's?",
                "store absolute joint targets: add the state to relative actions, use one unit for both",
            )
        if self._equal:
            yield Finding(
                False,
                "every action equals the state of its frame: a policy of these learns to stand still",
                "store what was commanded upon each frame, such as the leader's joints",
            )
        motion = float((self._highest[0] - self._lowest[0])[joints].max())
        if motion < LEAST_MOTION:
            yield Finding(
                False,
                f"no joint moves more than {motion:.3f} rad in all episodes",
                "is the unit of the joints radians?",
            )

    def _outside(self) -> Iterator[Finding]:
        if self._limits is None:
            return
        kinds: list[tuple[str, tuple[Channel, ...]]] = [("state", self._robot.state)]
        if self._robot.relative_to_state:
            kinds.append(("action", self._robot.actions))
        for row, (what, channels) in enumerate(kinds):
            margin = np.array([MARGIN[channel.unit] for channel in channels])
            low, high = self._lowest[row], self._highest[row]
            for column in np.flatnonzero((low < self._limits.lower - margin) | (high > self._limits.upper + margin)):
                channel = channels[column]
                yield Finding(
                    True,
                    f"{what} {channel.name} runs from {low[column]:.3f} to {high[column]:.3f} {channel.unit}; the "
                    f"robot's from {self._limits.lower[column]:.3f} to {self._limits.upper[column]:.3f}",
                    "correct its sign, unit or zero, or leave these episodes out: the arm stops at its limit",
                )


def action_lag(states: FloatArray, actions: FloatArray, columns: Sequence[int]) -> int | None:
    """Steps after which the state [T, S] is nearest to the targets [T, S] in these columns; None where nothing moves or
    T is short."""
    states, actions = states[:, columns], actions[:, columns]
    if len(states) <= 2 * MAX_LAG or np.ptp(states, axis=0).max() < LEAST_MOTION:
        return None
    last = len(states) - MAX_LAG
    errors = [np.abs(states[lag : last + lag] - actions[:last]).mean() for lag in range(MAX_LAG + 1)]
    return int(np.argmin(errors))


def missing_names(features: dict[str, object], keys: Sequence[str]) -> list[str]:
    """Features of joints that do not say which joint is which."""
    return [key for key in keys if isinstance(feature := features.get(key), dict) and not feature.get("names")]
