"""The benchmark of the control loop at a rate every machine keeps."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.control_loop import LoopBenchmark


@pytest.mark.clock
@pytest.mark.sim
@pytest.mark.alone
def test_the_command_measures_a_running_loop(repository: Path) -> None:
    command = [sys.executable, "-m", "tests.benchmarks.control_loop", "--json"]
    command += ["--rate", "50", "--feedback", "50", "--seconds", "2"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout[done.stdout.index("{") :])
    assert 20.0 < result["rate_hz"] < 51.0
    late = result["lateness_ms"]
    assert 0.0 <= late["p50"] <= late["p99"] <= late["p99.9"] <= late["max"]
    assert 0.0 < result["cpu_share"] < 1.0
    assert "control loop" in result["cpu_share_by_thread"]
    assert result["undecodable"] == 0
    assert result["received_per_second"] > 2 * 4 * 25
    costs = result["costs"]
    for ours in ("receive", "decode", "set_point"):
        theirs = {"receive": "receive_python_can"}.get(ours, f"{ours}_piper_sdk")
        assert costs[ours] < costs[theirs], f"{ours} no longer pays"


def test_impossible_settings_are_named() -> None:
    with pytest.raises(ValueError, match="rate must be 10..500, got 5"):
        LoopBenchmark(rate=5.0)
