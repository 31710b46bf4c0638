"""A simulated arm whose physics is slower than real time is a slow arm or a silent one, but none that is deaf."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.wav_policy.control.loop_bench import START, Bench, PerfectArms
from tests.wav_policy.kinematic_arm import KinematicArm
from wav_models.types import FloatArray
from wav_policy.control.loop_phases import Phase
from wav_policy.piper import units
from wav_policy.piper.bimanual import JointReading
from wav_policy.piper.frames import ControlMode, FrameId
from wav_policy.piper.setpoints import setpoint_frames
from wav_policy.sim.firmware import FaultSet, FeedbackRates, PiperFirmware

FASTEST = 3.0
"""Of the motors [rad/s]."""

TICK = FeedbackRates().tick


class SlowArm(KinematicArm):
    """Its motors have done `done` [s] of their work."""

    done = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.wanted = self.position.copy()

    def command(self, position: object, stroke: float | None) -> None:
        if position is not None:
            self.wanted = np.array(position, dtype=np.float64)

    def work(self, seconds: float) -> None:
        self.done += seconds
        self.position = self.position + np.clip(self.wanted - self.position, -FASTEST * seconds, FASTEST * seconds)


class SlowArms(PerfectArms):
    """The left arm is a firmware over a `SlowArm`; the right one obeys at once."""

    def __init__(self, clock: Callable[[], float], real_time_factor: float) -> None:
        super().__init__(clock)
        self.factor = real_time_factor
        self.plant = SlowArm()
        self.plant.position = START[:6].copy()
        self.firmware = PiperFirmware(self.plant)
        self.then = self.heard_at = clock()
        self.owed = 0.0
        self.speed: FloatArray = np.zeros(14)
        for motor in range(1, 7):
            self.firmware.on_frame(FrameId.MOTOR_POWER, bytes((motor, 2)).ljust(8, b"\0"))
        self.firmware.on_frame(FrameId.MOTION_CONTROL_2, bytes((ControlMode.CAN, 1, 100)).ljust(8, b"\0"))

    def read(self) -> JointReading:
        now = self.clock()
        self.owed += self.factor * (now - self.then)
        self.then = now
        told: dict[int, bytes] = {}
        while self.owed >= TICK:
            self.owed -= TICK
            self.plant.work(TICK)
            told = dict(self.firmware.tick(self.plant.done))
        if FrameId.JOINTS_56 in told:
            before = self.position.copy()
            for pair in range(3):
                counts = np.frombuffer(told[FrameId(FrameId.JOINTS_12 + pair)], dtype=">i4").tolist()
                self.position[2 * pair : 2 * pair + 2] = units.radians_from_millidegrees(counts)
            self.speed = (self.position - before) / max(now - self.heard_at, 1e-3)
            self.heard_at = now
        return JointReading(self.position.copy(), self.speed, (self.heard_at, now))

    def write(self, position: FloatArray, mute: tuple[bool, bool]) -> tuple[bool, bool]:
        self.position[7:] = position[7:]
        if not mute[0]:
            for number, data in setpoint_frames(position[:7], 1.0):
                self.firmware.on_frame(number, data)
        return True, True


def lead(real_time_factor: float, faults: str = "") -> Bench:
    """Swing the first joint to and fro for a while, then rest."""
    bench = Bench()
    arms = SlowArms(lambda: bench.now, 1.0)
    bench.arms = bench.loop._arms = arms
    bench.run(0.2)
    bench.loop.engage()
    bench.run(0.2)
    arms.factor = real_time_factor
    arms.firmware.set_faults(FaultSet.parse(faults))
    for goal in (0.8, 0.8, 0.8, -0.8, -0.8, -0.8, 0.8, 0.8):
        chunk = bench.chunk(goal)
        chunk.positions[:, 0] = goal
        bench.loop.accept(chunk)
        bench.run(0.25)
    bench.run(2.0)
    return bench


@pytest.mark.parametrize("real_time_factor", [1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.0])
def test_slow_physics_is_no_deaf_arm(real_time_factor: float) -> None:
    bench = lead(real_time_factor)
    assert bench.loop.state().phase is not Phase.HELD, bench.loop.state().detail
    assert bench.faults == []
    if real_time_factor == 0.0:
        assert bench.loop.state().phase is Phase.WAITING, "nothing is heard of it"


@pytest.mark.parametrize("real_time_factor", [1.0, 0.5])
def test_a_deaf_arm_is_found_in_slow_physics_too(real_time_factor: float) -> None:
    bench = lead(real_time_factor, "ignore_joints")
    assert bench.loop.state().reason == "not following"
    assert "left_joint1" in bench.loop.state().detail
