"""The fault `stray`: one reading of a joint that is off, and no more."""

from __future__ import annotations

import random

from wav_policy.piper.frames import FrameId
from wav_policy.piper.units import radians_from_millidegrees
from wav_policy.sim.firmware import FaultSet


def frame(first: int, second: int) -> bytes:
    return first.to_bytes(4, "big", signed=True) + second.to_bytes(4, "big", signed=True)


def test_one_frame_of_the_joint_is_off() -> None:
    faults, rng = FaultSet.parse("stray 4"), random.Random(0)
    sent = [(FrameId.JOINTS_12, frame(1, 2)), (FrameId.JOINTS_34, frame(30, -40_000))]
    others, strayed = faults.on_the_wire(sent, rng)
    assert others == sent[0]
    assert strayed[0] == FrameId.JOINTS_34
    assert strayed[1][:4] == sent[1][1][:4]
    off = int.from_bytes(strayed[1][4:], "big", signed=True) + 40_000
    assert abs(radians_from_millidegrees([off])[0] - 0.8) < 1e-4
    assert faults.on_the_wire(sent, rng) == sent
    assert FaultSet.parse("stray 4").on_the_wire(sent, rng) != sent
