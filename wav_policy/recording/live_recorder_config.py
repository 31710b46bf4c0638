"""Where and how to record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wav_models.configuration import check_choice

EFFORTS: Final = ("auto", "never")


@dataclass(frozen=True)
class LiveRecorderConfig:
    """Where and how to record.

    Attributes:
        dataset: directory; created when missing, continued when not.
        fps: rate of the dataset [Hz].
        min_free_megabytes: recording ends, and does not start, with less space on the disk [MB].
        efforts: whether a dataset that begins is to have the measured efforts. auto: when joint_states tells all 14.
    """

    dataset: Path
    fps: int = 10
    min_free_megabytes: int = 500
    efforts: str = "auto"

    def __post_init__(self) -> None:
        """ValueError naming the field that is not usable."""
        if not 1 <= self.fps <= 100:
            raise ValueError(f"fps must be 1..100 Hz, got {self.fps}")
        if self.min_free_megabytes < 1:
            raise ValueError(f"min_free_megabytes must be at least 1, got {self.min_free_megabytes}")
        check_choice("efforts", self.efforts, EFFORTS)
