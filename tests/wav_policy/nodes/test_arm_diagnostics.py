"""What /diagnostics calls an arm."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", exc_type=ImportError)

from wav_policy.nodes.arm_diagnostics import describe_arm
from wav_policy.piper.status import ArmStatus

BEYOND = "joint5: target beyond its limit"


@pytest.mark.parametrize(
    ("enabled", "inhibit", "message"),
    [
        (True, "", f"enabled, but {BEYOND}"),
        (False, "", BEYOND),
        (True, "left arm: in teach mode", BEYOND),
    ],
)
def test_an_arm_that_works_says_so_beside_its_faults(enabled: bool, inhibit: str, message: str) -> None:
    """`wav enable` after a stop: arms that fell lie beyond a limit until they have gone home."""
    arm = ArmStatus(
        mode=1,
        state=0,
        enabled=(enabled,) * 6,
        faults=(BEYOND,),
        firmware="",
        feedback_age=0.0,
        feedback_rate=200.0,
        undecodable=0,
        offset_frames=0,
        inhibit=inhibit,
    )
    assert describe_arm("left", arm, max_age=0.1).message == message
