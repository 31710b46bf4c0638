"""When and how the followers follow: engagement near the leader only, slowly until then; hold when in doubt.

Pure: positions and time in, commands out. Everything commanded here still passes the safety filter.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Final

import numpy as np

from wav_models.configuration import Positive, Range
from wav_models.types import ActionChunk, FloatArray
from wav_policy.policy.stream_buffer import Capture, staleness
from wav_policy.robot.joints import GRIPPERS, JOINT_DIM, JOINT_NAMES

_IS_GRIPPER: Final = np.isin(np.arange(JOINT_DIM), GRIPPERS)
_WEIGHTS: Final = np.where(_IS_GRIPPER, 10.0, 1.0)
"""A metre of gripper stroke counts as 10 rad, as in the motion home."""

_PLAUSIBLE: Final = np.where(_IS_GRIPPER, 0.12, np.pi + 0.2)
"""No Piper joint or gripper is farther from zero [rad, m]."""


_NUM_PAST: Final = 2
"""Rows of a chunk that are past when it is sent: a chunk joins the last one inside the path that both know."""

_LEASH: Final = 0.25
"""On its way a command is at most so much time ahead of the follower [s]."""


Joints = Capture[FloatArray]
"""Joint positions, shape [14], rad and m, and their time."""


class State(str, Enum):
    """What the followers do."""

    RELEASED = "released"
    HOLDING = "holding"
    APPROACHING = "approaching"
    FOLLOWING = "following"


@dataclass(frozen=True)
class FollowingConfig:
    """How the followers follow.

    Attributes:
        rate: commands per second [Hz].
        delay: between a leader's motion and its execution; what is known of the future makes chunks join smoothly [s].
        horizon: a chunk commands the last position for so long if no other follows [s].
        approach_speed: on the way to a leader that is not near [rad/s].
        engage_distance: a leader is near within this distance of every joint [rad].
        lose_distance: beyond this distance the follower approaches again; it was held up [rad].
        stuck_distance: a follower whose target is farther than this from the leader, and does not come nearer, is held
            up too: by piper/home, a collision, a fault [rad].
        stuck_time: so long [s]. A target that brakes at the 5 rad/s^2 of the safety filter turns within
            sqrt(2 (lose_distance - stuck_distance) / 5) = 0.45 s, so a leader that is only too fast does not count.
        max_jump: a leader that moves more than this between two commands has jumped [rad].
        calm_time: a leader that has jumped is trusted again after so much time without a jump [s].
        max_follower_age: of the newest joint_states, and of the newest joint_targets [s].
    """

    rate: Annotated[float, Range(20.0, 200.0)] = 50.0
    delay: Positive = 0.06
    horizon: Positive = 0.3
    approach_speed: Positive = 0.4
    engage_distance: Positive = 0.03
    lose_distance: Positive = 0.6
    stuck_distance: Positive = 0.1
    stuck_time: Positive = 0.5
    max_jump: Positive = 0.3
    calm_time: Positive = 0.5
    max_follower_age: Positive = 0.2

    def __post_init__(self) -> None:
        """ValueError naming the field that is not usable."""
        if not 1.0 / self.rate <= self.delay < self.horizon:
            raise ValueError(f"delay ({self.delay}) must be at least 1/rate and below horizon ({self.horizon})")
        if not self.engage_distance < self.lose_distance:
            raise ValueError(f"engage_distance ({self.engage_distance}) must be below lose_distance")
        if not self.engage_distance < self.stuck_distance:
            raise ValueError(f"engage_distance ({self.engage_distance}) must be below stuck_distance")


class Following:
    """Decides at every tick; see `FollowingConfig` for the rules.

    Attributes:
        state: what the followers do.
        reason: why they do not follow; "" while they do.
        distance: between leader and follower, the largest of the 12 arm joints; None while unknown [rad]. Grippers do
            not count: one that holds an object never arrives.
    """

    def __init__(self, config: FollowingConfig | None = None) -> None:
        self.config = config or FollowingConfig()
        self.state = State.RELEASED
        self.reason = "not engaged"
        self.distance: float | None = None
        self._step = 1.0 / self.config.rate
        self._num_known = round(self.config.delay * self.config.rate) + _NUM_PAST
        self._commands: deque[FloatArray] = deque(maxlen=self._num_known)
        self._last_leader: FloatArray | None = None
        self._calm_from = -np.inf
        self._last_target: FloatArray | None = None
        self._obeyed_at = np.zeros(len(JOINT_NAMES))

    def engage(self) -> None:
        """Follow from now on, as soon as that is safe."""
        if self.state == State.RELEASED:
            self._hold("engaging")

    def release(self) -> None:
        """Hold until `engage`."""
        self._hold("released by request")
        self.state = State.RELEASED

    def step(
        self, now: float, leader: FloatArray | None, fault: str, measured: Joints | None, target: Joints | None
    ) -> ActionChunk | None:
        """One tick.

        Args:
            now: time of the tick, monotonic; the stamps too [s].
            leader: where both leaders are, shape [14], rad and m; None while not known.
            fault: why the leader must not be followed; "" without.
            measured: where the followers are; None before the first measurement.
            target: what the followers were last told, behind the safety filter; None before that. Nothing new comes
                while they are stopped, released or not enabled.

        Returns:
            What to command; None to command nothing: the followers hold.
        """
        if self.state == State.RELEASED:
            return None
        self.distance = None if leader is None or measured is None else _distance(leader, measured.value)
        doubt = fault or self._doubt(now, leader, measured, target)
        if doubt or leader is None or measured is None or target is None:
            self._hold(doubt)
            return None
        is_stuck = self._is_stuck(now, leader, target.value)
        is_lost = _distance(leader, measured.value) > self.config.lose_distance
        if not self._commands or (self.state == State.FOLLOWING and (is_stuck or is_lost)):
            self._begin(measured.value, target.value)
        self._commands.append(self._command(leader, measured.value))
        return self._chunk(now)

    def _is_stuck(self, now: float, leader: FloatArray, target: FloatArray) -> bool:
        """Whether a joint's target has been away from the leader for long without coming nearer. The target, not the
        arm: one that leans on something stays behind and yet follows."""
        last, self._last_target = self._last_target, target
        behind = leader - target
        obeys = np.abs(behind) <= self.config.stuck_distance
        if last is not None:
            obeys |= (target - last) * behind > 0.0
        self._obeyed_at[obeys | _IS_GRIPPER | (self.state != State.FOLLOWING)] = now
        return bool(now - self._obeyed_at.min() > self.config.stuck_time)

    def _doubt(self, now: float, leader: FloatArray | None, measured: Joints | None, target: Joints | None) -> str:
        """Why nothing may be commanded; "" when it may."""
        if leader is None:
            return "the leader arms' position is not known"
        last, self._last_leader = self._last_leader, leader
        far = np.flatnonzero(~(np.abs(leader) <= _PLAUSIBLE))
        if len(far):
            return f"the leader's {JOINT_NAMES[far[0]]} reads {leader[far[0]]:.3f}, which no Piper reaches"
        if last is not None and (np.abs(leader - last) * _WEIGHTS).max() > self.config.max_jump:
            self._calm_from = now + self.config.calm_time
        if now < self._calm_from:
            return f"the leader jumped; it must be calm for {self.config.calm_time:g} s"
        if measured is None:
            return "joint_states: nothing received"
        if text := staleness(now, measured.stamp, self.config.max_follower_age):
            return f"joint_states: {text}"
        if target is None or staleness(now, target.stamp, self.config.max_follower_age):
            return "piper_node does not command the followers (joint_targets is silent); its diagnostics say why"
        return ""

    def _hold(self, reason: str) -> None:
        self.state, self.reason = State.HOLDING, reason
        self._commands.clear()

    def _begin(self, follower: FloatArray, target: FloatArray) -> None:
        """From where the follower is, its grippers as closed as they were told: what they hold would drop. Never
        straight into following."""
        start = np.where(_IS_GRIPPER, np.minimum(follower, target), follower)
        self._commands.extend(start for _ in range(self._num_known))
        self.state = State.APPROACHING

    def _command(self, leader: FloatArray, follower: FloatArray) -> FloatArray:
        """The next position to command [14]."""
        if self.state != State.FOLLOWING:
            command = self._approach(leader, follower)
            self.reason = f"the followers are on their way to the leader, {_distance(leader, follower):.2f} rad away"
            near = max(_distance(leader, follower), _distance(leader, command)) < self.config.engage_distance
            if not near:
                self.state = State.APPROACHING
                return command
            self.state, self.reason = State.FOLLOWING, ""
        return leader

    def _approach(self, leader: FloatArray, follower: FloatArray) -> FloatArray:
        """A step of the slow way, on a short leash: a follower that does not move must not be pulled."""
        reach = self.config.approach_speed * self._step / _WEIGHTS
        leash = np.where(_IS_GRIPPER, np.inf, _LEASH * self.config.approach_speed)
        last = self._commands[-1]
        wanted = last + np.clip(leader - last, -reach, reach)
        return follower + np.clip(wanted - follower, -leash, leash)

    def _chunk(self, now: float) -> ActionChunk:
        """The last `delay` of commands as the next `delay` of motion, then rest; before it, what is being executed."""
        num_rows = round(self.config.horizon * self.config.rate) + _NUM_PAST
        rows = [*self._commands, *[self._commands[-1]] * (num_rows - len(self._commands))]
        return ActionChunk(positions=np.stack(rows), stamp=now - _NUM_PAST * self._step, step=self._step)


def _distance(a: FloatArray, b: FloatArray) -> float:
    """Of the arm joints, the largest [rad]."""
    return float(np.abs(a - b)[~_IS_GRIPPER].max())
