"""From a camera's picture to a CAN frame, hop by hop, of a system that runs: what its nodes say of themselves.

Every hop is measured where it happens, with the clock of the pictures' stamps; percentiles of hops do not add up to
those of the way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from wav_policy.nodes.clients.system_client import SystemClient

_PLANNING, _LOOP = "policy_node: planning", "piper_node: control loop"
_HOPS: Final = (
    (_PLANNING, "observation_age", "picture taken -> planning begins (camera, DDS, decoding, resizing)"),
    (_PLANNING, "observe", "observation assembled"),
    (_PLANNING, "plan", "planned (a remote policy: question to answer)"),
    (_PLANNING, "remote_inference", "  of which the server says it computed"),
    (_PLANNING, "observation_to_chunk", "picture taken -> chunk published"),
    (_LOOP, "camera_to_loop", "picture taken -> chunk taken over by the control loop (DDS, gateway)"),
    (_LOOP, "tick_to_can", "tick begins -> targets of both arms written to the buses"),
    (_LOOP, "camera_to_can", "picture taken -> first CAN frames of its chunk"),
)
"""Entry of /diagnostics, stage, and what it is called."""


class HopError(RuntimeError):
    """Nothing to measure; the message says what to start."""


@dataclass(frozen=True)
class Hop:
    """One line of the table [ms]."""

    name: str
    p50: float
    p99: float


@dataclass(frozen=True)
class HopReport:
    """What a running system says.

    Attributes:
        policy: what plans.
        chunks: seen while it was watched.
        hops: in order; those that this system has.
    """

    policy: str
    chunks: int
    hops: tuple[Hop, ...]


def measure_hops(seconds: float, namespace: str = "") -> HopReport:
    """Watch a running system for `seconds`.

    Raises:
        HopError: no system runs in this ROS domain, or its arms follow no chunks.
    """
    client = SystemClient(namespace)
    try:
        if not client.spin_until(lambda: {_PLANNING, _LOOP} <= set(client.reports), 10.0):
            raise HopError(
                "no system with a policy runs here: start `wav up sim:=true`, or with policy:=ws://HOST:PORT"
            )
        client.chunk_ages.clear()
        client.spin_until(lambda: False, seconds)
        hops = tuple(_hops(client))
        if not client.chunk_ages or not any(hop.name == _HOPS[-1][2] for hop in hops):
            said = "; ".join(client.reports[name].message for name in (_PLANNING, _LOOP))
            raise HopError(f"the arms follow no chunks: {said}")
        return HopReport(client.reports[_PLANNING].values["engine"], len(client.chunk_ages), hops)
    finally:
        client.close()


def _hops(client: SystemClient) -> Iterator[Hop]:
    arrivals = 1e3 * np.array(client.chunk_ages)
    for entry, stage, name in _HOPS:
        p50, p99 = (client.reports[entry].number(f"{stage}_ms_{percentile}") for percentile in ("p50", "p99"))
        if p50 is not None and p99 is not None:
            yield Hop(name, p50, p99)
        if stage == "observation_to_chunk" and len(arrivals):
            yield Hop("picture taken -> chunk in another process", *map(float, np.percentile(arrivals, [50, 99])))


def hops_text(report: HopReport) -> str:
    """The table, as Markdown."""
    lines = [f"{report.policy}; {report.chunks} chunks", "", "| hop | p50 [ms] | p99 [ms] |", "|---|---|---|"]
    return "\n".join([*lines, *_rows(report.hops)])


def _rows(hops: Sequence[Hop]) -> Iterator[str]:
    for hop in hops:
        yield f"| {hop.name} | {hop.p50:.1f} | {hop.p99:.1f} |"
