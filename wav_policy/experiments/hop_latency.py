"""From a camera's picture to a CAN frame, hop by hop, of a system that runs: what its nodes say of themselves.

Every hop is measured where it happens, with the clock of the pictures' stamps; percentiles of hops do not add up to
those of the way.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

import numpy as np

from wav_models.progress import progress
from wav_policy.monitor.snapshot import CONTROL, PLANNING
from wav_policy.nodes.clients.system_client import SystemClient

_HOPS: Final = (
    (PLANNING, "observation_age", "picture taken -> planning begins (camera, DDS, decoding, resizing)"),
    (PLANNING, "observe", "observation assembled"),
    (PLANNING, "plan", "planned (a remote policy: question to answer)"),
    (PLANNING, "remote_inference", "  of which the server says it computed"),
    (PLANNING, "observation_to_chunk", "picture taken -> chunk published"),
    (CONTROL, "camera_to_loop", "picture taken -> chunk taken over by the control loop (DDS, gateway)"),
    (CONTROL, "tick_to_can", "tick begins -> targets of both arms written to the buses"),
    (CONTROL, "camera_to_can", "picture taken -> first CAN frames of its chunk"),
)
"""Entry of /diagnostics, stage, and what it is called."""


class HopError(RuntimeError):
    """Nothing to measure; the message says what to start."""


def measure_hops(seconds: float, namespace: str = "") -> dict[str, Any]:
    """Watch a running system for `seconds`.

    Returns:
        What plans, number of chunks, and of those hops that there are by name percentiles 50 and 99 [ms].

    Raises:
        HopError: no system runs in this ROS domain, or its arms follow no chunks.
    """
    with closing(SystemClient(namespace)) as client:
        if not client.spin_until(lambda: {PLANNING, CONTROL} <= set(client.reports), 10.0):
            raise HopError(
                "no system with a policy runs here: start `wav up sim:=true`, or with policy:=ws://HOST:PORT"
            )
        client.chunk_ages.clear()
        with progress("watching") as tell:
            began = time.monotonic()

            def tick() -> bool:
                tell(round(time.monotonic() - began), round(seconds))
                return False

            client.spin_until(tick, seconds)
        hops = dict(_hops(client))
        if not client.chunk_ages or _HOPS[-1][2] not in hops:
            said = "; ".join(client.reports[name].message for name in (PLANNING, CONTROL))
            raise HopError(f"the arms follow no chunks: {said}")
        engine = client.reports[PLANNING].values["engine"]
        return {"engine": engine, "seconds": seconds, "chunks": len(client.chunk_ages), "hops_ms": hops}


def hop_text(measured: dict[str, Any]) -> str:
    """The result of `measure_hops` as a table in Markdown."""
    head = f"{measured['engine']}; {measured['chunks']} chunks in {measured['seconds']:g} s"
    lines = [f"| {name} | {p50:.1f} | {p99:.1f} |" for name, (p50, p99) in measured["hops_ms"].items()]
    return "\n".join([head, "", "| hop | p50 [ms] | p99 [ms] |", "|---|---|---|", *lines])


def _hops(client: SystemClient) -> Iterator[tuple[str, tuple[float, float]]]:
    """Name, and percentiles 50 and 99 [ms], in order."""
    arrivals = 1e3 * np.array(client.chunk_ages)
    for entry, stage, name in _HOPS:
        p50, p99 = (client.reports[entry].number(f"{stage}_ms_{percentile}") for percentile in ("p50", "p99"))
        if p50 is not None and p99 is not None:
            yield name, (p50, p99)
        if stage == "observation_to_chunk" and len(arrivals):
            p50, p99 = np.percentile(arrivals, [50, 99]).tolist()
            yield "picture taken -> chunk in another process", (p50, p99)
