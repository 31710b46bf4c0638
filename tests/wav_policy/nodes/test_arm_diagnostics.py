"""What /diagnostics calls an arm."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", exc_type=ImportError)

from wav_policy.nodes.arm_diagnostics import describe_arm
from wav_policy.piper.status import ArmStatus, error_code_faults, gripper_faults

(BEYOND,) = error_code_faults(1 << 12)
(OFF,) = gripper_faults(0, is_arm_on=True)


@pytest.mark.parametrize(
    ("enabled", "inhibit", "faults", "message"),
    [
        (True, "", (BEYOND,), f"enabled, but {BEYOND}"),
        (False, "", (BEYOND,), BEYOND),
        (True, "left arm: in teach mode", (BEYOND,), BEYOND),
        (True, "", (BEYOND, OFF), f"{BEYOND}; {OFF}"),
        (True, "", (OFF,), OFF),
    ],
)
def test_an_arm_that_follows_says_so_beside_its_faults(
    enabled: bool, inhibit: str, faults: tuple[str, ...], message: str
) -> None:
    """`wav enable` after a stop: arms that fell lie beyond a limit until they have gone home. A gripper that is still
    off is not enabled."""
    arm = ArmStatus(
        mode=1,
        state=0,
        enabled=(enabled,) * 6,
        faults=faults,
        firmware="",
        feedback_age=0.0,
        feedback_rate=200.0,
        undecodable=0,
        offset_frames=0,
        inhibit=inhibit,
    )
    assert describe_arm("left", arm, max_age=0.1).message == message
