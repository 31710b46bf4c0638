"""The driver and the unmodified piper_sdk against the simulated firmware, over real pseudo-terminals."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import can
import numpy as np
import pytest
from piper_sdk import C_PiperInterface_V2

from tests.wav_policy.kinematic_arm import KinematicArm
from wav_policy.piper import units
from wav_policy.piper.arm import PiperArm
from wav_policy.piper.arm_config import ArmConfig
from wav_policy.piper.bimanual import BimanualPiper
from wav_policy.piper.errors import (
    ArmInUseError,
    BusLostError,
    BusSilentError,
    EmergencyStoppedError,
    EnableTimeoutError,
    InterfaceNotFoundError,
)
from wav_policy.piper.feedback import FeedbackReader
from wav_policy.piper.frames import FrameId
from wav_policy.piper.setpoints import setpoint_frames
from wav_policy.piper.status import gripper_faults, gripper_words
from wav_policy.sim.firmware import FaultSet, FeedbackRates, PiperFirmware, SimulatedArm
from wav_policy.sim.firmware.feedback import Frame

MILLIDEGREE = np.radians(0.001)
QUICK = ArmConfig(connect_timeout=1.0, enable_timeout=0.5, feedback_timeout=0.3)


def test_stock_sdk_on_its_own_bus_sees_an_arm(rig: Any, wait_until: Any) -> None:
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


def test_positions_to_a_millidegree_and_version(rig: Any) -> None:
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


def test_enable_holds_then_motion_arrives(rig: Any, wait_until: Any) -> None:
    rig.driver.connect()
    start = rig.plant.position.copy()
    rig.driver.enable()
    time.sleep(0.1)
    np.testing.assert_allclose(rig.plant.position, start, atol=MILLIDEGREE)
    assert rig.driver.status().is_enabled
    goal = np.append(start + 0.25, 0.06)
    rig.driver.write(goal)
    wait_until(lambda: np.abs(rig.driver.read().position - goal).max() < 1.01 * MILLIDEGREE)


def test_velocity_is_that_of_the_motion(rig: Any) -> None:
    rig.driver = PiperArm("left", "slcan", str(rig.arm.link), ArmConfig(speed_percent=20))
    rig.driver.connect()
    rig.driver.enable()
    rig.driver.write(np.append(rig.plant.position + 0.5, 0.03))
    time.sleep(0.3)
    speeds = [rig.driver.read().velocity[0] for _ in range(20) if time.sleep(0.01) is None]
    assert np.median(speeds) == pytest.approx(0.6, rel=0.4)  # a busy machine ticks late


def test_stop_latches_until_reset_and_enable(rig: Any, wait_until: Any) -> None:
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


def test_reset_does_not_drop_a_healthy_arm(rig: Any) -> None:
    rig.driver.connect()
    rig.driver.enable()
    assert rig.driver.reset() is False
    assert rig.plant.powered


def test_enable_timeout_names_the_joint_and_its_fault(rig: Any) -> None:
    rig.arm.faults = FaultSet.parse("driver_hot 4, deaf 4")
    rig.driver.connect()
    with pytest.raises(EnableTimeoutError, match=r"joint4 did not enable.*joint4: driver too hot"):
        rig.driver.enable()


def test_unknown_codes_do_not_end_the_reading(rig: Any, wait_until: Any) -> None:
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


def test_a_missing_gripper_is_named(tmp_path: Path) -> None:
    link = tmp_path / "no_gripper"
    quiet = SimulatedArm(KinematicArm(), link, FeedbackRates(gripper=0))
    with quiet, pytest.raises(BusSilentError, match=r"no feedback of gripper \(0x2A8\)\. The bus is alive"):
        PiperArm("left", "slcan", str(link), QUICK).connect()


def test_an_arm_that_falls_silent_gets_no_frames(rig: Any, wait_until: Any) -> None:
    rig.driver.connect()
    rig.driver.enable()
    rig.fail("drop 1")  # it hears, and says nothing
    wait_until(lambda: rig.driver.inhibit() is not None)
    heard: list[int] = []
    rig.arm.firmware.on_frame = lambda identifier, data: heard.append(identifier)
    rig.driver.link.transmit(setpoint_frames(np.zeros(7), 1.0))
    wait_until(lambda: heard)
    heard.clear()
    rig.driver.write(rig.driver.latest.position + 0.1)
    time.sleep(0.1)
    assert heard == []


def test_one_driver_per_channel(rig: Any) -> None:
    rig.driver.connect()
    with pytest.raises(ArmInUseError):
        PiperArm("right", "slcan", str(rig.arm.link)).connect()
    sdk = rig.driver.link.sdk
    rig.driver.close()
    other = PiperArm("right", "slcan", str(rig.arm.link))
    other.connect()
    assert other.link.sdk is not sdk, "the SDK keeps one for each channel, with what it decoded before"
    other.close()


def test_both_arms_left_first(tmp_path: Path, wait_until: Any) -> None:
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
    assert robot.left.latest is None, "the left bus was closed again"


def test_an_occupied_link_path_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="in the way"):
        SimulatedArm(KinematicArm(), tmp_path / "file").start()


def test_set_points_are_the_frames_of_piper_sdk() -> None:
    """Byte for byte, over the whole range."""
    sent: list[tuple[int, bytes]] = []
    sdk = C_PiperInterface_V2("set-points", judge_flag=False, can_auto_init=False)
    sdk.CreateCanBus("set-points", bustype="virtual", judge_flag=False)
    sdk.GetCanBus().SendCanMessage = lambda number, data: (
        sent.append((number, bytes(data))),
        sdk.GetCanBus().CAN_STATUS.SEND_MESSAGE_SUCCESS,
    )[1]
    rng = np.random.default_rng(0)
    for _ in range(300):
        position = rng.uniform([-3, -3, -3, -3, -3, -3, 0], [3, 3, 3, 3, 3, 3, 0.1])
        effort = float(rng.uniform(0, 5))
        sent.clear()
        sdk.JointCtrl(*units.millidegrees_from_radians(position[:6]))
        sdk.GripperCtrl(round(position[6] * 1e6), round(effort * 1e3), 1, 0)
        assert setpoint_frames(position, effort) == sent


def test_feedback_is_decoded_as_by_piper_sdk() -> None:
    sdk = C_PiperInterface_V2("decoding", judge_flag=False, can_auto_init=False)
    sdk.CreateCanBus("decoding", bustype="virtual", judge_flag=False)
    rng = np.random.default_rng(1)
    for _ in range(300):
        reader = FeedbackReader(SimpleNamespace(garbled=0), sdk, "decoding", time.time, lambda: None, max_gap=10.0)
        counts = rng.integers(-170_000, 170_000, 6)
        arrived = [
            (0x2A1, bytes((1, int(rng.integers(0, 16)), 1, 0, 0, 0, *rng.integers(0, 64, 2).tolist()))),
            (0x2A8, struct.pack(">ihBx", int(rng.integers(0, 100_000)), int(rng.integers(-3000, 3000)), 0xC0)),
            *((0x2A5 + pair, struct.pack(">ii", *counts[2 * pair : 2 * pair + 2].tolist())) for pair in range(3)),
            *((0x261 + joint, rng.bytes(5) + bytes((int(rng.integers(0, 256)), 0, 0))) for joint in range(6)),
        ]
        reader.take(arrived + arrived)  # nothing is believed that was said once
        for number, data in arrived:
            sdk.ParseCANFrame(can.Message(arbitration_id=number, data=data, is_extended_id=False))
        joints, motors = sdk.GetArmJointMsgs().joint_state, sdk.GetArmLowSpdInfoMsgs()
        told = [getattr(joints, f"joint_{joint}") for joint in range(1, 7)]
        assert reader.latest is not None
        np.testing.assert_array_equal(reader.latest.position[:6], units.radians_from_millidegrees(told))
        stroke = sdk.GetArmGripperMsgs().gripper_state.grippers_angle
        assert reader.latest.position[6] == units.metres_from_micrometres(stroke)
        slow = [getattr(motors, f"motor_{joint}") for joint in range(1, 7)]
        assert reader.codes.motors == tuple(motor.foc_status_code for motor in slow)
        assert reader.temperatures == [max(motor.foc_temp, motor.motor_temp) for motor in slow]
        assert reader.codes.error_bits == sdk.GetArmStatus().arm_status.err_code
        assert reader.codes.state == sdk.GetArmStatus().arm_status.arm_status.value


def test_what_is_not_known_of_a_silent_arm_moves_no_power(rig: Any, wait_until: Any) -> None:
    rig.driver.connect()
    rig.driver.enable()
    rig.fail("silence")
    wait_until(lambda: rig.cause() == "no feedback")
    for switch in (rig.driver.reset, rig.driver.disable):
        with pytest.raises(BusSilentError, match="left arm"):
            switch()
    assert rig.plant.powered


def test_disabled_the_gripper_is_off_too(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.driver.connect()
    rig.driver.enable()
    rig.wait_until(lambda: rig.driver.status().gripper == "enabled, zeroed")
    rig.driver.disable()
    assert not rig.plant.powered
    assert not rig.arm.firmware._gripper_on
    assert rig.driver.status().gripper == "off, zeroed"
    rig.driver.enable()
    rig.wait_until(lambda: rig.driver.status().gripper == "enabled, zeroed")
    monkeypatch.setitem(rig.arm.firmware._handlers, FrameId.GRIPPER_TARGET, lambda data: None)
    with pytest.raises(EnableTimeoutError, match=r"left arm.*gripper stays enabled.*power off"):
        rig.driver.disable()
    assert not rig.plant.powered


def test_an_arm_is_disabled_also_when_the_other_one_is_silent(tmp_path: Path, wait_until: Any) -> None:
    left, right = KinematicArm(), KinematicArm()
    links = tmp_path / "l", tmp_path / "r"
    with SimulatedArm(left, links[0]) as left_arm, SimulatedArm(right, links[1]) as right_arm:
        robot = BimanualPiper("slcan", str(links[0]), str(links[1]), QUICK)
        robot.connect()
        robot.enable()
        left_arm.faults = FaultSet.parse("silence")
        wait_until(lambda: robot.left.inhibit() is not None)
        asked, off, set_power = time.monotonic(), [], right.set_power

        def note(on: bool) -> None:
            off.append(time.monotonic())
            set_power(on)

        right.set_power = note  # type: ignore[method-assign]
        with pytest.raises(BusSilentError, match=r"left arm.*The right arm is off\."):
            robot.disable()
        assert time.monotonic() - asked > 1.0, "a silent one is given a moment"
        assert off[0] - asked < 0.9, "for which the other one does not wait"
        assert left.powered, "not known, so not touched"
        assert not right.powered
        assert not right_arm.firmware._gripper_on
        robot.close()


def test_enabling_again_does_not_open_a_gripper(rig: Any, wait_until: Any) -> None:
    rig.driver.connect()
    assert rig.driver.enable() is False
    goal = rig.driver.read().position.copy()
    goal[6] = 0.05
    rig.driver.write(goal)
    wait_until(lambda: abs(rig.driver.read().position[6] - 0.05) < 1e-4)
    wait_until(lambda: rig.driver.status().gripper == "enabled, zeroed")
    sent: list[Any] = []
    rig.driver.write = sent.append
    assert rig.driver.enable() is True
    assert sent == []


def make_reader(clock: Any = time.time) -> FeedbackReader:
    sdk = C_PiperInterface_V2("reading", judge_flag=False, can_auto_init=False)
    return FeedbackReader(SimpleNamespace(garbled=0), sdk, "reading", clock, lambda: None, max_gap=0.5)


def test_motors_count_when_all_six_have_told() -> None:
    """A bus may be opened in the middle of a cycle."""
    reader = make_reader()
    enabled = [(0x261 + joint, bytes((0, 0, 0, 0, 0, 0x40, 0, 0))) for joint in range(6)]
    reader.take(enabled[3:] + enabled + enabled[:2])
    assert reader.codes.motors == (), "joint3 has told once"
    assert "motors (0x261-0x266)" in reader.missing
    reader.take(enabled[2:])
    assert reader.codes.motors == (0x40,) * 6
    assert "motors (0x261-0x266)" not in reader.missing


def test_what_was_said_long_ago_does_not_count() -> None:
    """An emergency stop, or a motor that lost its power, would not be seen."""
    now = [100.0]
    reader = make_reader(lambda: now[0])
    joints = [(0x2A5 + pair, bytes(8)) for pair in range(3)]
    rare = [(0x2A8, bytes(8)), (0x2A1, bytes((1, *[0] * 7)))]
    rare += [(0x261 + joint, bytes((0, 0, 0, 0, 0, 0x40, 0, 0))) for joint in range(6)]
    reader.take(rare + rare)
    for _ in range(100):
        now[0] += 0.01
        reader.take(joints)
    assert reader.age == 0.0
    assert reader.missing == ["gripper (0x2A8)", "status (0x2A1)", "motors (0x261-0x266)"]
    reader.take(rare + rare)
    assert reader.missing == []


def test_the_gripper_tells_what_is_wrong_with_it(rig: Any, wait_until: Any) -> None:
    """Bits of 0x2A8; one damaged frame does not count."""
    reader = make_reader()
    reader.take([(0x2A8, struct.pack(">ihBx", 30_000, 0, code)) for code in (0x40, 0x40, 0x40, 0x12)])
    assert gripper_words(reader.gripper) == "enabled, never zeroed: its stroke may be off"
    reader.take([(0x2A8, struct.pack(">ihBx", 30_000, 0, 0x12))])
    *faults, remedy = gripper_faults(reader.gripper, is_arm_on=False)
    assert faults == ["gripper: motor too hot", "gripper: sensor fault"]
    assert "piper/enable" in remedy
    assert gripper_faults(reader.gripper, is_arm_on=True)[2].startswith("gripper: off while the arm is on")
    rig.driver.connect()
    assert rig.driver.status().gripper == "off, zeroed"
    assert rig.driver.status().faults == ()
    rig.driver.enable()
    wait_until(lambda: rig.driver.status().gripper == "enabled, zeroed")
    assert rig.driver.status().faults == ()
    rig.arm.firmware._gripper_on = False
    wait_until(lambda: rig.driver.status().faults == ("gripper: off while the arm is on, it neither opens nor holds",))


@pytest.mark.parametrize("error", [OSError(105, "No buffer space available"), can.CanOperationError("takes no more")])
def test_a_bus_that_refuses_frames_is_one_typed_error_whoever_sends(
    rig: Any, error: Exception, monkeypatch: pytest.MonkeyPatch, wait_until: Any
) -> None:
    def refuse(frames: Any) -> None:
        raise error

    rig.driver.connect()
    rig.driver.enable()
    rig.fail("gripper_trip")
    wait_until(lambda: any("overcurrent" in fault for fault in rig.driver.status().faults))
    monkeypatch.setattr(rig.driver.link._bus, "transmit", refuse)
    for act in (rig.driver.enable, rig.driver.reset, rig.driver.stop):
        with pytest.raises(BusLostError, match=r"left arm.*(No buffer space|takes no more)"):
            act()
    assert not rig.driver.write(rig.driver.read().position)
    assert rig.cause() == "set-points not sent"


class Withheld(FaultSet):
    """The joints are not told before `firmware` has been under power for a while."""

    def __init__(self, firmware: PiperFirmware) -> None:
        super().__init__()
        self.firmware = firmware
        self.num_powered = 0

    def on_the_wire(self, frames: Iterable[Frame], rng: random.Random) -> list[Frame]:
        self.num_powered += self.firmware._powered
        joints = range(FrameId.JOINTS_12, FrameId.JOINTS_56 + 1)
        return [frame for frame in frames if self.num_powered > 30 or frame[0] not in joints]


def test_an_arm_that_was_moved_while_nobody_heard_is_not_moved_back_by_enabling(tmp_path: Path) -> None:
    plant = KinematicArm()
    with SimulatedArm(plant, tmp_path / "arm", FeedbackRates(motors_slow=100.0)) as arm:
        driver = PiperArm("left", "slcan", str(tmp_path / "arm"), replace(QUICK, feedback_timeout=1.0))
        driver.connect()
        arm.faults = Withheld(arm.firmware)
        time.sleep(0.05)
        plant.position = plant.position + 0.2  # by hand, limp
        there = plant.position.copy()
        driver.enable()
        time.sleep(0.2)
        np.testing.assert_allclose(plant.position, there, atol=np.radians(0.5))
        driver.close()
