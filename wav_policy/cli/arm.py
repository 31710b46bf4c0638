"""`wav arm`: look at one arm, find out which adapter is which, and mend what its flash holds."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from wav_models.command_line import Flag, parsed_command
from wav_policy.cli.arm_find import FindArguments, run_find
from wav_policy.cli.operator_answer import ask
from wav_policy.control.flash_check import unfit_limits, wider_limits
from wav_policy.control.safety_limits import SafetyLimits
from wav_policy.piper import maintenance
from wav_policy.piper.errors import PiperError
from wav_policy.piper.flash_limits import STROKES, FlashLimits
from wav_policy.piper.frames import NUM_JOINTS, FrameId
from wav_policy.piper.maintenance import Change, ServicedArm


@dataclass(frozen=True)
class ArmShowArguments:
    """What the arms say: firmware, role, limits in flash, protection levels, temperatures, adapter. Changes nothing."""

    channel: tuple[str, ...] = ("can_left", "can_right")
    """CAN interfaces, or serial devices."""


@dataclass(frozen=True, kw_only=True)
class _ChangeArguments:
    """Of every command that changes something."""

    channel: str
    """CAN interface (can_left), or serial device (/dev/ttyACM0), of the one arm meant."""
    dry_run: Flag = False
    """Only say what would be sent."""

    def change(self, arm: ServicedArm) -> Change:
        """What is to be sent."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class RestoreLimitsArguments(_ChangeArguments):
    """Restore the vendor's limits of all joints: angles, speeds, accelerations."""

    def change(self, arm: ServicedArm) -> Change:
        return maintenance.restore_limits()


@dataclass(frozen=True, kw_only=True)
class FollowerArguments(_ChangeArguments):
    """Make a leader, or an arm on other identifiers, a follower again."""

    def change(self, arm: ServicedArm) -> Change:
        return maintenance.follower()


@dataclass(frozen=True, kw_only=True)
class LeaderArguments(_ChangeArguments):
    """Make a follower a leader for teleoperation: it takes no command any more."""

    def change(self, arm: ServicedArm) -> Change:
        return maintenance.leader()


@dataclass(frozen=True, kw_only=True)
class StrokeArguments(_ChangeArguments):
    """Tell the arm which gripper is fitted."""

    millimetres: Annotated[Literal["70", "100"], tyro.conf.Positional]
    """How far it opens."""

    def change(self, arm: ServicedArm) -> Change:
        arm.arm.read_flash()
        replies = arm.arm.link.reader.replies
        told = [data for (number, _), data in replies.items() if number == FrameId.GRIPPER_SETTING_REPLY]
        if arm.is_heard and not told:
            raise PiperError(
                f"{arm.arm}: refused: it does not tell its gripper's setting (0x47E), which must not be lost"
            )
        return maintenance.stroke(int(self.millimetres), told[0] if told else None)


@dataclass(frozen=True, kw_only=True)
class CollisionLevelArguments(_ChangeArguments):
    """Set the collision protection of all joints."""

    level: Annotated[Literal["0", "1", "2", "3", "4", "5", "6", "7", "8"], tyro.conf.Positional]
    """0: off, 1: weakest, 8: most sensitive."""

    def change(self, arm: ServicedArm) -> Change:
        return maintenance.collision_level(int(self.level))


@dataclass(frozen=True, kw_only=True)
class ZeroGripperArguments(_ChangeArguments):
    """Take the gripper as closed where it is: close it by hand first."""

    def change(self, arm: ServicedArm) -> Change:
        return maintenance.zero_gripper()


@dataclass(frozen=True, kw_only=True)
class ZeroArguments(_ChangeArguments):
    """Take a joint as 0 degrees where it is: hold it on its mark first. A wrong zero makes every limit wrong."""

    joint: Annotated[Literal["1", "2", "3", "4", "5", "6"], tyro.conf.Positional]
    """Which joint."""

    def change(self, arm: ServicedArm) -> Change:
        return maintenance.zero_joint(int(self.joint))


@dataclass(frozen=True, kw_only=True)
class ClearArguments(_ChangeArguments):
    """Clear the errors of joints and gripper; the joints keep their power."""

    def change(self, arm: ServicedArm) -> Change:
        return maintenance.clear()


SUB_COMMANDS: dict[str, Callable[..., Any]] = {
    "show": ArmShowArguments,
    "find": FindArguments,
    "restore-limits": RestoreLimitsArguments,
    "follower": FollowerArguments,
    "leader": LeaderArguments,
    "stroke": StrokeArguments,
    "collision-level": CollisionLevelArguments,
    "zero-gripper": ZeroGripperArguments,
    "zero": ZeroArguments,
    "clear": ClearArguments,
}


def main(argv: list[str]) -> int:
    """Exit code 0 when it was shown, done or only tried; 1 when it was refused or did not work."""
    arguments = parsed_command(SUB_COMMANDS, "wav arm", argv)
    if isinstance(arguments, ArmShowArguments):
        return max(_show(channel) for channel in arguments.channel)
    if isinstance(arguments, FindArguments):
        return run_find(arguments)
    return _run_change(arguments)


def _run_change(arguments: _ChangeArguments) -> int:
    """Show, ask, send, read back. The channel is locked all the time: no other process drives the arm."""
    with ServicedArm(arguments.channel) as arm:
        change = arguments.change(arm)
        print(f"{arm.arm}, adapter {arm.adapter}: {change.title}. It is {arm.role}.")
        for number, data in change.frames:
            print(f"  {number:#x} {data.hex(' ')}")
        print("  each of them twice")
        arm.require_fit_for(change)
        if arguments.dry_run:
            print("dry run: nothing was sent")
            return 0
        if not _is_confirmed(arguments.channel, change):
            print("not confirmed: nothing was sent", file=sys.stderr)
            return 1
        wrong = arm.apply(change)
    if wrong:
        print(f"wav arm: sent, but {wrong}. Switch the arm off and on, look at `wav arm show`", file=sys.stderr)
        return 1
    print(f"done. {change.advice}".strip())
    return 0


def _is_confirmed(channel: str, change: Change) -> bool:
    support = "The arm must be supported, its motors off. " if change.needs_limp else ""
    return ask(f"{support}This is kept in the arm. Type the channel's name ({channel}) to send it: ") == channel


def _show(channel: str) -> int:
    console = Console(highlight=False, soft_wrap=True)
    try:
        with ServicedArm(channel) as arm:
            _print_arm(console, arm, channel)
    except PiperError as error:
        console.print(f"[bold]{channel}[/]: {error}")
        return 1
    return 0


def _print_arm(console: Console, arm: ServicedArm, channel: str) -> None:
    lines = {"adapter": str(arm.adapter), "role": arm.role}
    if not arm.is_heard:
        _print_lines(console, channel, lines)
        return
    status, flash = arm.arm.status(), arm.arm.read_flash()
    lines["firmware"] = "; ".join((status.firmware or "not told", *status.firmware_remarks))
    lines["state"] = f"{status.state_name}, mode {status.mode_name}, {sum(status.enabled)} of {NUM_JOINTS} motors on"
    lines["faults"] = "; ".join(status.faults) or "none"
    lines["temperatures"] = f"{', '.join(map(str, status.temperatures))} deg C, lowest supply {status.voltage:g} V"
    stroke = "not told" if flash.max_stroke is None else f"{1000 * flash.max_stroke:.0f} mm"
    reading = arm.arm.read()
    opening = "" if reading is None else f"open by {1000 * reading.position[-1]:.0f} mm, "
    lines["gripper"] = f"{status.gripper}, {opening}stroke {stroke}"
    limits = SafetyLimits(position_max=(*SafetyLimits().position_max[:-1], max(STROKES)))
    lines["limits"] = "; ".join((*unfit_limits(flash, limits, channel), *wider_limits(flash, limits))) or "as delivered"
    _print_lines(console, channel, lines)
    console.print(_joint_table(arm, flash))


def _print_lines(console: Console, channel: str, lines: dict[str, str]) -> None:
    console.print(f"[bold]{channel}[/]")
    for name, text in lines.items():
        console.print(f"  {name:<13} {text}", markup=False)


def _joint_table(arm: ServicedArm, flash: FlashLimits) -> Table:
    table = Table("joint", "at, deg", "flash, deg", "max rad/s", "max rad/s^2", "collision level")
    reading = arm.arm.read()
    for joint in range(NUM_JOINTS):
        at = "" if reading is None else f"{math.degrees(reading.position[joint]):.1f}"
        span = f"{_degrees(flash.lower[joint])} .. {_degrees(flash.upper[joint])}"
        level = "?" if flash.crash_levels is None else str(flash.crash_levels[joint])
        rates = _number(flash.max_speed[joint]), _number(flash.max_acceleration[joint])
        table.add_row(str(joint + 1), at, span, *rates, level)
    return table


def _degrees(angle: float | None) -> str:
    return "?" if angle is None else f"{math.degrees(angle):.1f}"


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:g}"
