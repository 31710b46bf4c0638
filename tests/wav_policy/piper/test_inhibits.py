"""What an arm says of itself, and what may be done with it then: codes that the simulated firmware does not send."""

from __future__ import annotations

import re

import pytest

from wav_policy.piper.feedback import ArmCodes
from wav_policy.piper.frames import ArmState, ControlMode, MotorState
from wav_policy.piper.inhibits import Reaction, find_inhibit

HOLD, RELEASE, STOP = Reaction.HOLD, Reaction.RELEASE, Reaction.STOP
ON = (int(MotorState.ENABLED),) * 6


def codes(mode: int = ControlMode.CAN, state: int = ArmState.NORMAL, error_bits: int = 0) -> ArmCodes:
    return ArmCodes(mode, state, error_bits, ON)


@pytest.mark.parametrize(
    ("said", "reaction", "words"),
    [
        (codes(mode=ControlMode.LEADER), RELEASE, r"in leader mode.*0x470.*wav arm follower"),
        (codes(mode=ControlMode.STANDBY), RELEASE, "in mode STANDBY instead of CAN; somebody else controls it"),
        (codes(error_bits=0b10_0010), HOLD, "no communication with joint2, joint6. Check the cable inside the arm"),
        (codes(mode=0x63), HOLD, "codes that no table lists.*mode 0x63, state 0x0"),
        (codes(state=0x63), HOLD, "codes that no table lists.*mode 0x1, state 0x63"),
        *((codes(state=state), STOP, r"piper/reset and piper/enable") for state in ArmState if state not in (0, 4)),
    ],
)
def test_every_code_has_a_reaction_and_a_remedy(said: ArmCodes, reaction: Reaction, words: str) -> None:
    inhibit = find_inhibit("left arm", said, leader_frames=0)
    assert inhibit is not None
    assert inhibit.reaction is reaction
    assert inhibit.text.startswith("left arm: ")
    assert re.search(words, inhibit.text)


@pytest.mark.parametrize("said", [codes(), codes(state=ArmState.TARGET_OUT_OF_LIMITS), codes(error_bits=0x3F00)])
def test_what_may_move(said: ArmCodes) -> None:
    """An arm that clamped a target at its own limit goes on."""
    assert find_inhibit("left arm", said, leader_frames=0) is None


LATCHING = (MotorState.COLLISION, MotorState.ERROR)


@pytest.mark.parametrize("joint", range(1, 7))
def test_every_joint_counts(joint: int) -> None:
    """Silent, without power, or with a fault, alone among the six."""
    silent = find_inhibit("left arm", codes(error_bits=1 << (joint - 1)), leader_frames=0)
    assert silent is not None
    assert f"no communication with joint{joint}." in silent.text
    for bit, reaction in (
        *((bit, HOLD) for bit in MotorState if bit not in (MotorState.ENABLED, *LATCHING)),
        *((bit, STOP) for bit in LATCHING),
        (MotorState.ENABLED, RELEASE),
    ):
        motors = tuple(code ^ bit if at == joint else code for at, code in enumerate(ON, start=1))
        found = find_inhibit("left arm", ArmCodes(ControlMode.CAN, ArmState.NORMAL, 0, motors), leader_frames=0)
        assert found is not None
        assert (found.reaction, f"joint{joint}" in found.text) == (reaction, True)


def test_of_several_inhibits_the_severest_is_told() -> None:
    """A latched fault is not hidden by a lost power, nor that by a warm motor; another master hides them all."""
    hot = (int(MotorState.ENABLED | MotorState.MOTOR_HOT),) * 6
    off = (int(MotorState.MOTOR_HOT),) * 6
    said = [
        (ArmCodes(ControlMode.CAN, ArmState.NORMAL, 0, hot), HOLD),
        (ArmCodes(ControlMode.CAN, ArmState.NORMAL, 0, off), RELEASE),
        (ArmCodes(ControlMode.TEACH, ArmState.NORMAL, 1, hot), RELEASE),
        (ArmCodes(ControlMode.TEACH, ArmState.EMERGENCY_STOP, 1, off), STOP),
        (ArmCodes(ControlMode.STANDBY, ArmState.COLLISION, 1, off), STOP),
    ]
    for found, reaction in said:
        inhibit = find_inhibit("left arm", found, leader_frames=0)
        assert inhibit is not None
        assert inhibit.reaction is reaction
        master = find_inhibit("left arm", found, leader_frames=2)
        assert master is not None
        assert master.reaction is Reaction.SILENCE
