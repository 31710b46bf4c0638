"""What is made to go wrong, and what must come of it; each fault returns when it began."""

from __future__ import annotations

from typing import Final

from wav_policy.experiments.faults.arm_faults import ARM_FAULTS
from wav_policy.experiments.faults.camera_faults import CAMERA_FAULTS
from wav_policy.experiments.faults.policy_faults import MESSAGE_FAULTS, POLICY_FAULTS
from wav_policy.experiments.faults.process_faults import ENDING_FAULTS, MACHINE_FAULTS

FAULTS: Final = (
    *POLICY_FAULTS,
    *CAMERA_FAULTS,
    *ARM_FAULTS,
    *MESSAGE_FAULTS,
    *MACHINE_FAULTS,
    *ENDING_FAULTS,
)
"""In the order of the campaign; those that end the system come last."""
