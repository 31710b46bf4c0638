"""What can be wrong with an arm, each with its remedy."""

from __future__ import annotations


class PiperError(RuntimeError):
    """An arm that cannot be used; the message names the arm and what to do."""


class InterfaceNotFoundError(PiperError):
    """The CAN interface or serial adapter is not there, or is down."""


class ArmInUseError(PiperError):
    """This or another process already drives an arm on that channel."""


class BusSilentError(PiperError):
    """The bus is open but the arm says nothing (any more)."""


class WrongBitrateError(BusSilentError):
    """The interface runs at another bitrate than the arm, or looks like it."""


class BusOffError(BusSilentError):
    """The CAN controller has left the bus after too many errors."""


class BusLostError(PiperError):
    """The adapter was unplugged, or the interface went down, while in use."""


class ChangedIdsError(PiperError):
    """The arm answers on other identifiers than 0x2A*."""


class EnableTimeoutError(PiperError):
    """Motors that did not enable in time."""


class StopUnconfirmedError(PiperError):
    """An emergency stop was sent, but the arm does not report it."""


class EmergencyStoppedError(PiperError):
    """The arm is in emergency stop and takes no command."""


class TeachModeError(PiperError):
    """The arm is in teach mode and takes no command."""


class LeaderArmError(PiperError):
    """The arm is a leader, or a leader speaks on its bus: it must not be commanded from here."""


class ArmFaultError(PiperError):
    """The arm reports a fault that forbids enabling it."""


class FlashLimitsError(PiperError):
    """With the limits in its flash the arm would move by itself as soon as it is enabled."""


class FirmwareError(PiperError):
    """The arm's firmware speaks another protocol than this driver."""
