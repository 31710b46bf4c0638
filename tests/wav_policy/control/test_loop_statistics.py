"""What the loop says of the way of a chunk to the buses."""

from __future__ import annotations

import numpy as np
import pytest

from tests.wav_policy.control.loop_bench import RATE, START, Bench
from wav_models.types import ActionChunk
from wav_policy.control.loop_statistics import LoopStatistics


def test_hops_are_those_that_there_were() -> None:
    statistics = LoopStatistics()
    assert statistics.report().hops == {}
    statistics.took_over(10.0, 10.2)
    for tick in (10.203, 10.208):
        statistics.wrote(tick, tick + 0.001)
    hops = statistics.report().hops
    assert hops["camera_to_loop_ms_p50"] == pytest.approx(200.0)
    assert hops["tick_to_can_ms_p99"] == pytest.approx(1.0)
    assert hops["camera_to_can_ms_p50"] == hops["camera_to_can_ms_p99"] == pytest.approx(204.0), (
        "the first frames count"
    )


def test_the_loop_times_every_chunk_from_its_observation() -> None:
    bench = Bench()
    bench.loop.engage()
    bench.run(0.05)
    for _ in range(5):
        bench.receive(ActionChunk(np.tile(START, (8, 1)), 0.0, 0.1), bench.now + bench.ros_offset - 0.15)
        bench.run(0.2)
    hops = bench.loop.state().timing.hops
    assert 150.0 <= hops["camera_to_loop_ms_p50"] <= hops["camera_to_can_ms_p50"] <= 150.0 + 2e3 / RATE
