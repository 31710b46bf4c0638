"""When an observation may be trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from wav_models.configuration import Range

_Seconds = Annotated[float, Range(0.0, 60.0, above=True)]
_Rate = Annotated[float, Range(0.0, 1000.0, above=True)]
"""Frames are kept for as many seconds at that rate: what is beyond fills this computer's memory."""


@dataclass(frozen=True)
class ObservationConfig:
    """When an observation may be trusted, and how much is kept."""

    max_image_age: _Seconds = 0.25
    """Age of the newest frame of every camera [s]."""
    max_image_skew: _Seconds = 0.1
    """Between the newest frames of the three cameras: two frame times at 20 Hz [s]."""
    max_joint_age: _Seconds = 0.1
    """Age of the newest joint states [s]."""
    max_frozen_time: _Seconds = 0.5
    """A camera that shows the very same picture for longer is frozen, whatever its stamps and whether anything moves:
    the sensor of a live one has noise. Drivers that send a picture twice, or five times in dim light, are not [s]."""
    max_camera_rate: _Rate = 60.0
    """Frames that come faster are thinned out; decides how many are kept [Hz]."""
    max_joint_rate: _Rate = 250.0
    """Joint states that come faster are thinned out [Hz]."""
    max_memory_gap: _Seconds = 0.3
    """A memory frame may be this much older than wanted; a camera that had paused longer has no memory of then [s]."""
    max_stamp_age: _Seconds = 1.0
    """A message whose stamp is older than this when it comes is dropped [s]."""
    max_stamp_ahead: _Seconds = 0.1
    """So is one that is stamped so far ahead: its clock disagrees with ours [s]."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0.0 < value < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {value}")
