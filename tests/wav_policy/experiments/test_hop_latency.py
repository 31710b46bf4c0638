"""The table of `wav bench hops` from what the nodes of a system say."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("rclpy")

from wav_policy.experiments import hop_latency
from wav_policy.experiments.hop_latency import HopError, hop_text, measure_hops
from wav_policy.monitor.snapshot import CONTROL, PLANNING
from wav_policy.nodes.clients.system_client import Report

STAGES = {PLANNING: ("observation_age", "observe", "plan", "observation_to_chunk")}
STAGES[CONTROL] = ("camera_to_loop", "tick_to_can", "camera_to_can")


class Client:
    """In the place of a `SystemClient`: all hops last (1, 2) ms more than the one before."""

    def __init__(self, namespace: str) -> None:
        self.reports: dict[str, Report] = {}
        for entry, stages in STAGES.items():
            values = {"engine": "torch fp32"}
            for number, stage in enumerate(stages, start=1):
                values |= {f"{stage}_ms_p50": str(number), f"{stage}_ms_p99": str(2 * number)}
            self.reports[entry] = Report("fine", values)
        self.chunk_ages = [9.0]

    def spin_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        self.chunk_ages += [0.2, 0.2, 0.3] if timeout == 60.0 else []
        return condition()

    def close(self) -> None: ...


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> type[Client]:
    monkeypatch.setattr(hop_latency, "SystemClient", Client)
    return Client


def test_every_hop_that_there_is_has_a_row_in_order(client: type[Client]) -> None:
    measured = measure_hops(60.0)
    assert measured["chunks"] == 3, "those of before do not count"
    table = [line.split(" | ") for line in hop_text(measured).splitlines()[4:]]
    assert [row[1] for row in table] == ["1.0", "2.0", "3.0", "4.0", "200.0", "1.0", "2.0", "3.0"]
    assert table[-1][0] == "| picture taken -> first CAN frames of its chunk"
    assert hop_text(measured).startswith("torch fp32; 3 chunks in 60 s")


@pytest.mark.parametrize("seconds", [59.0, 60.0])
def test_without_chunks_the_state_is_told(
    client: type[Client], monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    if seconds == 60.0:
        monkeypatch.setitem(STAGES, CONTROL, ("camera_to_loop",))
    with pytest.raises(HopError, match="the arms follow no chunks: fine; fine"):
        measure_hops(seconds)
