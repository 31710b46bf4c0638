"""What the safety filter costs per control tick: `python -m tests.benchmarks.safety_filter`."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import tyro

from wav_policy.control.collision import make_checker
from wav_policy.control.safety import SafetyFilter, SafetyLimits
from wav_policy.robot.joints import GRIPPERS
from wav_policy.robot.model import home_positions

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]

_RATE = 200.0
_SWING = 0.25
"""Amplitude of the test motion about home [rad]."""


@dataclass(frozen=True)
class SafetyArguments:
    """Time the safety filter per control tick, with and without the collision look-ahead; processor time of its thread,
    so that a busy machine does not count."""

    ticks: int = 4000
    """Ticks per row, at 200 Hz."""
    json: Flag = False
    """Print JSON."""


def main() -> None:
    """A row per motion, with and without look-ahead."""
    arguments = tyro.cli(SafetyArguments, prog="python -m tests.benchmarks.safety_filter")
    result = measure(arguments.ticks)
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{'motion':<28} {'look-ahead':<11} {'p50':>8} {'p99':>8} {'max':>8}   us per tick")
    for row in result["rows"]:
        numbers = " ".join(f"{row[key]:8.0f}" for key in ("p50_us", "p99_us", "max_us"))
        print(f"{row['motion']:<28} {'on' if row['look_ahead'] else 'off':<11} {numbers}")


def measure(ticks: int) -> dict[str, Any]:
    """Microseconds per tick for motions slow and fast."""
    rows = [
        {"motion": f"{speed:g} rad/s, every joint", "look_ahead": on, **_percentiles(_seconds(speed, on, ticks))}
        for speed in (0.0, 0.3, 1.0, 2.0)
        for on in (False, True)
    ]
    return {"ticks": ticks, "rate_hz": _RATE, "clock": "thread", "rows": rows}


def _seconds(speed: float, look_ahead: bool, ticks: int) -> np.ndarray:
    """Processor time of every tick [s] while all joints swing about home with a greatest speed [rad/s]."""
    limits = SafetyLimits()
    safety = SafetyFilter(limits, make_checker(limits) if look_ahead else None)
    home, seconds = home_positions(), np.empty(ticks)
    position = home
    for i in range(ticks):
        now = i / _RATE
        command = home + _SWING * np.sin(speed / _SWING * now)
        command[GRIPPERS] = home[GRIPPERS]
        begin = time.thread_time()
        decision = safety.step(now, command, position, now, now)
        seconds[i] = time.thread_time() - begin
        if decision.target is not None:
            position = decision.target
    return seconds


def _percentiles(seconds: np.ndarray) -> dict[str, float]:
    p50, p99 = np.percentile(seconds, [50, 99])
    return {"p50_us": 1e6 * float(p50), "p99_us": 1e6 * float(p99), "max_us": 1e6 * float(seconds.max())}


if __name__ == "__main__":
    main()
