"""Cameras that stop, freeze or send rubbish. The policy has to blame the very camera for as long as it lasts."""

from __future__ import annotations

from typing import Final

from wav_policy.experiments.faults.fault import HOLD, Fault, heal, parameter
from wav_policy.policy.observation import IMAGE_TOPICS

_SILENT: Final = 0.5
"""Age of an image 0.25 s, then the lease of 0.07 s [s]."""
_FROZEN: Final = 0.8
"""0.5 s without a change, a frame, then the lease [s]."""


def _camera_fault(name: str, view: str, fault: str, limit: float, complaint: str) -> Fault:
    topic = IMAGE_TOPICS[view]
    inject, undo = parameter("fault.cameras", f"{view} {fault}"), heal("fault.cameras")
    return Fault(name, inject, HOLD, limit, undo, culprit=f"{topic}: {complaint}")


CAMERA_FAULTS: Final = (
    _camera_fault("left camera dropped", "left_wrist", "dropped", _SILENT, "newest message is"),
    _camera_fault("head camera frozen", "head", "frozen", _FROZEN, "frozen: the very same picture"),
    # The arm of at least one of them rests in most tasks
    _camera_fault("left wrist camera frozen", "left_wrist", "frozen", _FROZEN, "frozen: the very same picture"),
    _camera_fault("right wrist camera frozen", "right_wrist", "frozen", _FROZEN, "frozen: the very same picture"),
    _camera_fault("right camera's JPEGs damaged", "right_wrist", "damaged_jpeg", _SILENT, "newest message is"),
)
