"""What the control loop needs of `BimanualPiper`."""

from __future__ import annotations

from typing import Protocol

from wav_models.types import FloatArray
from wav_policy.piper.bimanual import JointReading
from wav_policy.piper.inhibits import Inhibit


class Arms(Protocol):
    """Both arms. Stamps are monotonic."""

    def read(self) -> JointReading | None:
        """The newest feedback, however old; None while there is none."""

    def inhibit(self) -> Inhibit | None:
        """Why the arms must not be commanded; None when they may; the same object while nothing changes."""

    def write(self, position: FloatArray, mute: tuple[bool, bool]) -> tuple[bool, bool]:
        """Send targets, shape [14], but not to muted arms (left, right); per arm, whether its bus takes them."""
