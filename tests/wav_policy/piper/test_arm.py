"""The driver and the unmodified piper_sdk against the simulated firmware, over real pseudo-terminals."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from piper_sdk import C_PiperInterface_V2

from wav_policy.piper.arm import ArmConfig, PiperArm
from wav_policy.piper.bimanual import BimanualPiper
from wav_policy.piper.errors import (
    ArmInUseError,
    BusLostError,
    BusSilentError,
    EmergencyStoppedError,
    EnableTimeoutError,
    InterfaceNotFoundError,
    TeachModeError,
)
from wav_policy.piper.frames import FrameId, MotorState
from wav_policy.sim.firmware import FeedbackRates, SimulatedArm
from wav_policy.sim.firmware.kinematic_arm import KinematicArm

MILLIDEGREE = np.radians(0.001)
QUICK = ArmConfig(connect_timeout=1.0, enable_timeout=0.5, feedback_timeout=0.3)


class Rig:
    """One simulated arm and a driver for it."""

    def __init__(self, link: Path) -> None:
        self.plant = KinematicArm()
        self.arm = SimulatedArm(self.plant, link)
        self.driver = PiperArm("left", "slcan", str(link), QUICK)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path / "can_left")
    with rig.arm:
        yield rig
        rig.driver.close()


def wait_until(condition, timeout: float = 3.0) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.01)


def test_stock_sdk_on_its_own_bus_sees_an_arm(rig: Rig) -> None:
    """piper_sdk and python-can exactly as delivered, without anything of ours on the computer's side."""
    rig.plant.position = np.radians([10.001, 20.002, -30.003, 40.004, -50.005, 60.006])
    sdk = C_PiperInterface_V2(str(rig.arm.link), judge_flag=False, can_auto_init=False)
    sdk.CreateCanBus(str(rig.arm.link), bustype="slcan", expected_bitrate=1000000, judge_flag=False)
    sdk.ConnectPort(can_init=False, piper_init=True, start_thread=True)
    wait_until(lambda: sdk.GetArmJointMsgs().joint_state.joint_6 == 60006)
    joints = sdk.GetArmJointMsgs().joint_state
    assert (joints.joint_1, joints.joint_2, joints.joint_3) == (10001, 20002, -30003)
    assert (joints.joint_4, joints.joint_5) == (40004, -50005)
    wait_until(lambda: sdk.GetPiperFirmwareVersion() == "S-V1.8-8")
    wait_until(sdk.EnablePiper)
    sdk.ModeCtrl(0x01, 0x01, 100, 0x00)
    sdk.JointCtrl(15000, 25000, -25000, 35000, -45000, 65000)
    sdk.GripperCtrl(50000, 1000, 0x01, 0)
    wait_until(lambda: sdk.GetArmJointMsgs().joint_state.joint_1 == 15000)
    wait_until(lambda: sdk.GetArmGripperMsgs().gripper_state.grippers_angle == 50000)
    sdk.DisconnectPort()
    C_PiperInterface_V2._instances.pop(str(rig.arm.link))


def test_positions_to_a_millidegree_and_version(rig: Rig) -> None:
    rig.plant.position = np.radians([149.9994, 0.0012, -169.9999, -99.5, 69.9, -119.9])
    rig.plant.stroke = 0.0123456
    rig.driver.connect()
    reading = rig.driver.read()
    np.testing.assert_allclose(reading.position[:6], rig.plant.position, atol=0.5001 * MILLIDEGREE)
    assert reading.position[6] == pytest.approx(0.012346)
    np.testing.assert_array_equal(reading.velocity, np.zeros(7))
    status = rig.driver.status()
    assert status.firmware == "S-V1.8-8"
    assert (status.mode_name, status.state_name, status.is_enabled) == ("STANDBY", "NORMAL", False)
    assert status.feedback_age < 0.1


def test_enable_holds_then_motion_arrives(rig: Rig) -> None:
    rig.driver.connect()
    start = rig.plant.position.copy()
    rig.driver.enable()
    time.sleep(0.1)
    np.testing.assert_allclose(rig.plant.position, start, atol=MILLIDEGREE)
    assert rig.driver.status().is_enabled
    goal = np.append(start + 0.25, 0.06)
    rig.driver.write(goal)
    wait_until(lambda: np.abs(rig.driver.read().position - goal).max() < 1.01 * MILLIDEGREE)


def test_velocity_is_that_of_the_motion(rig: Rig) -> None:
    rig.driver = PiperArm("left", "slcan", str(rig.arm.link), ArmConfig(speed_percent=20))
    rig.driver.connect()
    rig.driver.enable()
    rig.driver.write(np.append(rig.plant.position + 0.5, 0.03))
    time.sleep(0.3)
    speeds = [rig.driver.read().velocity[0] for _ in range(20) if time.sleep(0.01) is None]
    assert np.median(speeds) == pytest.approx(0.6, rel=0.4)  # a busy machine ticks late


def test_stop_latches_until_reset_and_enable(rig: Rig) -> None:
    rig.driver.connect()
    rig.driver.enable()
    rig.driver.stop()
    wait_until(lambda: rig.driver.status().is_stopped)
    stopped_at = rig.plant.position.copy()
    rig.driver.write(np.append(stopped_at + 0.2, 0.03))
    time.sleep(0.2)
    np.testing.assert_array_equal(rig.plant.position, stopped_at)
    with pytest.raises(EmergencyStoppedError, match=r"left arm.*piper/reset"):
        rig.driver.enable()
    assert rig.driver.reset() is True
    assert not rig.plant.powered
    rig.driver.enable()
    assert rig.plant.powered
    rig.driver.write(np.append(stopped_at + 0.2, 0.03))
    wait_until(lambda: abs(rig.plant.position[0] - stopped_at[0] - 0.2) < MILLIDEGREE)


def test_reset_does_not_drop_a_healthy_arm(rig: Rig) -> None:
    rig.driver.connect()
    rig.driver.enable()
    assert rig.driver.reset() is False
    assert rig.plant.powered


def test_enable_timeout_names_the_joint_and_its_fault(rig: Rig) -> None:
    firmware = rig.arm.firmware
    rig.arm.firmware.motor_faults[3] = MotorState.DRIVER_HOT
    original = firmware.on_frame

    def deaf_to_joint4(identifier: int, data: bytes) -> None:
        if not (identifier == FrameId.MOTOR_POWER and data[0] == 4):
            original(identifier, data)

    firmware.on_frame = deaf_to_joint4  # type: ignore[method-assign]
    rig.driver.connect()
    with pytest.raises(EnableTimeoutError, match=r"joint4 did not enable.*joint4: driver too hot"):
        rig.driver.enable()


def test_teach_mode_is_named(rig: Rig) -> None:
    rig.arm.firmware.on_frame(FrameId.MOTION_CONTROL_1, bytes([0, 0, 1, 0, 0, 0, 0, 0]))
    rig.driver.connect()
    with pytest.raises(TeachModeError, match="teach mode"):
        rig.driver.enable()


def test_unknown_codes_do_not_end_the_reading(rig: Rig) -> None:
    rig.driver.connect()
    port = rig.arm._port
    assert port is not None
    port.send([(FrameId.STATUS, bytes([0x99] * 8)), (0x7FF, bytes(8)), (FrameId.STATUS, b"\1")])
    rig.plant.position = rig.plant.position + 0.1
    wait_until(lambda: abs(rig.driver.read().position[0] - rig.plant.position[0]) < MILLIDEGREE)


def test_missing_devices_are_named(tmp_path: Path) -> None:
    with pytest.raises(InterfaceNotFoundError, match=r"right arm: no serial CAN adapter at .*nowhere"):
        PiperArm("right", "slcan", str(tmp_path / "nowhere")).connect()
    with pytest.raises(InterfaceNotFoundError, match="right arm: no CAN interface 'can_wav_test'"):
        PiperArm("right", "socketcan", "can_wav_test").connect()
    with pytest.raises(ValueError, match="valid: slcan, socketcan"):
        PiperArm("right", "usb", "x").connect()


def test_a_silent_bus_is_an_error(tmp_path: Path) -> None:
    link = tmp_path / "quiet"
    quiet = SimulatedArm(KinematicArm(), link, FeedbackRates(0, 0, 0, 0))
    with quiet, pytest.raises(BusSilentError, match=r"no feedback of joints.*1 Mbit/s"):
        PiperArm("left", "slcan", str(link), QUICK).connect()


def test_a_missing_gripper_is_named(tmp_path: Path) -> None:
    link = tmp_path / "no_gripper"
    quiet = SimulatedArm(KinematicArm(), link, FeedbackRates(gripper=0))
    with quiet, pytest.raises(BusSilentError, match=r"no feedback of gripper \(0x2A8\) within"):
        PiperArm("left", "slcan", str(link), QUICK).connect()


def test_an_arm_that_falls_silent_takes_no_command(rig: Rig) -> None:
    rig.driver.connect()
    rig.driver.enable()
    rig.arm.firmware.tick = lambda now: []  # type: ignore[method-assign]
    wait_until(lambda: rig.driver.status().feedback_age > 0.3)
    with pytest.raises(BusSilentError, match="no joint feedback for"):
        rig.driver.write(rig.driver.read().position)


def test_an_unplugged_adapter_is_named_and_a_new_one_works(rig: Rig) -> None:
    rig.driver.connect()
    rig.arm.stop()
    assert not os.path.lexists(rig.arm.link)

    def is_lost() -> bool:
        try:
            rig.driver.read()
        except BusLostError:
            return True
        return False

    wait_until(is_lost)
    rig.driver.close()
    rig.arm.start()
    rig.driver.connect()
    rig.driver.enable()
    assert rig.driver.status().is_enabled


def test_one_driver_per_channel(rig: Rig) -> None:
    rig.driver.connect()
    with pytest.raises(ArmInUseError):
        PiperArm("right", "slcan", str(rig.arm.link)).connect()
    rig.driver.close()
    other = PiperArm("right", "slcan", str(rig.arm.link))
    other.connect()
    other.close()


def test_both_arms_left_first(tmp_path: Path) -> None:
    left, right = KinematicArm(), KinematicArm()
    right.position = right.position + 0.1
    links = tmp_path / "l", tmp_path / "r"
    with SimulatedArm(left, links[0]), SimulatedArm(right, links[1]):
        robot = BimanualPiper("slcan", str(links[0]), str(links[1]), QUICK)
        robot.connect()
        start = np.concatenate([left.position, [0.03], right.position, [0.03]])
        np.testing.assert_allclose(robot.read().position, start, atol=MILLIDEGREE)
        robot.enable()
        goal = start.copy()
        goal[[0, 7]] = [0.4, -0.4]
        robot.write(goal)
        wait_until(lambda: np.abs(robot.read().position - goal).max() < 1.01 * MILLIDEGREE)
        assert (left.position[0], right.position[0]) == pytest.approx((0.4, -0.4), abs=MILLIDEGREE)
        robot.close()
    with pytest.raises(InterfaceNotFoundError):
        robot.connect()
    assert PiperArm._channels_in_use == set(), "the left bus was closed again"


def test_an_occupied_link_path_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="in the way"):
        SimulatedArm(KinematicArm(), tmp_path / "file").start()
