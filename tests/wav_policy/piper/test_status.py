"""What an arm says about itself in bits, held against piper_sdk's own reading of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from piper_sdk.piper_msgs.msg_v2.feedback.arm_feedback_gripper import ArmMsgFeedBackGripper
from piper_sdk.piper_msgs.msg_v2.feedback.arm_feedback_low_spd import ArmMsgFeedbackLowSpd
from piper_sdk.piper_msgs.msg_v2.feedback.arm_feedback_status import ArmMsgFeedbackStatus

from wav_policy.piper.frames import GripperState, MotorState
from wav_policy.piper.status import ArmStatus, error_code_faults, gripper_faults, motor_faults


@given(st.integers(0, 0xFFFF))
def test_limits_and_silences_of_joints_are_those_of_the_sdk(code: int) -> None:
    message = ArmMsgFeedbackStatus()
    message.err_code = code
    theirs = message.err_status
    joints = range(1, 7)
    wanted = [f"joint{n}: target beyond its limit" for n in joints if getattr(theirs, f"joint_{n}_angle_limit")]
    wanted += [f"joint{n}: no communication" for n in joints if getattr(theirs, f"communication_status_joint_{n}")]
    assert error_code_faults(code) == tuple(wanted)


@given(st.integers(0, 0xFF))
def test_bits_of_motors_are_those_of_the_sdk(code: int) -> None:
    message = ArmMsgFeedbackLowSpd()
    message.foc_status_code = code
    theirs = message.foc_status
    wanted = {
        MotorState.UNDERVOLTAGE: theirs.voltage_too_low,
        MotorState.MOTOR_HOT: theirs.motor_overheating,
        MotorState.OVERCURRENT: theirs.driver_overcurrent,
        MotorState.DRIVER_HOT: theirs.driver_overheating,
        MotorState.COLLISION: theirs.collision_status,
        MotorState.ERROR: theirs.driver_error_status,
        MotorState.ENABLED: theirs.driver_enable_status,
        MotorState.STALL: theirs.stall_status,
    }
    assert {bit: bool(code & bit) for bit in MotorState} == wanted
    assert len(motor_faults([0, code])) == sum(wanted[bit] for bit in MotorState if bit != MotorState.ENABLED)
    assert all(words.startswith("joint2: ") for words in motor_faults([0, code]))


@given(st.integers(0, 0xFF))
def test_bits_of_the_gripper_are_those_of_the_sdk(code: int) -> None:
    message = ArmMsgFeedBackGripper()
    message.status_code = code
    theirs = message.foc_status
    wanted = {
        GripperState.UNDERVOLTAGE: theirs.voltage_too_low,
        GripperState.MOTOR_HOT: theirs.motor_overheating,
        GripperState.OVERCURRENT: theirs.driver_overcurrent,
        GripperState.DRIVER_HOT: theirs.driver_overheating,
        GripperState.SENSOR_FAULT: theirs.sensor_status,
        GripperState.ERROR: theirs.driver_error_status,
        GripperState.ENABLED: theirs.driver_enable_status,
        GripperState.HOMED: theirs.homing_status,
    }
    assert {bit: bool(code & bit) for bit in GripperState} == wanted


@pytest.mark.parametrize("is_arm_on", [False, True])
def test_a_gripper_without_power_is_a_fault_of_an_arm_that_has_some(is_arm_on: bool) -> None:
    assert bool(gripper_faults(0, is_arm_on)) == is_arm_on
    assert gripper_faults(GripperState.ENABLED, is_arm_on) == ()
    assert gripper_faults(-1, is_arm_on) == (), "it has not told"


@pytest.mark.parametrize(("enabled", "is_enabled"), [((), False), ((True,) * 6, True), ((True,) * 5 + (False,), False)])
def test_an_arm_is_enabled_when_all_its_joints_are(enabled: tuple[bool, ...], is_enabled: bool) -> None:
    status = ArmStatus(
        mode=1,
        state=0,
        enabled=enabled,
        faults=(),
        firmware="",
        feedback_age=0.0,
        feedback_rate=0.0,
        undecodable=0,
        offset_frames=0,
    )
    assert status.is_enabled == is_enabled
