"""What a fault of the campaign is, and what most of them are made of."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from wav_policy.experiments.faults.observer import Observer
from wav_policy.experiments.faults.system import CampaignError, RunningSystem
from wav_policy.experiments.faults.wall_time import wall_time
from wav_policy.nodes.clients.system_client import ServiceError

HOLD: Final = "hold"
"""The arms hold while the fault lasts. After it they go on by themselves, or by what the messages ask the operator to
call (`Fault.way_back`)."""
END: Final = "end"
"""The arms hold, and stay where they are while `wav up` stops the other nodes, names the culprit and ends with exit
code 1."""
PARK: Final = "park"
"""The arms park, and the system ends in order, as by Ctrl-C."""
GO_ON: Final = "go on"
"""Motion goes on, at the latest when a new task begins."""

POLICY_LIMIT: Final = 0.1
"""Of the time to hold once the policy is lost [s]."""


@dataclass(frozen=True)
class Testbed:
    """Where a fault happens."""

    system: RunningSystem
    observer: Observer


Inject = Callable[[Testbed], float]
"""Makes a fault happen; the time just before [s]."""


def nothing(testbed: Testbed) -> None:
    """The fault is over by itself."""


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: for the table.
        inject: makes it happen; returns the time just before [s].
        outcome: `HOLD`, `END`, `PARK` or `GO_ON`.
        limit: longest time until the arms begin to brake [s]; what it is made of stands beside each fault.
        heal: takes it away; raises what must not be.
        by_policy: the arms are moved by the policy itself; else by the campaign, which sends what it wants to.
        lost: what may be lost.
        driver_dies: nobody reports targets any more; `limit` is for the rest of the simulated joints then.
        culprit: whom the policy must blame for as long as the fault lasts.
        says: regular expression; what must be said, on /diagnostics or in the log, while the fault lasts.
        way_back: services that the messages may ask the operator to call after it, until a chunk is followed again.
        falls: an arm may lose its power: it falls, faster than any limit.
        displaced: indices of joints that are taken elsewhere at once: their targets change without motion.
        steps_clock: the system needs a wall clock that can be stepped.
    """

    name: str
    inject: Inject
    outcome: str
    limit: float = POLICY_LIMIT
    heal: Callable[[Testbed], None] = nothing
    by_policy: bool = True
    lost: str = "nothing"
    driver_dies: bool = False
    culprit: str = ""
    says: str = ""
    way_back: tuple[str, ...] = ()
    falls: bool = False
    displaced: tuple[int, ...] = ()
    steps_clock: bool = False


def parameter(name: str, value: str) -> Inject:
    """Set a parameter of the simulation."""

    def inject(testbed: Testbed) -> float:
        now = wall_time()
        testbed.observer.client.set_parameter("sim_node", name, value)
        return now

    return inject


def heal(name: str) -> Callable[[Testbed], None]:
    """Take away what `parameter` has set."""
    return lambda testbed: testbed.observer.client.set_parameter("sim_node", name, "")


def send_signal(node: str, number: signal.Signals) -> Inject:
    """Send a signal to a node's process."""
    return lambda testbed: testbed.system.signal(node, number)


def call(service: str) -> Inject:
    """Call a std_srvs/Trigger service."""

    def inject(testbed: Testbed) -> float:
        now = wall_time()
        testbed.observer.client.trigger(service)
        return now

    return inject


def require_refusal(transition: Callable[[str], None], node: str, why: str) -> None:
    """CampaignError unless a transition is refused.

    Args:
        transition: of `SystemClient`.
        node: whose.
        why: what it should have refused.
    """
    try:
        transition(node)
    except ServiceError:
        return
    raise CampaignError(f"{node} took {why}")
