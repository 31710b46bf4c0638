"""A joint that loses its zero says that it is elsewhere than it is, and its controller drives it back to where its
target seems to be: simulated firmware, decoding and control loop, in a time that the test turns."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.wav_policy.kinematic_arm import KinematicArm
from wav_models.types import ActionChunk
from wav_policy.control.control_loop import ControlLoop
from wav_policy.control.loop_phases import Phase
from wav_policy.control.safety import SafetyLimits
from wav_policy.piper.bimanual import JointReading, _joined
from wav_policy.piper.feedback import FeedbackReader
from wav_policy.piper.setpoints import setpoint_frames
from wav_policy.robot.joints import JOINT_NAMES
from wav_policy.sim.firmware import FaultSet, FeedbackRates, arm_firmware
from wav_policy.sim.firmware.arm_firmware import PiperFirmware


class Wired:
    """Both arms as the control loop sees them, without threads.

    Args:
        rate: of the joints' feedback [Hz].
        dropped: share of the frames that are lost.
        garbled: share of the frames in which one byte is another one.
    """

    def __init__(self, rate: float, dropped: float = 0.0, garbled: float = 0.0) -> None:
        self.now = 1000.0
        self.rng = np.random.default_rng(0)
        self.dropped, self.garbled = dropped, garbled
        self.plants = [KinematicArm() for _ in range(2)]
        self.firmware = [PiperFirmware(plant, FeedbackRates(joints=rate, gripper=rate)) for plant in self.plants]
        bus: Any = SimpleNamespace(garbled=0)
        sdk: Any = SimpleNamespace(ParseCANFrame=lambda message: None)
        self.readers = [FeedbackReader(bus, sdk, "x", lambda: self.now, lambda: None, 0.5) for _ in range(2)]
        for firmware in self.firmware:
            firmware.on_frame(0x471, bytes([7, 2, 0, 0, 0, 0, 0, 0]))
            firmware.on_frame(0x151, bytes([1, 1, 100, 0, 0, 0, 0, 0]))
        self.loop = ControlLoop(self, 200.0, SafetyLimits(), clock=lambda: self.now)
        self.run(0.2)
        assert self.loop.engage()
        self.run(0.2)

    def inhibit(self) -> None:
        return None

    def read(self) -> JointReading | None:
        left, right = (reader.latest for reader in self.readers)
        return None if left is None or right is None else _joined(left, right)

    def write(self, position: np.ndarray, mute: tuple[bool, bool]) -> tuple[bool, bool]:
        for firmware, half in zip(self.firmware, (position[:7], position[7:]), strict=True):
            for identifier, data in setpoint_frames(half, 1.0):
                firmware.on_frame(identifier, data)
        return True, True

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.005)):
            self.now += 0.005
            for firmware, reader in zip(self.firmware, self.readers, strict=True):
                for identifier, data in firmware.tick(self.now):
                    if self.rng.random() < self.dropped:
                        continue
                    if self.rng.random() < self.garbled:
                        data = bytearray(data)
                        data[self.rng.integers(8)] = self.rng.integers(256)
                    reader.take([(identifier, bytes(data))])
            self.loop.tick()

    def follow(self, to: float, seconds: float) -> None:
        """An even motion of both first joints [rad]."""
        rows = np.tile(self.read().position, (round(seconds / 0.1) + 1, 1))  # type: ignore[union-attr]
        rows[:, (0, 7)] = np.linspace(rows[0, (0, 7)], (to, to), len(rows))
        self.loop.accept(ActionChunk(rows, self.now, 0.1))
        self.run(seconds)


@pytest.mark.parametrize("rate", [100.0, 200.0])
@pytest.mark.parametrize("degrees", [5.0, 9.0, 20.0])
@pytest.mark.parametrize("joint", [0, 9])
def test_a_joint_at_rest_that_loses_its_zero_holds_the_arms_and_is_named(
    monkeypatch: pytest.MonkeyPatch, rate: float, degrees: float, joint: int
) -> None:
    monkeypatch.setattr(arm_firmware, "_SLIP", np.radians(degrees))
    arms = Wired(rate)
    before = [plant.position.copy() for plant in arms.plants]
    arms.firmware[joint // 7].set_faults(FaultSet.parse(f"zero_lost {joint % 7 + 1}"))
    arms.run(1.0)
    state = arms.loop.state()
    assert (state.phase, state.reason) == (Phase.HELD, "jumped")
    assert state.detail.startswith(f"{JOINT_NAMES[joint]} jumped to")
    assert "piper/left/reset" in state.detail
    moved = np.concatenate([plant.position - was for plant, was in zip(arms.plants, before, strict=True)])
    assert abs(moved[joint - joint // 7]) <= min(0.16, np.radians(degrees) + 1e-3), "50 ms at 3 rad/s"
    assert np.abs(np.delete(moved, joint - joint // 7)).max() < 1e-3


@pytest.mark.parametrize("speed", [0.3, 2.5])
@pytest.mark.parametrize("rate", [100.0, 200.0])
def test_neither_motion_nor_a_bad_bus_is_a_lost_zero(rate: float, speed: float) -> None:
    """A third of the frames is lost, and 2 % are damaged, while the arms start and stop as fast as they may."""
    arms = Wired(rate, dropped=0.3, garbled=0.02)
    for to in (1.0, 0.0) * 2:
        arms.follow(to * speed, 1.0)
        arms.run(0.5)
        assert arms.loop.state().reason != "jumped", arms.loop.state().detail


def test_a_hard_push_is_no_lost_zero() -> None:
    """30 rad/s^2, from rest, until the arm is 0.3 rad away."""
    arms = Wired(100.0)
    plant = arms.plants[0]
    plant.command = lambda position, stroke: None  # type: ignore[method-assign]
    start = plant.position.copy()
    for tick in range(28):
        plant.position = start + np.eye(6)[1] * 0.5 * 30.0 * (tick * 0.005) ** 2
        arms.run(0.005)
        assert arms.loop.state().reason != "jumped"
