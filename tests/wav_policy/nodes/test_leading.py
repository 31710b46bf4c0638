"""The order in which arms are halted and led, on a system that notes what it is told."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wav_policy.nodes.clients.leading import ARMS, halt, start

POLICY, TELEOPERATOR = "policy_node", "teleop_node"


class Noted:
    """Two leaders are there; those in `active` are. What is in `failing` is not done."""

    def __init__(self, *active: str, failing: tuple[str, ...] = ()) -> None:
        self.active, self.failing = set(active), failing
        self.told: list[str] = []

    def _tell(self, what: str) -> None:
        self.told.append(what)
        if what in self.failing:
            raise RuntimeError(f"{what} failed")

    def brake(self) -> None:
        self._tell("brake")

    def enable(self) -> None:
        self._tell("enable")

    def leaders(self) -> list[str]:
        return [POLICY, TELEOPERATOR]

    def is_active(self, node: str) -> bool:
        return node in self.active

    def activate(self, node: str) -> None:
        self._tell(f"activate {node}")

    def deactivate(self, node: str) -> None:
        self._tell(f"deactivate {node}")


def refusing(why: str) -> Callable[[], None]:
    def refuse() -> None:
        raise RuntimeError(why)

    return refuse


def test_the_arms_brake_before_anything_else_and_who_leads_them_stops() -> None:
    system = Noted(ARMS, POLICY)
    assert halt(system) == ([POLICY, TELEOPERATOR], [])
    assert system.told == ["brake", f"deactivate {POLICY}"]


def test_a_halt_tries_every_step_and_says_what_was_not_done() -> None:
    failing = "brake", f"deactivate {POLICY}"
    system = Noted(ARMS, POLICY, TELEOPERATOR, failing=failing)
    _, failures = halt(system, refusing("a stranger"), refusing("another"))
    assert system.told == ["brake", f"deactivate {POLICY}", f"deactivate {TELEOPERATOR}"]
    assert failures == ["brake failed", f"deactivate {POLICY} failed", "a stranger", "another"]


@pytest.mark.parametrize("active", [True, False])
def test_arms_are_enabled_before_anybody_leads_them(active: bool) -> None:
    arms = "enable" if active else f"activate {ARMS}"
    system = Noted(*[ARMS] * active, POLICY)
    assert start(system) == [POLICY, TELEOPERATOR]
    assert system.told == [arms, f"activate {TELEOPERATOR}"]
    system = Noted(*[ARMS] * active, failing=(arms,))
    with pytest.raises(RuntimeError, match=f"{arms} failed"):
        start(system)
    assert system.told == [arms]


def test_what_was_halted_meanwhile_is_not_led() -> None:
    system = Noted(ARMS)
    with pytest.raises(RuntimeError, match="halted"):
        start(system, refusing("halted"))
    assert system.told == ["enable"]
    checks: list[int] = []
    start(Noted(ARMS, POLICY, TELEOPERATOR), lambda: checks.append(1))
    assert len(checks) == 3  # once more after the last
