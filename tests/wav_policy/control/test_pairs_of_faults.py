"""Two things go wrong, one into the other: no joint runs, and what is said leads back to arms that follow a chunk."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Final

import numpy as np
import pytest

from tests.wav_policy.control.loop_bench import START
from wav_models.types import ActionChunk, FloatArray
from wav_policy.control.collision_limits import CollisionLimits
from wav_policy.control.control_loop import ControlLoop
from wav_policy.control.loop_phases import Phase, Trigger
from wav_policy.control.safety import SafetyLimits
from wav_policy.control.stamp_clock import StampClock
from wav_policy.piper.bimanual import JointReading
from wav_policy.piper.inhibits import Inhibit, Reaction

LIMITS: Final = replace(SafetyLimits(), collision=CollisionLimits(check=False))
RATE: Final = 100.0
WINDOW: Final = round(0.2 * RATE)
SPEED: Final = 0.2
"""Of the joints that are led [rad/s]."""
FARTHEST: Final = 0.21
"""In 0.2 s: a joint goes home at 0.8 rad/s; a deaf one that hears again is at most 0.16 rad behind [rad]."""
LEFT, RIGHT = range(7), range(7, 14)
RESET: Final = "Support the arms, then call piper/reset and piper/enable."
INHIBITS: Final = {
    "hot": Inhibit(Reaction.HOLD, "motor warning", "left arm: joint1: motor too hot"),
    "stall": Inhibit(Reaction.HOLD, "motor warning", "left arm: joint3: stalled. Call piper/reset, then piper/enable"),
    "teach": Inhibit(Reaction.RELEASE, "teach mode", "left arm: in teach mode. Then call piper/enable."),
    "collision": Inhibit(Reaction.STOP, "motor fault", f"left arm: collision. {RESET}"),
    "master": Inhibit(Reaction.SILENCE, "leader on the bus", f"left arm: two masters would fight. {RESET}"),
    "off": Inhibit(Reaction.RELEASE, "not enabled", "right arm: not enabled. Support the arm, call piper/enable"),
    "stopped": Inhibit(Reaction.STOP, "emergency stop", f"in emergency stop. {RESET}"),
}


class Cell:
    """Two arms whose own controllers run after their targets at 3 rad/s, the loop, its operator and a policy.

    Attributes:
        deaf, silent, refusing: joints of arms that hear no target; that nobody hears, and that hear nothing; whose bus
            takes nothing.
        limp: joints without power.
        zeros: by how much each joint says more than is true, shape [14].
        inhibits: names of `INHIBITS`.
        has_policy: chunks come.
        called: services that were called and not refused.
        needed: services without which the arms must not follow again, each with how many had been called before.
    """

    def __init__(self) -> None:
        self.now, self.ros = 100.0, 1.7e9
        self.deaf: set[int] = set()
        self.silent: set[int] = set()
        self.refusing: set[int] = set()
        self.limp: set[int] = set()
        self.zeros = np.zeros(14)
        self.inhibits: set[str] = set()
        self.has_policy = True
        self.called: list[str] = []
        self.needed: list[tuple[str, int]] = []
        self.target = START.copy()
        self.really = START.copy()
        self.heard_at = [self.now, self.now]
        self.last = self.really.copy()
        self.path: deque[FloatArray] = deque([self.really.copy()], WINDOW)
        self.said: list[str] = []
        stamps = StampClock(lambda: self.ros, lambda: self.now)
        self.loop = ControlLoop(self, RATE, LIMITS, clock=lambda: self.now, stamps=stamps, on_inhibit=self.said.append)
        self.stamps = stamps
        self.loop.engage()

    def inhibit(self) -> Inhibit | None:
        return max((INHIBITS[name] for name in self.inhibits), key=lambda found: found.reaction, default=None)

    def read(self) -> JointReading:
        says = self.really + self.zeros
        for side, joints in enumerate((LEFT, RIGHT)):
            if self.silent.isdisjoint(joints):
                self.heard_at[side], self.last[joints] = self.now, says[joints]
        return JointReading(self.last.copy(), np.zeros(14), (self.heard_at[0], self.heard_at[1]))

    def write(self, position: FloatArray, mute: tuple[bool, bool]) -> tuple[bool, bool]:
        took = []
        for muted, joints in zip(mute, (LEFT, RIGHT), strict=True):
            takes = self.refusing.isdisjoint(joints) and self.silent.isdisjoint(joints)
            if takes and not muted and self.deaf.isdisjoint(joints):
                self.target[joints] = position[joints]
            took.append(takes)
        return took[0], took[1]

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds * RATE)):
            self.now, self.ros = self.now + 1 / RATE, self.ros + 1 / RATE
            way = self.target - self.zeros - self.really
            way[list(self.limp)] = 0.0
            self.really = self.really + np.clip(way, -3.0 / RATE, 3.0 / RATE)
            self.path.append(self.really.copy())
            assert np.abs(self.really - self.path[0]).max() < FARTHEST, (self.loop.state(), self.said)
            if self.has_policy and round(self.now * RATE) % 20 == 0:
                self.lead()
            self.loop.tick()

    def lead(self) -> None:
        """Both first joints back and forth, on from where they were led to."""
        target = self.loop._newest_target
        rows = np.tile(self.last if target is None else target, (16, 1))
        ahead = 0.1 * np.arange(1, 17)[:, None]
        there = 0.6 / np.pi * np.arcsin(np.sin(SPEED / 0.6 * np.pi * (self.now + ahead)))  # -0.3 .. 0.3, evenly
        rows[:, (0, 7)] += np.clip(there - rows[:, (0, 7)], -SPEED * ahead, SPEED * ahead)
        self.loop.accept(ActionChunk(rows, self.stamps.translate(self.ros), 0.1))

    def place(self, joints: range, by: float) -> None:
        """Moved by hand, or fallen: no joint has run."""
        self.really[joints[:6]] += by
        for before in self.path:
            before[joints[:6]] += by

    # The operator

    def call(self, service: str) -> str:
        """As piper_node does; why it refuses."""
        if service == "piper/reset":
            self.loop.trip("piper/reset")
            self.inhibits -= {"collision", "stopped", "master", "stall"}
            assert self.loop.reset()
            self.called.append(service)
            return ""
        if self.loop.stop_reason is not None:
            return RESET
        unfit = self.inhibits - {"off"}
        if unfit or self.silent:
            return INHIBITS[unfit.pop()].text if unfit else "the arm is not heard"
        self.loop.disengage()
        self.inhibits.clear()
        self.limp.clear()
        self.target = self.last.copy()
        assert self.loop.engage()
        self.called.append(service)
        return ""

    def need(self, *services: str) -> None:
        """Nothing but these leads back from now on."""
        self.needed += [(service, len(self.called)) for service in services]

    def next_call(self, answer: str) -> str:
        """What the newest words name: an answer, the loop's, an arm's."""
        state, arm = self.loop.state(), self.inhibit()
        said = [answer, state.detail, arm.text if arm else "", "piper/enable" if state.phase is Phase.IDLE else ""]
        named = re.search(r"piper/(?:enable|reset)\b", " ".join(said))
        return named.group() if named else ""

    def is_following(self) -> bool:
        reason, places = self.loop.state().reason, []
        for _ in range(8):
            self.run(0.1)
            places.append(self.really[[0, 7]])
        return reason == "" and bool((np.ptp(places, axis=0) > 0.03).all())


def silence(joints: range) -> tuple[Callable[[Cell], None], Callable[[Cell], None]]:
    return lambda cell: cell.silent.update(joints), lambda cell: cell.silent.difference_update(joints)


def in_the_way(name: str, *needs: str, stays: bool = False) -> tuple[Callable[[Cell], None], Callable[[Cell], None]]:
    def begin(cell: Cell) -> None:
        cell.inhibits.add(name)
        cell.need(*needs)

    return begin, lambda cell: None if stays else cell.inhibits.discard(name)


def lose_power(cell: Cell) -> None:
    cell.silent.update(RIGHT)
    cell.limp.update(RIGHT)
    cell.run(0.3)
    cell.place(RIGHT, 0.3)
    cell.inhibits.add("off")
    cell.need("piper/enable")


def move_unheard(cell: Cell) -> None:
    cell.silent.update(LEFT)
    cell.limp.update(LEFT)
    cell.run(0.3)
    cell.place(LEFT, 0.2)
    cell.target[LEFT] = (cell.really + cell.zeros)[LEFT]
    cell.need("piper/enable")


def hear_moved(cell: Cell) -> None:
    cell.silent.difference_update(LEFT)
    cell.limp.difference_update(LEFT)


def lose_zero(cell: Cell) -> None:
    """An arm that nobody commands, or that hears nothing, does with it what it does: here it stays where it is."""
    cell.zeros[8] += 0.8
    if not (cell.loop.state().phase.commands and cell.silent.isdisjoint(RIGHT)):
        cell.target[8] += 0.8
    cell.need("piper/enable")


def stop(cell: Cell) -> None:
    cell.loop.trip("piper/stop")
    cell.target = cell.really + cell.zeros
    cell.inhibits.add("stopped")
    cell.need("piper/reset", "piper/enable")


def step_clock(cell: Cell) -> None:
    cell.ros += 3600.0


def stall(cell: Cell) -> None:
    for _ in range(round(0.3 * RATE)):
        cell.now, cell.ros = cell.now + 1 / RATE, cell.ros + 1 / RATE


def nothing(cell: Cell) -> None:
    """It is over by itself, or stays."""


FAULTS: Final = {
    "left arm deaf": (lambda cell: cell.deaf.update(LEFT), lambda cell: cell.deaf.difference_update(LEFT)),
    "left arm silent": silence(LEFT),
    "right arm silent": silence(RIGHT),
    "left bus full": (lambda cell: cell.refusing.update(LEFT), lambda cell: cell.refusing.clear()),
    "left arm moved while it is not heard": (move_unheard, hear_moved),
    "right arm loses its power": (lose_power, lambda cell: cell.silent.difference_update(RIGHT)),
    "right joint 2 loses its zero": (lose_zero, nothing),
    "motor hot": in_the_way("hot"),
    "stall that stays": in_the_way("stall", "piper/reset", "piper/enable", stays=True),
    "teach button": in_the_way("teach", "piper/enable"),
    "collision": in_the_way("collision", "piper/reset", "piper/enable", stays=True),
    "second master": in_the_way("master", "piper/reset", "piper/enable", stays=True),
    "policy dead": (
        lambda cell: (setattr(cell, "has_policy", False), cell.loop.reject("policy lost")),
        lambda cell: setattr(cell, "has_policy", True),
    ),
    "clock set": (step_clock, nothing),
    "loop stalls": (stall, nothing),
    "piper/stop": (stop, nothing),
    "piper/hold": (lambda cell: cell.loop.hold("held by request"), nothing),
    "the node ends": (lambda cell: (cell.loop._go(Trigger.DISENGAGE), None)[1], nothing),
    "piper/home": (lambda cell: cell.loop._begin(START, 0.8, False), nothing),
    "piper/enable": (lambda cell: (cell.call("piper/enable"), None)[1], nothing),
}


NAMES: Final = list(FAULTS)
PAUSES: Final = (0.02, 0.15, 0.8)


@pytest.mark.parametrize(("first", "second"), zip(NAMES, [*NAMES[7:], *NAMES[:7]], strict=True))
def test_no_pair_surprises(first: str, second: str) -> None:
    try_pair(first, second, PAUSES[len(first + second) % 3])


@pytest.mark.slow
@pytest.mark.parametrize("first", NAMES)
def test_none_of_all_pairs_does(first: str) -> None:
    for second, pause in product(NAMES, PAUSES):
        try_pair(first, second, pause)


def try_pair(first: str, second: str, pause: float) -> None:
    """Begin both, a pause apart; end both, a pause apart, those that are long in turn."""
    cell = Cell()
    cell.run(1.5)
    assert cell.is_following()
    begun = [FAULTS[name] for name in dict.fromkeys((first, second))]
    for begin, _ in begun:
        begin(cell)
        cell.run(pause)
    cell.run(1.5)
    for _, end in begun if pause < 0.5 else reversed(begun):
        end(cell)
        cell.run(pause)
    walk_back(cell)


def walk_back(cell: Cell) -> None:
    calls, answer = [], ""
    while True:
        cell.run(2.0)
        if cell.is_following():
            assert all(service in cell.called[since:] for service, since in cell.needed), (cell.called, cell.needed)
            return
        calls.append(cell.next_call(answer))
        assert calls[-1], (cell.loop.state(), calls)
        assert len(calls) < 6, (cell.loop.state(), calls)
        answer = cell.call(calls[-1])
