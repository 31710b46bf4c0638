"""What leaves the control loop while ROS time is set, stopped or hurried, in real seconds: `python -m` this prints it.

The first joint is led at 2 rad/s when the clock is set, and 1 rad/s back as soon as the loop follows again.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from tests.wav_policy.control.loop_bench import RATE, START, Bench
from wav_models.types import ActionChunk, FloatArray

COARSE: Final = (-3600.0, -60.0, -1.0, -0.3, 0.3, 1.0, 60.0, 3600.0)
FINE: Final = tuple(sign * 1e-3 * count for count in (*range(1, 11), *range(40, 71, 3)) for sign in (-1, 1))
STEPS: Final = COARSE + FINE
"""A tick is 5 ms; a step is one from 50 ms on [s]."""
RATES: Final = (0.0, 0.1, 0.95, 1.0, 3.0, 100.0)
"""Of `/clock` against real time."""


def plan(bench: Bench, speed: float = 2.0) -> None:
    """A chunk planned now, stamped in ROS time, as policy_node does; of the first joint [rad/s]."""
    positions = np.tile(START, (8, 1))
    positions[:, 0] = np.clip(bench.arms.position[0] + 0.1 * speed * np.arange(1, 9), -2.6, 2.6)
    bench.receive(ActionChunk(positions, 0.0, 0.1), bench.now + bench.ros_offset - 0.05)


def motion(bench: Bench) -> tuple[FloatArray, FloatArray]:
    """Velocities and accelerations of what left, in real seconds."""
    velocity = np.diff(np.array(bench.arms.writes), axis=0) * RATE
    return velocity, np.diff(velocity, axis=0) * RATE


def moving() -> Bench:
    """In mid-motion."""
    bench = Bench()
    bench.loop.engage()
    bench.run(0.05)
    plan(bench)
    bench.run(0.6)
    return bench


def stepped(step: float) -> Bench:
    """ROS time is set in mid-motion [s]; then the joint is led back."""
    bench = moving()
    bench.ros_offset += step
    bench.run(2.5)
    plan(bench, speed=-1.0)
    bench.run(0.4)
    return bench


def hurried(rate: float) -> Bench:
    """A simulated clock in ticks of 4 ms, a policy that plans by it."""
    bench = Bench()
    bench.loop.engage()
    bench.run(0.05)
    ros, shown = bench.ros_offset + bench.now, bench.ros_offset + bench.now
    for tick in range(1000):
        if tick % 40 == 0:
            plan(bench)
        ros += rate / RATE
        if ros - shown >= 4e-3:
            shown = ros
        bench.ros_offset = shown - bench.now - 1.0 / RATE
        bench.run(1.0 / RATE)
    return bench


def main() -> None:
    """A Markdown table."""
    print("| ROS time | largest velocity [rad/s] | largest acceleration [rad/s^2] |\n|---|---|---|")
    benches = {f"set by {step:+g} s": stepped(step) for step in STEPS}
    benches |= {f"/clock at {rate:g} times real time": hurried(rate) for rate in RATES}
    for name, bench in benches.items():
        velocity, acceleration = (float(np.abs(each).max()) for each in motion(bench))
        print(f"| {name} | {velocity:.3f} | {acceleration:.3f} |")


if __name__ == "__main__":
    main()
