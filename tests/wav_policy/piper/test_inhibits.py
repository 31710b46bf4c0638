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
