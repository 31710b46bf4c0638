"""What an arm says about itself in bits, held against piper_sdk's own reading of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from piper_sdk.piper_msgs.msg_v2.feedback.arm_feedback_gripper import ArmMsgFeedBackGripper
from piper_sdk.piper_msgs.msg_v2.feedback.arm_feedback_low_spd import ArmMsgFeedbackLowSpd
from piper_sdk.piper_msgs.msg_v2.feedback.arm_feedback_status import ArmMsgFeedbackStatus

from wav_policy.piper.frames import GripperState, MotorState
from wav_policy.piper.status import ArmStatus, error_code_faults, gripper_faults, has_tripped, motor_faults


@given(st.integers(0, 0xFFFF))
def test_limits_and_silences_of_joints_are_those_of_the_sdk(code: int) -> None:
    message = ArmMsgFeedbackStatus()
    message.err_code = code
    theirs = message.err_status
    joints = range(1, 7)
    wanted = [f"joint{n}: target beyond its limit" for n in joints if getattr(theirs, f"joint_{n}_angle_limit")]
    wanted += [f"joint{n}: no communication" for n in joints if getattr(theirs, f"communication_status_joint_{n}")]
    assert error_code_faults(code) == tuple(wanted)


SHARED = {
    "UNDERVOLTAGE": "voltage_too_low",
    "MOTOR_HOT": "motor_overheating",
    "OVERCURRENT": "driver_overcurrent",
    "DRIVER_HOT": "driver_overheating",
    "ERROR": "driver_error_status",
    "ENABLED": "driver_enable_status",
}
"""Our names of bits, and the SDK's."""


@given(st.integers(0, 0xFF))
def test_bits_of_motors_and_grippers_are_those_of_the_sdk(code: int) -> None:
    motor, gripper = ArmMsgFeedbackLowSpd(), ArmMsgFeedBackGripper()
    motor.foc_status_code = gripper.status_code = code
    for kind, message, names in (
        (MotorState, motor, {**SHARED, "COLLISION": "collision_status", "STALL": "stall_status"}),
        (GripperState, gripper, {**SHARED, "SENSOR_FAULT": "sensor_status", "HOMED": "homing_status"}),
    ):
        wanted = {kind[ours]: getattr(message.foc_status, theirs) for ours, theirs in names.items()}
        assert {bit: bool(code & bit) for bit in kind} == wanted
    faults = motor_faults([0, code])
    assert len(faults) == (code & ~MotorState.ENABLED).bit_count()
    assert all(words.startswith("joint2: ") for words in faults)


@pytest.mark.parametrize("is_arm_on", [False, True])
def test_a_gripper_without_power_is_a_fault_of_an_arm_that_has_some(is_arm_on: bool) -> None:
    assert bool(gripper_faults(0, is_arm_on)) == is_arm_on
    assert gripper_faults(GripperState.ENABLED, is_arm_on) == ()
    assert gripper_faults(-1, is_arm_on) == (), "it has not told"


@pytest.mark.parametrize("bit", list(GripperState))
def test_what_a_gripper_has_to_be_cleared_of(bit: GripperState) -> None:
    """Clearing lets go of what it holds: not for heat or a low voltage, as long as it is on."""
    lasts = bit in (GripperState.OVERCURRENT, GripperState.SENSOR_FAULT, GripperState.ERROR)
    assert has_tripped(bit | GripperState.ENABLED) == lasts
    assert has_tripped(bit) == (bit not in (GripperState.ENABLED, GripperState.HOMED))
    assert not has_tripped(-1), "it has not told"


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
