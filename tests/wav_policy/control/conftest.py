"""Control loops over arms that obey at once: fixtures `bench`, `following`, `running`."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.wav_policy.control.loop_bench import RATE, Bench, PerfectArms
from wav_policy.control.control_loop import ControlLoop
from wav_policy.control.safety import SafetyLimits


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def following(bench: Bench) -> Bench:
    """In the first half of a chunk of 2 s at 0.2 rad/s."""
    bench.loop.engage()
    bench.run(0.05)
    bench.loop.accept(bench.chunk(0.4, rows=20))
    bench.run(0.5)
    assert not bench.loop.state().holding
    return bench


@pytest.fixture
def running() -> Iterator[tuple[ControlLoop, PerfectArms]]:
    """A loop in its own thread and real time; how punctual depends on the machine."""
    arms = PerfectArms(time.monotonic)
    loop = ControlLoop(arms, RATE, SafetyLimits(max_tick=1.0, max_measurement_age=5.0))
    loop.start()
    loop.engage()
    yield loop, arms
    loop.close()
