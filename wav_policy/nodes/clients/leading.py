"""In which order arms are halted and led, for all who command a system: the page and the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

ARMS: Final = "piper_node"


class System(Protocol):
    """What answers to commands. Methods raise RuntimeError with the reason where something was not done."""

    def brake(self) -> None:
        """The arms hold until the next chunk."""

    def enable(self) -> None:
        """Power, and ready to follow."""

    def leaders(self) -> list[str]:
        """Nodes of this project that are there to tell the arms what to do."""

    def is_active(self, node: str) -> bool: ...

    def activate(self, node: str) -> None: ...

    def deactivate(self, node: str) -> None: ...


def halt(system: System, *checks: Callable[[], None]) -> tuple[list[str], list[str]]:
    """The arms at once, then whoever would lead them on; every step is tried, whatever became of the others.

    Args:
        checks: what must hold afterwards.

    Returns:
        Those who would lead them, and what was not done.
    """
    failures: list[str] = []

    def tried(step: Callable[[], None]) -> None:
        try:
            step()
        except RuntimeError as error:
            failures.append(str(error))

    def stop_leading(leader: str) -> None:
        if system.is_active(leader):
            system.deactivate(leader)

    tried(system.brake)
    leaders = system.leaders()
    for leader in leaders:
        tried(lambda leader=leader: stop_leading(leader))  # type: ignore[misc]
    for check in checks:
        tried(check)
    return leaders, failures


def start(system: System, check: Callable[[], None] = lambda: None) -> list[str]:
    """Enable the arms and let whoever is there lead them; nobody begins to lead arms that are not enabled.

    Args:
        check: raises where it must not go on, and is called before every step that lets the arms move, and at the end.

    Returns:
        Those who lead them.
    """
    if system.is_active(ARMS):
        system.enable()
    else:
        system.activate(ARMS)
    leaders = system.leaders()
    for leader in leaders:
        active = system.is_active(leader)
        check()
        if not active:
            system.activate(leader)
    check()
    return leaders
