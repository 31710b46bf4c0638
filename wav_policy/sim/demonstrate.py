"""Demonstrations by the scripted operator, of the qualities that teleoperation has.

Nothing that a policy may see names an episode's quality; its rewards and its end do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from wav_models.configuration import check_choice
from wav_models.types import FloatArray, ImageArray
from wav_policy.robot.joints import ARM_DOF, GRIPPERS, JOINT_DIM, REVOLUTE, SIDES, arm_slice
from wav_policy.robot.kinematics import MAX_STROKE, UnreachableError, inverse
from wav_policy.robot.model import BASE_POSITIONS, HOME_ROLL, home_positions
from wav_policy.sim.operator import ACTION_PERIOD, arm_part, outward
from wav_policy.sim.suboptimal_operator import SuboptimalOperator
from wav_policy.sim.world import World

SETTLING_STEPS: Final = 9
"""Steps recorded after success, so that an episode ends at rest."""

PATIENCE: Final = 1.25
"""A demonstration may take this many times a task's time limit, since hesitation and recovery take time."""

STILL_STEPS: Final = 10
"""A failed demonstrator has given up after so many steps without motion, which are recorded."""

LONGEST_VISIT: Final = 0.5
"""Share of a task's time limit that a policy acts for, at most, before the operator takes over."""

Visit = Callable[[World, int, int], int]
"""Lets a policy act in a world that is laid out, with the seed of its draws, for so many steps or until success, and
returns the steps it took."""

_STILL: Final = 0.05
"""Largest distance of joint targets from the measured joints that counts as no motion [rad]; disturbances make some."""


@dataclass(frozen=True)
class Step:
    """One recorded moment.

    Attributes:
        images: by view, uint8 RGB, shape [H, W, 3].
        state: measured joints and strokes, shape [14], rad and m.
        action: what the operator intends as absolute joint targets for the next 0.1 s, shape [14]; what was executed
            differs by the disturbance.
        time: since the first one [s].
    """

    images: dict[str, ImageArray]
    state: FloatArray
    action: FloatArray
    time: float


@dataclass(frozen=True)
class Noise:
    """How demonstrations are disturbed.

    Attributes:
        joint_std: standard deviation of the slow joint-target noise [rad].
        stroke_std: the same for the strokes [m].
        correlation_time: of both [s].
        push_rate: pushes per second; a push swells and fades within `push_duration` seconds.
        push_std: standard deviation of a push's peak [rad], every joint of one arm.
        push_duration: [s].
        slip_rate: wrong grips per second: for `slip_duration` the grippers close early or open early.
        slip_duration: [s].
        start_std: standard deviation of both arms' start pose about home [rad].
        wide_start: share of episodes that start with the working gripper anywhere over its half, at any stroke.
        home_start: share of episodes that start exactly at home, as the robot does. Without them only the ends of
            episodes lie there, and a policy that is asked to begin there takes the task for done.
    """

    joint_std: float = 0.012
    stroke_std: float = 0.002
    correlation_time: float = 0.4
    push_rate: float = 0.20
    push_std: float = 0.05
    push_duration: float = 0.6
    slip_rate: float = 0.06
    slip_duration: float = 0.5
    start_std: float = 0.04
    wide_start: float = 0.25
    home_start: float = 0.25


NO_NOISE: Final = Noise(0.0, 0.0, 0.4, 0.0, 0.0, 0.6, 0.0, 0.5, 0.0, 0.0)
CALM: Final = Noise(joint_std=0.008, push_rate=0.0, slip_rate=0.0, wide_start=0.1)

QUALITIES: Final = {"skilled": CALM, "hesitant": CALM, "recovering": Noise(), "failing": CALM}
"""Quality of a demonstration -> its usual disturbance. Hesitant operators pause, creep and make detours; failing ones
follow one of the task's failures from some moment on and give up."""


class Disturbance:
    """The random difference between what the operator intends and what the arms execute."""

    def __init__(self, noise: Noise, rng: np.random.Generator):
        self._noise = noise
        self._rng = rng
        self._std = np.full(JOINT_DIM, noise.joint_std)
        self._std[GRIPPERS] = noise.stroke_std
        self._drift = self._std * rng.standard_normal(JOINT_DIM)
        self._push = np.zeros(JOINT_DIM)
        self._push_age = np.inf
        self._slip_stroke = 0.0
        self._slip_left = 0.0

    def apply(self, action: FloatArray) -> FloatArray:
        """What is executed in place of `action` [14] during the next period."""
        noise, rng = self._noise, self._rng
        keep = np.exp(-ACTION_PERIOD / noise.correlation_time)
        self._drift = keep * self._drift + np.sqrt(1 - keep**2) * self._std * rng.standard_normal(JOINT_DIM)
        self._push_age += ACTION_PERIOD
        if self._push_age >= noise.push_duration and rng.random() < noise.push_rate * ACTION_PERIOD:
            self._start_push()
        self._slip_left -= ACTION_PERIOD
        if self._slip_left <= 0.0 and rng.random() < noise.slip_rate * ACTION_PERIOD:
            self._slip_left = noise.slip_duration
            self._slip_stroke = float(rng.choice([0.0, 0.0, MAX_STROKE]))
        executed = action + self._drift
        if self._push_age < noise.push_duration:
            executed = executed + self._push * np.sin(np.pi * self._push_age / noise.push_duration)
        if self._slip_left > 0.0:
            executed[GRIPPERS] = self._slip_stroke
        return executed

    def _start_push(self) -> None:
        side = SIDES[self._rng.integers(len(SIDES))]
        self._push = np.zeros(JOINT_DIM)
        arm_part(self._push, side)[:-1] = self._noise.push_std * self._rng.standard_normal(ARM_DOF - 1)
        self._push_age = 0.0


def start_positions(world: World, noise: Noise, rng: np.random.Generator) -> FloatArray:
    """Random start pose of both arms, shape [14]; the task must already be laid out."""
    start = home_positions()
    spread = np.full(JOINT_DIM, noise.start_std)
    spread[GRIPPERS] = 0.0
    start += spread * rng.standard_normal(JOINT_DIM)
    if rng.random() < noise.wide_start:
        side = world.task.working_side(world)
        start[arm_slice(side)] = _anywhere(side, rng)
    return start


def _anywhere(side: str, rng: np.random.Generator) -> FloatArray:
    """Joints and stroke [7] with the gripper at a random place above the objects, over its own half of the table."""
    while True:
        tip = np.array([rng.uniform(0.15, 0.30), outward(side) * rng.uniform(0.0, 0.28), rng.uniform(0.08, 0.15)])
        try:
            joints = inverse(tip - BASE_POSITIONS[side], HOME_ROLL[side] + 0.1 * rng.standard_normal())
        except UnreachableError:
            continue
        return np.append(joints, rng.uniform(0.0, MAX_STROKE))


class Demonstration:
    """One episode: a demonstrator does the task of `world`, laid out from `seed`, at 10 Hz.

    Args:
        world: its task brings the operator.
        seed: of the layout, the disturbance and the demonstrator.
        noise: the disturbance; the usual one of the quality if None, `NO_NOISE` for clean episodes.
        quality: one of `QUALITIES`.
        visit: acts first, from home; the operator goes on from where that got to. It is given half the time where it
            would have succeeded.

    Attributes:
        visited_steps: of the visit, once the steps have begun.

    Raises:
        ValueError: unknown quality.
    """

    def __init__(
        self,
        world: World,
        seed: int,
        noise: Noise | None = None,
        quality: str = "recovering",
        visit: Visit | None = None,
    ):
        check_choice("quality", quality, QUALITIES)
        self.world = world
        self.seed = seed
        self.quality = quality
        self.visited_steps = 0
        self._visit = visit
        self._noise = QUALITIES[quality] if noise is None else noise
        rng = np.random.default_rng([seed, 2])
        self._operator = world.task.make_operator()
        if quality == "hesitant":
            self._operator = SuboptimalOperator(self._operator, rng)
        self._failure = world.task.make_failure(rng) if quality == "failing" else None

    @property
    def failure(self) -> str | None:
        """What goes wrong in a failing demonstration, and where."""
        return None if self._failure is None else self._failure.name

    def steps(self, *, images: bool = True) -> Iterator[Step]:
        """Reset the world and play.

        Ends `SETTLING_STEPS` after success, `STILL_STEPS` after a failing demonstrator has come to rest, or when its
        time is over; `world.success()` then says whether it succeeded. `world.instruction` is valid from then on.

        Args:
            images: render the three views (else `Step.images` is empty).
        """
        world, rng = self.world, np.random.default_rng([self.seed, 1])
        self._begin(rng)
        began = world.time
        disturbance = Disturbance(self._noise, rng)
        settled = still = 0
        has_failed = False
        for _ in range(round(PATIENCE * world.task.time_limit / ACTION_PERIOD)):
            has_failed = has_failed or (self._failure is not None and self._failure.begins(world))
            acting = self._failure if has_failed and self._failure is not None else self._operator
            action, measured = acting.act(world), world.joint_positions
            yield Step(world.render_all() if images else {}, measured, action, world.time - began)
            resting = bool(np.abs(action - measured)[REVOLUTE].max() < _STILL)
            still = still + 1 if has_failed and resting else 0
            settled = settled + 1 if world.success() else 0
            if settled > SETTLING_STEPS or still >= STILL_STEPS:
                return
            world.set_targets(action if settled else disturbance.apply(action), ACTION_PERIOD)
            world.step(ACTION_PERIOD)

    def _begin(self, rng: np.random.Generator) -> None:
        """Lay out the task, with the arms at the start or where the visit leaves them."""
        world = self.world
        world.reset(self.seed)
        start = start_positions(world, self._noise, rng)
        at_home = np.random.default_rng([self.seed, 3]).random() < self._noise.home_start
        world.set_joints(home_positions() if at_home or self._visit else start)
        if self._visit is None:
            return
        longest = round(LONGEST_VISIT * world.task.time_limit / ACTION_PERIOD)
        steps = int(np.random.default_rng([self.seed, 4]).integers(longest + 1))
        self.visited_steps = self._visit(world, self.seed, steps)
        while world.success() and self.visited_steps:
            world.reset(self.seed)
            world.set_joints(home_positions())
            self.visited_steps = self._visit(world, self.seed, self.visited_steps // 2)
