"""Processes whose wall clock is stepped while they run; ours and the monotonic one stay."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from wav_policy.experiments.faults.settable_clock import ClockError, SettableClock
from wav_policy.experiments.faults.wall_time import in_our_time

CHILD = """
import sys, threading, time, datetime
def ros():
    return float("nan")
if len(sys.argv) > 1:
    from rclpy.clock import Clock
    ros = lambda clock=Clock(): clock.now().nanoseconds * 1e-9
for line in sys.stdin:
    began = time.monotonic()
    threading.Event().wait(0.1)
    waited = time.monotonic() - began
    print(time.time(), time.monotonic(), datetime.datetime.now().timestamp(), ros(), waited, flush=True)
"""

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@pytest.fixture
def clock(tmp_path: Path) -> SettableClock:
    return SettableClock(tmp_path)


@pytest.fixture
def child(clock: SettableClock) -> Iterator[subprocess.Popen[str]]:
    rclpy = ["with rclpy"] if find_spec("rclpy") else []
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, *rclpy],
        env={**os.environ, **clock.environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield process
    process.communicate(timeout=20.0)


def ask(child: subprocess.Popen[str]) -> list[float]:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write("now\n")
    child.stdin.flush()
    return [float(word) for word in child.stdout.readline().split()]


@needs_compiler
def test_the_wall_clock_steps_and_the_monotonic_one_does_not(
    clock: SettableClock, child: subprocess.Popen[str]
) -> None:
    ask(child)
    for offset in (0.0, 3600.0, -3600.0, 0.0):
        clock.offset = offset
        wall, monotonic, local, ros, waited = ask(child)
        assert wall - time.time() == pytest.approx(offset, abs=1.0)
        assert monotonic == pytest.approx(time.monotonic(), abs=1.0)
        assert local == pytest.approx(wall, abs=0.5)
        assert ros == pytest.approx(wall, abs=0.5, nan_ok=True)
        assert 0.1 <= waited < 1.0, "a wait takes as long as ever"


@pytest.mark.parametrize("offset", [3600.0, -3600.0, 0.2, 0.0])
def test_stamps_are_told_in_our_time_whatever_the_clock_was_when_they_were_made(offset: float) -> None:
    now = 1e9
    assert in_our_time(now - 0.01 + offset, offset, now) == pytest.approx(now - 0.01, abs=1e-6)
    assert in_our_time(now - 0.01, offset, now) == pytest.approx(now - 0.01, abs=1e-6)


def test_without_a_compiler_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(ClockError, match="needs a C compiler"):
        SettableClock(tmp_path)
