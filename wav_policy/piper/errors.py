"""What can be wrong with an arm, each with its remedy."""

from __future__ import annotations


class PiperError(RuntimeError):
    """An arm that cannot be used; the message names the arm and what to do."""


class InterfaceNotFoundError(PiperError):
    """The CAN interface or serial adapter is not there, or is down."""


class ArmInUseError(PiperError):
    """This process already drives an arm on that channel."""


class BusSilentError(PiperError):
    """The bus is open but the arm says nothing (any more)."""


class BusLostError(PiperError):
    """The adapter was unplugged, or the interface went down, while in use."""


class EnableTimeoutError(PiperError):
    """Motors that did not enable in time."""


class EmergencyStoppedError(PiperError):
    """The arm is in emergency stop and takes no command."""


class TeachModeError(PiperError):
    """The arm is in teach or leader mode and takes no command."""
