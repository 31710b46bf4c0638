"""One Piper arm: powered up, stopped, reset and powered down, besides what `ArmDriver` does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from wav_policy.piper import frames, power
from wav_policy.piper.arm_driver import ArmDriver
from wav_policy.piper.errors import BusLostError, StopUnconfirmedError
from wav_policy.piper.frames import FrameId

_POLL: Final = 0.005  # s
_STOP_TIMEOUT: Final = 0.15  # s for a bus to take a stop; for an arm to report it, which is then sent once more
_STOP_RETRY: Final = 0.005  # s; a full transmit queue sends forty frames meanwhile
_STOP_FRAME: Final = (FrameId.MOTION_CONTROL_1, bytes([frames.EMERGENCY_STOP, 0, 0, 0, 0, 0, 0, 0]))


class PiperArm(ArmDriver):
    """One arm, as its operators see it."""

    def enable(self, stopped: Callable[[], bool] = lambda: False) -> bool:
        """Enable motor by motor until all six report it, take CAN control, and hold where the arm is: the measured
        position goes back to it as it is, which asks for no motion. An arm that was ready before keeps its set-point,
        and its gripper what it holds. A gripper that has tripped is cleared where it is.

        Args:
            stopped: whether that is not wanted any more: a stop may be on its way, or not have reached the arm.

        Returns:
            Whether it was ready before, gripper included.

        Raises:
            EmergencyStoppedError, ArmFaultError, TeachModeError, LeaderArmError, BusSilentError, EnableTimeoutError:
                see the classes.
            FlashLimitsError: the limits in its flash are impossible, or a joint is outside them; nothing was sent.
        """
        return power.enable(self, stopped)

    def require_fit_to_enable(self) -> None:
        """Whether `enable` would refuse; sends nothing but questions.

        Raises:
            PiperError: as `enable`, but for a timeout.
        """
        power.require_fit_to_enable(self)

    def stop(self) -> None:
        """Emergency stop (0x150): a damped descent; the arm takes no command until `reset` and `enable`.

        Raises:
            BusLostError: the stop could not be sent.
            StopUnconfirmedError: the arm does not report it.
        """
        self.send_stop()
        self.confirm_stop()

    def send_stop(self) -> None:
        """The first half of `stop`: waits only for a bus that refuses it.

        Raises:
            BusLostError: as `stop`.
        """
        for error in send_stops([self]).values():
            raise error

    def try_stop(self) -> BusLostError | None:
        """One attempt to send the stop; waits for nothing.

        Returns:
            Why the bus did not take it; None if it did.
        """
        try:
            self.link.transmit([_STOP_FRAME])
        except BusLostError as error:
            return BusLostError(f"{error}. The stop was not sent: use its power switch")
        return None

    def confirm_stop(self) -> None:
        """The second half of `stop`: wait until the arm reports it, sending it once more in between.

        Raises:
            BusLostError, StopUnconfirmedError: as `stop`.
        """
        if self._reports_stop():
            return
        self.send_stop()
        if not self._reports_stop():
            why = self.link.outage or f"{self}: {self.status().state_name}."
            raise StopUnconfirmedError(f"{why} The stop was sent but the arm does not report it: use its power switch")

    def _reports_stop(self) -> bool:
        deadline = time.monotonic() + _STOP_TIMEOUT
        while self.link.outage or not self.status().is_stopped:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL)
        return True

    def reset(self, stopped: Callable[[], bool] = lambda: False, forced: bool = False) -> bool:
        """Leave emergency stop or a fault. A fault is first cleared by 0x475, which keeps the power; what that does not
        clear, and every emergency stop, needs 0x150: **the arm loses power and falls**: support it. A gripper that has
        tripped is cleared too.

        Args:
            stopped: whether an emergency stop was asked for since; it is not to be undone.
            forced: 0x150 also where the arm reports no fault: it may have lost its true joint angles. **It falls.**

        Returns:
            Whether the arm lost its power.

        Raises:
            BusSilentError: no feedback, so whether it needs a reset is not known; nothing was sent.
            EmergencyStoppedError: it was stopped meanwhile.
            EnableTimeoutError: the arm does not leave the fault.
        """
        return power.reset(self, stopped, forced)

    def disable(self) -> bool:
        """Switch all motors off, then the gripper. **The arm falls**, and what it grips drops: support it.

        Returns:
            True: it is limp.

        Raises:
            BusSilentError: no feedback, so whether they are off could not be told; nothing was sent.
            EnableTimeoutError: motors, or the gripper, still report to be enabled.
        """
        power.disable(self)
        return True


def send_stops(arms: Iterable[PiperArm]) -> dict[PiperArm, BusLostError]:
    """Send the emergency stop to every arm once, then again every 5 ms to those whose bus refuses it (a full queue).

    Returns:
        Why it was not sent, of the arms whose bus still refuses it after 0.15 s.
    """
    deadline = time.monotonic() + _STOP_TIMEOUT
    refused = _refusals(arms)
    while refused and time.monotonic() < deadline:
        time.sleep(_STOP_RETRY)
        refused = _refusals(refused)
    return refused


def _refusals(arms: Iterable[PiperArm]) -> dict[PiperArm, BusLostError]:
    """One attempt each; the errors of those that failed."""
    attempts = {arm: arm.try_stop() for arm in arms}
    return {arm: error for arm, error in attempts.items() if error is not None}
