"""How an arm is driven, and what it may be reached by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from wav_models.configuration import Positive, Range

INTERFACES: Final = ("slcan", "socketcan")
"""Kinds of CAN interfaces."""


@dataclass(frozen=True)
class ArmConfig:
    """How an arm is driven.

    Attributes:
        speed_percent: share of the joints' maximum speed the arm's own controller may use; the limits that matter are
            those of `wav_policy.control.safety`.
        gripper_effort: grip torque [N m].
        connect_timeout: wait for the first feedback of every kind [s].
        enable_timeout: wait for all six motors to enable, and for a reset [s].
        feedback_timeout: a bus without joint feedback for this long is out: its adapter is asked why, and it is opened
            again; `wav_policy.control.safety` holds long before [s].
    """

    speed_percent: Annotated[int, Range(1, 100)] = 100
    gripper_effort: Annotated[float, Range(0.0, 5.0)] = 1.0
    connect_timeout: Positive = 2.0
    enable_timeout: Positive = 5.0
    feedback_timeout: Positive = 0.5
