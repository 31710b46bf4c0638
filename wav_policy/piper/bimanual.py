"""Both arms as one robot with 14 joints, left arm first; one of them may be absent."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wav_models.types import FloatArray
from wav_policy.piper.absent_arm import AbsentArm
from wav_policy.piper.arm import PiperArm, send_stops
from wav_policy.piper.arm_config import ArmConfig
from wav_policy.piper.errors import PiperError
from wav_policy.piper.feedback import ArmFeedback
from wav_policy.piper.flash_limits import FlashLimits
from wav_policy.piper.inhibits import Inhibit
from wav_policy.piper.status import ArmStatus
from wav_policy.robot.joints import ARM_DOF, JOINT_DIM, SIDES


@dataclass(frozen=True)
class JointReading:
    """One reading of both arms.

    Attributes:
        position: shape [14], rad and m.
        velocity: shape [14], rad/s and m/s.
        stamps: of the left and the right arm's reading [s].
        effort: shape [14], N m; NaN where an arm does not tell.
        jumps: how often each was found where it cannot have got to, shape [14].
        grippers_off: per arm, whether its gripper was on and is not.
    """

    position: FloatArray
    velocity: FloatArray
    stamps: tuple[float, float]
    effort: FloatArray = field(default_factory=lambda: np.full(JOINT_DIM, np.nan))
    jumps: NDArray[np.int64] = field(default_factory=lambda: np.zeros(JOINT_DIM, dtype=np.int64))
    grippers_off: tuple[bool, bool] = (False, False)

    @property
    def stamp(self) -> float:
        """Of the older of the two readings [s]: the age of the whole is the age of its oldest part."""
        return min(self.stamps)


class BimanualPiper:
    """Two `PiperArm`s, or one and the place of the other. Errors name the arm.

    Args:
        interface: "socketcan" or "slcan".
        channel_left: such as "can_left".
        channel_right: such as "can_right".
        clock: of all stamps [s].
        on_reading: called, in a reading thread, whenever both arms have sent a new reading; must not raise.
        usb_serials: of the adapters, left and right, which are then found whatever they are called; "" believes a name.
        absent: "left" or "right": an arm that is not there; "" when both are.
        absent_pose: where that arm is taken to be, shape [7], rad and m.
    """

    def __init__(
        self,
        interface: str,
        channel_left: str,
        channel_right: str,
        config: ArmConfig | None = None,
        clock: Callable[[], float] = time.monotonic,
        on_reading: Callable[[JointReading], None] | None = None,
        usb_serials: tuple[str, str] = ("", ""),
        absent: str = "",
        absent_pose: FloatArray | None = None,
    ) -> None:
        if absent not in ("", *SIDES):
            raise ValueError(f"absent must be '', 'left' or 'right', got '{absent}'")
        pose = np.zeros(ARM_DOF) if absent_pose is None else absent_pose
        self.left, self.right = (
            AbsentArm(side, pose, clock)
            if side == absent
            else PiperArm(side, interface, channel, config, clock, self._pair, serial)
            for side, channel, serial in zip(SIDES, (channel_left, channel_right), usb_serials, strict=True)
        )
        self._on_reading = on_reading
        self._pairing = threading.Lock()
        self._paired: tuple[float, float] = (-math.inf, -math.inf)

    @property
    def arms(self) -> list[PiperArm]:
        """Those that are there, left first."""
        return [arm for arm in (self.left, self.right) if not isinstance(arm, AbsentArm)]

    def connect(self) -> None:
        """Connect both or none.

        Raises:
            PiperError: as `PiperArm.connect`.
        """
        self.left.connect()
        try:
            self.right.connect()
        except BaseException:
            self.left.close()
            raise

    def close(self) -> None:
        """Close both buses; the arms keep their set-points and their power."""
        for arm in self.arms:
            arm.close()

    def read(self) -> JointReading | None:
        """The newest feedback of both arms, however old; None while one has just been connected again."""
        left, right = self.left.read(), self.right.read()
        return None if left is None or right is None else _joined(left, right)

    def inhibit(self) -> Inhibit | None:
        """The severer of the two arms' inhibits; None when both may be commanded."""
        left, right = self.left.inhibit(), self.right.inhibit()
        if left is None or right is None:
            return left or right
        return left if left.reaction >= right.reaction else right

    def write(self, position: FloatArray, mute: tuple[bool, bool] = (False, False)) -> tuple[bool, bool]:
        """Send targets, shape [14], rad and m; an arm that is out of reach gets none, the other one does.

        Args:
            mute: per arm, send no target, but see whether its bus would take one.

        Returns:
            Per arm, whether its bus took what was sent.
        """
        left = self.left.probe() if mute[0] else self.left.write(position[:ARM_DOF])
        right = self.right.probe() if mute[1] else self.right.write(position[ARM_DOF:])
        return left, right

    @property
    def received_frames(self) -> int:
        """Of both arms, since their buses were opened."""
        return sum(arm.received_frames for arm in self.arms)

    def status(self) -> dict[str, ArmStatus]:
        """By side."""
        return {arm.side: arm.status() for arm in self.arms}

    def read_flash(self) -> dict[str, FlashLimits]:
        """What the arms keep in flash, by side. Changes nothing; takes up to 0.6 s an arm."""
        return {arm.side: arm.read_flash() for arm in self.arms}

    def enable(self, stopped: Callable[[], bool] = lambda: False) -> tuple[bool, bool]:
        """Enable the left arm, then the right one; both hold where they are. Neither is powered when one is not fit.

        Args:
            stopped: whether that is not wanted any more; nothing is powered from then on.

        Returns:
            Whether each was ready before, so that its gripper may hold something.

        Raises:
            PiperError: as `PiperArm.enable`; an arm that was enabled before stays so and holds.
        """
        for arm in self.arms:
            arm.require_fit_to_enable()
        return self.left.enable(stopped), self.right.enable(stopped)

    def stop(self) -> None:
        """Emergency stop: sent to both before either is waited for, to each also when the other one fails.

        Raises:
            PiperError: as `PiperArm.stop`.
        """
        unsent = send_stops(self.arms)
        errors: list[PiperError] = list(unsent.values())
        for arm in self.arms:
            if arm not in unsent:
                try:
                    arm.confirm_stop()
                except PiperError as error:
                    errors.append(error)
        _raise_together(errors)

    def reset(self, stopped: Callable[[], bool] = lambda: False, forced: str = "") -> list[str]:
        """Reset the arms that need it, each also when the other one fails. **They may lose power and fall.**

        Args:
            stopped: whether an emergency stop was asked for since; no arm is reset any more then.
            forced: "left" or "right": reset that arm alone, also where it reports no fault. **It falls.**

        Returns:
            The sides that lost their power.

        Raises:
            PiperError: as `PiperArm.reset`; or that arm is not there.
        """
        if not forced:
            return self._each(lambda arm: arm.reset(stopped), "lost its power")
        self.arm(forced).reset(stopped, forced=True)
        return [forced]

    def arm(self, side: str) -> PiperArm:
        """One arm.

        Args:
            side: "left" or "right".

        Raises:
            PiperError: it is not there.
        """
        for arm in self.arms:
            if arm.side == side:
                return arm
        raise PiperError(f"the {side} arm is not there: this node runs the other one alone")

    def disable(self) -> None:
        """Switch all motors off, of each arm also when the other one fails. **Both arms fall.**

        Raises:
            PiperError: as `PiperArm.disable`.
        """
        self._each(PiperArm.disable, "is off")

    def _each(self, act: Callable[[PiperArm], bool], outcome: str) -> list[str]:
        """Do it to each arm, also when the other one fails.

        Returns:
            The sides at which it says that it did something; an error says them too, with that outcome.

        Raises:
            PiperError: all errors in one.
        """
        sides: list[str] = []
        errors: list[PiperError] = []
        for arm in sorted(self.arms, key=lambda arm: arm.link.outage != ""):  # one that is not heard is waited for
            try:
                sides += [arm.side] if act(arm) else []
            except PiperError as error:
                errors.append(error)
        _raise_together(errors, "".join(f" The {side} arm {outcome}." for side in sides))
        return sides

    def _pair(self) -> None:
        """One reading for every new one of both arms: at the rate of the slower arm."""
        left, right = self.left.latest, self.right.latest
        if self._on_reading is None or left is None or right is None:
            return
        with self._pairing:
            if left.stamp != self._paired[0] and right.stamp != self._paired[1]:  # a clock may be set back
                self._paired = (left.stamp, right.stamp)
                self._on_reading(_joined(left, right))


def _raise_together(errors: list[PiperError], addition: str = "") -> None:
    """Raise one error that says all, of the first one's kind; nothing without errors."""
    if errors:
        raise type(errors[0])(" ".join(map(str, errors)) + addition) from errors[0]


def _joined(left: ArmFeedback, right: ArmFeedback) -> JointReading:
    return JointReading(
        position=np.concatenate([left.position, right.position]),
        velocity=np.concatenate([left.velocity, right.velocity]),
        stamps=(left.stamp, right.stamp),
        effort=np.concatenate([left.effort, right.effort]),
        jumps=np.concatenate([left.jumps, right.jumps]),
        grippers_off=(left.is_gripper_off, right.is_gripper_off),
    )
