"""What the tasks' failures are made of: from a moment on, a demonstrator follows a false idea or a fixed tour.

Every failure parts from skilled behaviour in a state that skilled behaviour passes through, and shows within a second
or two what it leads to, so that whoever imagines futures from that state can tell the two apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from wav_models.types import FloatArray
from wav_policy.robot.joints import SIDES
from wav_policy.robot.kinematics import MAX_STROKE
from wav_policy.sim.operator import GAIN, MAX_STEP, Intent, arm_part, home_tip, limited, outward, targets_of_both
from wav_policy.sim.task import Cell, Operator

_ARRIVED: Final = 0.015  # m
_GRIPPER_STEPS: Final = 5
"""Actions that a gripper is given to open or close at a stop."""

Idea = Callable[["Cell"], "Operator"]

Choice = tuple[str, str, float]
"""ScriptedFailure, decision point and weight."""


class FromMoment:
    """A failure: `idea` makes what acts from the moment on that comes `delay` actions after `moment` first held.

    Args:
        name: as recorded.
        moment: the decision point.
        delay: actions after its beginning.
        idea: called once, with the world as it is then.
    """

    def __init__(self, name: str, moment: Callable[[Cell], bool], delay: int, idea: Idea):
        self.name = name
        self._moment = moment
        self._delay = delay
        self._idea = idea
        self._reached = False
        self._acting: Operator | None = None

    def begins(self, world: Cell) -> bool:
        """Whether the moment of the failure has come."""
        self._reached = self._reached or self._moment(world)
        self._delay -= self._reached
        return self._delay < 0

    def act(self, world: Cell) -> FloatArray:
        """Joint targets for the next 0.1 s, shape [14], rad and m."""
        if self._acting is None:
            self._acting = self._idea(world)
        return self._acting.act(world)


def draw_failure(
    choices: Sequence[Choice],
    latest: Mapping[str, int],
    moments: Mapping[str, Callable[..., bool]],
    ideas: Mapping[str, Callable[..., Operator]],
    subject: tuple[Any, ...],
    rng: np.random.Generator,
) -> FromMoment:
    """A random failure at a random decision point.

    Args:
        choices: what may go wrong, and when.
        latest: most actions between a decision point and the failure; none where it is not named.
        moments: decision point but "start" -> whether it has come, called with `subject` and the world.
        ideas: failure but "wander" and "freeze" -> what acts then, called with `subject`, `rng` and the world.
        subject: what the task is about.
        rng: decides, also within the failure.
    """
    weights = np.array([weight for *_, weight in choices])
    name, moment, _ = choices[rng.choice(len(choices), p=weights / weights.sum())]
    delay = int(rng.integers(0, latest.get(moment, 0) + 1))
    has_come = partial({"start": lambda *_: True, **moments}[moment], *subject)
    idea = partial(_OF_EVERY_TASK[name], rng) if name in _OF_EVERY_TASK else partial(ideas[name], *subject, rng)
    return FromMoment(f"{name}@{moment}", has_come, delay, idea)


class Freeze:
    """Stays where it is and holds what it holds."""

    def __init__(self, world: Cell):
        self._targets = world.joint_positions
        for side in SIDES:
            arm = arm_part(self._targets, side)
            arm[-1] = gripping_stroke(float(arm[-1]))

    def act(self, world: Cell) -> FloatArray:
        """Joint targets [14], rad and m."""
        return self._targets.copy()


def gripping_stroke(measured: float) -> float:
    """The stroke to command to a gripper that shall go on with what it does: closed or open [m]."""
    return MAX_STROKE if measured > MAX_STROKE / 2 else 0.0


class Tour:
    """Takes one arm's finger tips from stop to stop and rests at the last; the other arm goes home.

    Args:
        side: the arm that tours.
        stops: where to go, and with which stroke; a change of stroke is made standing still.
    """

    def __init__(self, side: str, stops: Sequence[Intent]):
        self._side = side
        self._stops = list(stops)
        self._steps_there = 0

    def act(self, world: Cell) -> FloatArray:
        """Joint targets for the next 0.1 s, shape [14], rad and m."""
        with world.lock:
            measured, tip = world.joint_positions, world.tip(self._side)
        self._proceed(tip)
        stop = self._stops[0]
        step = Intent(tip + GAIN * limited(stop.tip - tip, MAX_STEP), stop.stroke)
        return targets_of_both(measured, {self._side: step})

    def _proceed(self, tip: FloatArray) -> None:
        """Go on to the next stop when this one is reached and the gripper has had its time."""
        self._steps_there += bool(np.linalg.norm(self._stops[0].tip - tip) < _ARRIVED)
        if len(self._stops) < 2:
            return
        turning = self._stops[0].stroke != self._stops[1].stroke or self._steps_there < 1
        if self._steps_there >= (_GRIPPER_STEPS if turning else 1):
            del self._stops[0]
            self._steps_there = 0


def home_stop(side: str) -> Intent:
    """The finger tips at home, open."""
    return Intent(home_tip(side), MAX_STROKE)


def _wander(rng: np.random.Generator, world: Cell) -> Operator:
    """Off to some place in the air that is far from where the finger tips are, and no further."""
    side = world.task.working_side(world)
    tip = world.tip(side)
    while True:
        place = np.array([rng.uniform(0.14, 0.32), outward(side) * rng.uniform(0.04, 0.34), rng.uniform(0.13, 0.22)])
        if np.linalg.norm((place - tip)[:2]) > 0.12:
            break
    above = np.array([tip[0], tip[1], max(tip[2], 0.13)])
    stroke = gripping_stroke(float(arm_part(world.joint_positions, side)[-1]))
    return Tour(side, [Intent(above, stroke), Intent(place, stroke)])


_OF_EVERY_TASK: Final[Mapping[str, Callable[[np.random.Generator, Cell], Operator]]] = {
    "wander": _wander,
    "freeze": lambda rng, world: Freeze(world),
}
