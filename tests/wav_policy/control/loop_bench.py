"""A control loop over arms that obey, with a clock that the test turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from wav_models.types import ActionChunk, FloatArray
from wav_policy.control.control_loop import ControlLoop
from wav_policy.control.safety import SafetyLimits
from wav_policy.control.stamp_clock import StampClock
from wav_policy.piper.bimanual import JointReading
from wav_policy.piper.inhibits import Inhibit

START = np.array([0.0, 1.0, -1.0, 0.0, 0.5, 0.0, 0.03] * 2)
RATE = 200.0


class PerfectArms:
    """Where they were last told to be; can be made to fail or to go stale. `writes` is what they have heard."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.position = START.copy()
        self.writes: list[FloatArray] = []
        self.error: Exception | None = None
        self.frozen_at: float | None = None
        self.in_the_way: Inhibit | None = None

    def inhibit(self) -> Inhibit | None:
        return self.in_the_way

    def read(self) -> JointReading:
        stamp = self.clock() if self.frozen_at is None else self.frozen_at
        return JointReading(self.position.copy(), np.zeros(14), (stamp, stamp))

    def write(self, position: FloatArray, mute: tuple[bool, bool]) -> tuple[bool, bool]:
        if self.error is not None:
            raise self.error
        self.position = np.where(np.repeat(mute, 7), self.position, position)
        self.writes.append(self.position)
        return True, True


class LaggingArms(PerfectArms):
    """Come nearer to their target by a share of the rest: on their way they lag by speed times `lag` [s]."""

    def __init__(self, clock: Callable[[], float], lag: float) -> None:
        super().__init__(clock)
        self.lag = lag
        self.target = START.copy()
        self.then = clock()

    def read(self) -> JointReading:
        now, before = self.clock(), self.position
        elapsed, self.then = now - self.then, now
        self.position = before + (1.0 - np.exp(-elapsed / self.lag)) * (self.target - before)
        return JointReading(self.position.copy(), (self.position - before) / elapsed, (now, now))

    def write(self, position: FloatArray, mute: tuple[bool, bool]) -> tuple[bool, bool]:
        self.target = np.where(np.repeat(mute, 7), self.target, position)
        self.writes.append(self.target)
        return True, True


class Bench:
    """A loop whose clocks the test turns.

    Attributes:
        now: monotonic time [s].
        ros_offset: of ROS time against it [s].
    """

    def __init__(self, lag: float = 0.0) -> None:
        self.now = 1_000.0
        self.ros_offset = 1.7e9
        self.arms = LaggingArms(lambda: self.now, lag) if lag else PerfectArms(lambda: self.now)
        self.faults: list[str] = []
        self.told: list[str] = []
        self.stamps = StampClock(lambda: self.now + self.ros_offset, lambda: self.now)
        self.loop = ControlLoop(
            self.arms,
            RATE,
            SafetyLimits(),
            on_fault=self.faults.append,
            on_inhibit=self.told.append,
            clock=lambda: self.now,
            stamps=self.stamps,
        )

    def receive(self, chunk: ActionChunk, ros_stamp: float) -> None:
        """A chunk comes whose observation has that ROS time [s]."""
        self.loop.accept(replace(chunk, stamp=self.stamps.translate(ros_stamp)))

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds * RATE)):
            self.now += 1.0 / RATE
            self.loop.tick()

    def chunk(self, joint0: float, rows: int = 8) -> ActionChunk:
        """An even motion of the first joint to `joint0` [rad]."""
        positions = np.tile(START, (rows, 1))
        positions[:, 0] = np.linspace(self.arms.position[0], joint0, rows + 1)[1:]
        return ActionChunk(positions, stamp=self.now, step=0.1)
