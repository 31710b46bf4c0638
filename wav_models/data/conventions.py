"""Conventions of numbers that training cannot see and that move arms wrongly: units, signs, relative actions.

What cannot be told from numbers alone is not guessed: exchanged arms, and a gripper that counts from the other end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from wav_models.data.camera_faults import MOVING, longest
from wav_models.data.joint_names import side_of
from wav_models.embodiment import Embodiment
from wav_models.types import FloatArray

if TYPE_CHECKING:
    from wav_models.data.dataset import Episode

MARGIN: Final = {"rad": 0.2, "m": 0.005, "1": 0.05}
"""So far beyond its limits a number may be measured, by unit."""
RELATIVE_DISTANCE: Final = 0.3
"""Joint targets of a robot that follows are nearer to its state than this [rad]: 0.03 in good recordings, 0.9 where
actions are relative. Median over joints of the largest distance."""
LEAST_MOTION: Final = 0.05
"""Somewhere in a dataset some joint moves farther than this, unless its unit is another [rad]."""
MAX_LAG: Final = 10
"""Steps by which the state is searched behind the action."""
CLEAR_LAG: Final = 0.7
"""Distance between action and state at the best lag, as a share of that at the worst, at most."""
CLIPPED_SECONDS: Final = 1.0
"""So long at a time may a joint stand exactly at one end of its range while others of its arm move."""
STILL: Final = {"rad": 0.05, "m": 0.012, "1": 0.05}
"""By unit: distances of targets from measured joints below which nothing is asked to move, tracking errors at rest; of
other actions, their size."""
REST_SHARE: Final = 0.35
"""More frames than this that ask for no motion teach a policy to stand still."""


@dataclass(frozen=True)
class BrokenConvention:
    """One convention that does not hold."""

    is_error: bool
    message: str
    remedy: str


class Conventions:
    """Collects episode by episode what the conventions are judged by.

    Args:
        robot: whose data it is.
        limited: whether the numbers are compared with the limits of its joints: it is to run a policy of the data.
    """

    def __init__(self, robot: Embodiment, limited: bool = False) -> None:
        self._robot, self._limited = robot, limited
        sizes = robot.state_dim, robot.action_dim
        self._lowest = [np.full(size, np.inf) for size in sizes]
        self._highest = [np.full(size, -np.inf) for size in sizes]
        self._farthest = np.zeros(robot.state_dim)
        self._lags: list[int] = []
        self._equal = True
        self._num_frames = self._num_still = 0
        self._rests: list[float] = []
        self._at_end: dict[tuple[int, float], float] = {}

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
        tolerance = np.array([STILL[channel.unit] for channel in self._robot.actions])
        still = np.asarray((np.abs(episode.actions - episode.states) < tolerance).all(axis=1))
        self._num_frames += len(episode)
        self._num_still += int(still.sum())
        self._rests.append(longest(still) / episode.fps)
        self._add_ends(episode)

    def _add_ends(self, episode: Episode) -> None:
        """Time that a joint stands exactly at its highest or lowest target of the episode though its arm moves."""
        moves = np.abs(np.diff(episode.states, axis=0, prepend=episode.states[:1])) > MOVING
        joints = self._robot.arm_columns
        sides = [side_of(name) for name in self._robot.state_names]
        for joint in joints:
            arm = [other for other in joints if sides[other] == sides[joint] and other != joint]
            targets, busy = episode.actions[:, joint], moves[:, arm].any(axis=1)
            if np.ptp(targets) < LEAST_MOTION:
                continue
            for end in (targets.min(), targets.max()):
                key = joint, float(end)
                seconds = longest((targets == end) & busy) / episode.fps
                self._at_end[key] = max(self._at_end.get(key, 0.0), seconds)

    @property
    def rest_share(self) -> float | None:
        """Share of the frames that ask for no motion; None without frames."""
        return self._num_still / self._num_frames if self._num_frames else None

    @property
    def lag(self) -> float | None:
        """Steps by which the state follows the action, median over episodes; None where nothing moves."""
        return float(np.median(self._lags)) if self._lags else None

    def findings(self) -> Iterator[BrokenConvention]:
        """What does not hold."""
        if not np.isfinite(self._lowest[0]).all():
            return
        yield from self._outside()
        if self._robot.relative_to_state:
            yield from self._of_joint_targets()

    def _of_joint_targets(self) -> Iterator[BrokenConvention]:
        joints = self._robot.arm_columns
        relative = float(np.median(self._farthest[joints]))
        if relative > RELATIVE_DISTANCE:
            yield BrokenConvention(
                True,
                f"actions are {relative:.2f} rad away from the state (largest distance, median over joints; one that "
                f"follows stays within {RELATIVE_DISTANCE}): relative actions, or another unit than the state's?",
                "store absolute joint targets: add the state to relative actions, use one unit for both",
            )
        if self._equal:
            yield BrokenConvention(
                False,
                "every action equals the state of its frame: a policy of these learns to stand still",
                "store what was commanded upon each frame, such as the leader's joints",
            )
        elif self.lag == 0.0:
            yield BrokenConvention(
                False,
                "actions are where the joints are in the same frame, not where they go: a policy of these lags behind",
                "store what was commanded upon each frame, or the state of the next one",
            )
        elif self.lag is not None and self.lag >= MAX_LAG:
            yield BrokenConvention(
                False,
                f"the state follows the action only {MAX_LAG} frames later, or not at all",
                "were actions and states recorded with clocks that differ?",
            )
        yield from self._rest_and_ends()
        motion = float((self._highest[0] - self._lowest[0])[joints].max())
        if motion < LEAST_MOTION:
            yield BrokenConvention(
                False,
                f"no joint moves more than {motion:.3f} rad in all episodes",
                "is the unit of the joints radians?",
            )

    def _rest_and_ends(self) -> Iterator[BrokenConvention]:
        if self.rest_share is not None and self.rest_share > REST_SHARE:
            yield BrokenConvention(
                False,
                f"{self.rest_share:.0%} of the frames ask for no motion, up to {max(self._rests):.1f} s in one go",
                "cut the rests, or train with drop_still_steps: a policy learns to stand still from them",
            )
        for (joint, end), seconds in self._at_end.items():
            if seconds > CLIPPED_SECONDS:
                channel = self._robot.actions[joint]
                yield BrokenConvention(
                    False,
                    f"{channel.name} is told {end:.4f} {channel.unit} for {seconds:.1f} s as its arm moves: clipped?",
                    "look at the limits that it was recorded with; a policy learns to push against them",
                )

    def _outside(self) -> Iterator[BrokenConvention]:
        if not self._limited:
            return
        robot = self._robot
        limits_of_actions = robot.state if robot.relative_to_state else robot.commands
        kinds = (("state", robot.state, robot.state), ("action", robot.actions, limits_of_actions))
        for row, (what, channels, limits) in enumerate(kinds):
            margin = np.array([MARGIN[channel.unit] for channel in channels])
            lower, upper = np.array([(each.lower, each.upper) for each in limits]).T
            low, high = self._lowest[row], self._highest[row]
            for column in np.flatnonzero((low < lower - margin) | (high > upper + margin)):
                channel = channels[column]
                yield BrokenConvention(
                    True,
                    f"{what} {channel.name} runs from {low[column]:.3f} to {high[column]:.3f} {channel.unit}; the "
                    f"robot's from {lower[column]:.3f} to {upper[column]:.3f}",
                    "correct its sign, unit or zero, or leave these episodes out: the arm stops at its limit",
                )


def action_lag(states: FloatArray, actions: FloatArray, columns: Sequence[int]) -> int | None:
    """Steps after which the state [T, S] is nearest to the targets [T, S] in these columns.

    None where nothing moves, T is short, or no lag is much better than others.
    """
    states, actions = states[:, columns], actions[:, columns]
    if len(states) <= 2 * MAX_LAG or np.ptp(states, axis=0).max() < LEAST_MOTION:
        return None
    last = len(states) - MAX_LAG
    errors = [np.abs(states[lag : last + lag] - actions[:last]).mean() for lag in range(MAX_LAG + 1)]
    return int(np.argmin(errors)) if min(errors) < CLEAR_LAG * max(errors) else None


def missing_names(features: dict[str, object], keys: Sequence[str]) -> list[str]:
    """Features of joints that do not say which joint is which."""
    return [key for key in keys if isinstance(feature := features.get(key), dict) and not feature.get("names")]
