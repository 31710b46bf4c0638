"""The firmware's rules, frame by frame."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from tests.wav_policy.kinematic_arm import KinematicArm
from wav_policy.piper import frames, units
from wav_policy.piper.frames import ArmState, ControlMode, FrameId, MotorState
from wav_policy.sim.firmware import FaultSet, FeedbackRates, Flash, PiperFirmware

PERIOD = 0.01


class Bench:
    """A firmware with a clock and everything it ever sent."""

    def __init__(self, rates: FeedbackRates | None = None) -> None:
        self.plant = KinematicArm()
        self.firmware = PiperFirmware(self.plant, rates)
        self.now = 0.0
        self.last: dict[int, bytes] = {}
        self.counts: dict[int, int] = {}

    def send(self, identifier: int, *data: int) -> None:
        self.firmware.on_frame(identifier, bytes(data).ljust(8, b"\0"))

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / PERIOD)):
            self.now += PERIOD
            for identifier, data in self.firmware.tick(self.now):
                assert len(data) == 8
                self.last[identifier] = data
                self.counts[identifier] = self.counts.get(identifier, 0) + 1

    def enable(self, speed: int = 100) -> None:
        for motor in range(1, 7):
            self.send(FrameId.MOTOR_POWER, motor, frames.MOTOR_ENABLE)
        self.run(PERIOD)
        self.send(FrameId.MOTION_CONTROL_2, ControlMode.CAN, frames.MOVE_JOINT, speed)

    def target(self, *angles: float) -> None:
        counts = units.millidegrees_from_radians(angles)
        for pair in range(3):
            data = struct.pack(">ii", counts[2 * pair], counts[2 * pair + 1])
            self.firmware.on_frame(FrameId.JOINT_TARGET_12 + pair, data)

    def enabled(self) -> list[bool]:
        self.run(0.2)
        return [bool(self.last[FrameId.MOTOR_SLOW_1 + joint][5] & MotorState.ENABLED) for joint in range(6)]

    @property
    def status(self) -> bytes:
        return self.last[FrameId.STATUS]


GOAL = (0.3, 1.3, -0.7, 0.3, 0.8, 0.3)


def test_feedback_is_sent_at_its_rates() -> None:
    bench = Bench(FeedbackRates(joints=100, gripper=50, status=20, motors_slow=10, motors_fast=100, end_pose=25))
    bench.run(2.0)
    expected = {0x2A5: 200, 0x2A7: 200, 0x2A8: 100, 0x2A1: 40, 0x261: 20, 0x256: 200, 0x2A4: 50}
    assert {identifier: bench.counts[identifier] for identifier in expected} == pytest.approx(expected, abs=1)


def test_a_late_tick_causes_no_burst() -> None:
    bench = Bench()
    bench.run(0.1)
    before = bench.counts[0x2A5]
    bench.now += 1.0
    bench.run(0.02)
    assert bench.counts[0x2A5] - before <= 3


def test_joint_feedback_is_big_endian_millidegrees() -> None:
    bench = Bench()
    bench.plant.position = np.radians([-150.0, 12.345, -0.001, 0.0, 69.999, 120.0])
    bench.run(0.1)
    counts = [c for pair in range(3) for c in struct.unpack(">ii", bench.last[FrameId.JOINTS_12 + pair])]
    assert counts == [-150000, 12345, -1, 0, 69999, 120000]


def test_nothing_moves_until_all_six_motors_are_enabled() -> None:
    bench = Bench()
    start = bench.plant.position.copy()
    for motor in range(1, 6):
        bench.send(FrameId.MOTOR_POWER, motor, frames.MOTOR_ENABLE)
    bench.send(FrameId.MOTION_CONTROL_2, ControlMode.CAN, frames.MOVE_JOINT, 100)
    bench.target(*GOAL)
    assert bench.enabled() == [True] * 5 + [False]
    assert not bench.plant.powered
    np.testing.assert_array_equal(bench.plant.position, start)


@pytest.mark.parametrize("everyone", [7, 0xFF])
def test_all_motors_at_once(everyone: int) -> None:
    bench = Bench()
    bench.send(FrameId.MOTOR_POWER, everyone, frames.MOTOR_ENABLE)
    assert bench.enabled() == [True] * 6
    bench.send(FrameId.MOTOR_POWER, everyone, frames.MOTOR_DISABLE)
    assert bench.enabled() == [False] * 6


def test_targets_before_can_mode_are_ignored() -> None:
    bench = Bench()
    start = bench.plant.position.copy()
    bench.send(FrameId.MOTOR_POWER, 7, frames.MOTOR_ENABLE)
    bench.run(0.1)
    bench.target(*GOAL)
    bench.run(1.0)
    np.testing.assert_allclose(bench.plant.position, start, atol=1e-9)


@pytest.mark.parametrize("speed", [10, 50, 100])
def test_motion_keeps_the_speed_percentage_and_arrives(speed: int) -> None:
    bench = Bench()
    bench.enable(speed)
    bench.run(0.05)
    bench.target(*GOAL)
    bench.run(0.05)
    assert bench.plant.position[0] == pytest.approx(0.05 * 3.0 * speed / 100, rel=1e-6)
    assert bench.status[4] == 1 or speed == 100
    bench.run(1.2)
    np.testing.assert_allclose(bench.plant.position, GOAL, atol=np.radians(0.0006))
    assert bench.status[4] == 0


def test_targets_beyond_the_limits_are_clamped_and_flagged() -> None:
    bench = Bench()
    bench.enable()
    bench.run(0.05)
    bench.target(3.0, -0.5, -1.0, 0.0, 0.0, 0.0)
    bench.run(3.0)
    assert bench.plant.position[:2] == pytest.approx([np.radians(150), 0.0], abs=1e-6)
    assert bench.status[1] == ArmState.TARGET_OUT_OF_LIMITS
    assert bench.status[6] == 0b000011
    bench.target(*GOAL)
    bench.run(0.1)
    assert (bench.status[1], bench.status[6]) == (ArmState.NORMAL, 0)


def test_emergency_stop_latches_until_reset_and_two_enables() -> None:
    bench = Bench()
    bench.enable(10)
    bench.run(0.05)
    bench.target(*GOAL)
    bench.run(0.1)
    bench.send(FrameId.MOTION_CONTROL_1, frames.EMERGENCY_STOP)
    bench.run(0.1)
    stopped_at = bench.plant.position.copy()
    assert bench.status[1] == ArmState.EMERGENCY_STOP
    bench.target(*GOAL)
    bench.enable()
    bench.target(*GOAL)
    bench.run(0.5)
    np.testing.assert_array_equal(bench.plant.position, stopped_at)

    bench.send(FrameId.MOTION_CONTROL_1, frames.RESET)
    bench.run(0.05)
    assert not bench.plant.powered, "a reset cuts the power"
    assert (bench.status[0], bench.status[1]) == (ControlMode.STANDBY, ArmState.NORMAL)
    bench.enable()
    assert bench.enabled() == [False] * 6, "the first enable after an emergency stop only clears the fault"
    bench.enable()
    assert bench.enabled() == [True] * 6
    bench.run(0.2)
    np.testing.assert_array_equal(bench.plant.position, stopped_at), "old targets are forgotten"


def test_enabling_holds_where_the_arm_is() -> None:
    bench = Bench()
    bench.plant.position = np.array([0.5, 0.7, -0.9, 0.1, 0.2, 0.3])
    bench.enable()
    bench.run(0.5)
    np.testing.assert_allclose(bench.plant.position, [0.5, 0.7, -0.9, 0.1, 0.2, 0.3])


def test_teach_mode_refuses_can_control_until_it_is_left() -> None:
    bench = Bench()
    bench.enable()
    bench.send(FrameId.MOTION_CONTROL_1, 0, 0, frames.TEACH_ENTER)
    bench.send(FrameId.MOTION_CONTROL_2, ControlMode.CAN, frames.MOVE_JOINT, 100)
    bench.run(0.1)
    assert bench.status[0] == ControlMode.TEACH
    bench.send(FrameId.MOTION_CONTROL_1, 0, 0, frames.TEACH_LEAVE)
    bench.send(FrameId.MOTION_CONTROL_2, ControlMode.CAN, frames.MOVE_JOINT, 100)
    bench.run(0.1)
    assert bench.status[0] == ControlMode.CAN


def test_gripper_moves_only_when_on_and_within_its_stroke() -> None:
    bench = Bench()
    bench.firmware.on_frame(FrameId.GRIPPER_TARGET, struct.pack(">iHBB", 60_000, 1000, 0, 0))
    bench.run(1.0)
    assert bench.plant.stroke == 0.03
    bench.firmware.on_frame(FrameId.GRIPPER_TARGET, struct.pack(">iHBB", 90_000, 1000, 1, 0))
    bench.run(1.0)
    assert bench.plant.stroke == pytest.approx(0.07)
    assert bench.last[FrameId.GRIPPER][6] == 0b11000000
    bench.send(FrameId.GRIPPER_SETTING, 100, 100)
    bench.firmware.on_frame(FrameId.GRIPPER_TARGET, struct.pack(">iHBB", 90_000, 1000, 1, 0))
    bench.run(1.0)
    assert bench.plant.stroke == pytest.approx(0.09)
    assert bench.last[FrameId.ACKNOWLEDGE][0] == 0x7D


def test_limits_can_be_asked_and_set() -> None:
    bench = Bench()
    bench.send(FrameId.LIMIT_QUERY, 3, 1)
    bench.run(PERIOD)
    assert struct.unpack(">BhhHx", bench.last[FrameId.LIMIT_REPLY]) == (3, 0, -1700, 300), "0.1 deg, 0.01 rad/s"
    bench.firmware.on_frame(FrameId.LIMIT_SETTING, struct.pack(">BhhHx", 3, -10, -900, 100))
    bench.send(FrameId.LIMIT_QUERY, 3, 1)
    bench.run(PERIOD)
    assert struct.unpack(">BhhHx", bench.last[FrameId.LIMIT_REPLY]) == (3, -10, -900, 100)
    bench.send(FrameId.LIMIT_QUERY, 3, 2)
    bench.run(PERIOD)
    assert struct.unpack(">BH5x", bench.last[FrameId.ACCELERATION_REPLY]) == (3, 500), "0.01 rad/s^2"


def test_the_acceleration_that_is_set_is_the_one_that_is_told() -> None:
    bench = Bench()
    bench.firmware.on_frame(FrameId.JOINT_SETTING, struct.pack(">BBBHBxx", 2, 0, frames.CONFIRM, 250, 0))
    bench.send(FrameId.LIMIT_QUERY, 2, 2)
    bench.run(PERIOD)
    assert struct.unpack(">BH5x", bench.last[FrameId.ACCELERATION_REPLY]) == (2, 250)
    assert bench.firmware.flash.limits[1].max_acceleration == 2.5


def test_parameters_and_defaults() -> None:
    bench = Bench()
    bench.firmware.on_frame(FrameId.LIMIT_SETTING, struct.pack(">BhhHx", 3, -10, -900, 100))
    bench.firmware.on_frame(FrameId.JOINT_SETTING, struct.pack(">BBBHBxx", 7, 0, frames.CONFIRM, 300, 0))
    bench.send(FrameId.CRASH_LEVEL_SETTING, 1, 2, 3, 4, 5, 9)
    bench.send(FrameId.PARAMETER_QUERY, frames.QUERY_CRASH_LEVELS)
    bench.run(PERIOD)
    assert bench.last[FrameId.CRASH_LEVEL_REPLY] == bytes((1, 2, 3, 4, 5, 1, 0, 0)), "9 is no level"
    assert bench.firmware.flash.limits[5].max_acceleration == 3.0
    bench.send(FrameId.PARAMETER_QUERY, frames.QUERY_GRIPPER)
    bench.send(FrameId.PARAMETER_QUERY, frames.QUERY_END_LIMITS)
    bench.run(PERIOD)
    assert bench.last[FrameId.GRIPPER_SETTING_REPLY][1] == 70
    assert struct.unpack(">4H", bench.last[FrameId.END_LIMITS_REPLY]) == (500, 500, 500, 500)
    bench.send(FrameId.PARAMETER_QUERY, 0, frames.DEFAULT_JOINT_LIMITS)
    bench.run(PERIOD)
    assert bench.firmware.flash.limits == Flash().limits
    assert bench.last[FrameId.ACKNOWLEDGE][0] == 0x77


def test_a_leader_sends_targets_while_it_moves_and_stays_one_without_power() -> None:
    bench = Bench()
    bench.send(FrameId.LINKAGE, frames.LEADER)
    bench.run(0.1)
    bench.counts.clear()
    bench.run(0.2)
    assert bench.counts == {}, "silent at rest"
    bench.plant.position = np.array(GOAL)
    bench.run(0.05)
    assert set(bench.counts) == {0x151, 0x155, 0x156, 0x157, 0x159}
    assert struct.unpack(">ii", bench.last[FrameId.JOINT_TARGET_12]) == tuple(units.millidegrees_from_radians(GOAL[:2]))
    again = PiperFirmware(bench.plant, flash=bench.firmware.flash)
    assert again.tick(0.0) == []
    again.on_frame(FrameId.LINKAGE, bytes((frames.FOLLOWER,)).ljust(8, b"\0"))
    assert FrameId.STATUS in {number for number, _ in [*again.tick(0.1), *again.tick(0.2)]}


def test_offset_identifiers() -> None:
    bench = Bench()
    bench.send(FrameId.LINKAGE, frames.FOLLOWER, 0x10, 0x20)
    bench.run(0.05)
    bench.counts.clear()
    bench.run(0.2)
    assert 0x2B5 in bench.counts
    assert 0x2A5 not in bench.counts
    bench.enable()
    bench.run(0.05)
    assert bench.last[0x2B1][0] == ControlMode.STANDBY, "0x151 is not its own any more"
    bench.send(0x171, ControlMode.CAN, frames.MOVE_JOINT, 100)
    bench.run(0.1)
    assert bench.last[0x2B1][0] == ControlMode.CAN


def test_version_is_told_when_asked_only() -> None:
    bench = Bench()
    bench.run(0.1)
    assert FrameId.FIRMWARE_VERSION not in bench.last
    bench.send(FrameId.FIRMWARE_VERSION, 1)
    answer = [data for number, data in bench.firmware.tick(bench.now + PERIOD) if number == FrameId.FIRMWARE_VERSION]
    assert len(answer) == 11
    assert b"S-V1.8-8250925" in b"".join(answer), "the date of production follows without a gap"


def test_injected_collision_is_reported() -> None:
    bench = Bench()
    bench.firmware.set_faults(FaultSet.parse("collision 3"))
    bench.run(0.2)
    assert bench.status[1] == ArmState.COLLISION
    assert bench.last[FrameId.MOTOR_SLOW_1 + 2][5] & MotorState.COLLISION


def test_short_and_unknown_frames_are_ignored() -> None:
    bench = Bench()
    for identifier in (0x000, 0x155, 0x471, 0x472, 0x474, 0x7FF):
        bench.firmware.on_frame(identifier, b"\x01")
        bench.firmware.on_frame(identifier, b"\xff" * 8)
    bench.run(0.5)
    assert bench.status[1] == ArmState.NORMAL
