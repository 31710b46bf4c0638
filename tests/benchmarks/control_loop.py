"""How punctual the control loop is and what it costs: real frames, simulated arms in a process of their own.

    python -m tests.benchmarks.control_loop --seconds 60 --json

The driver runs as in piper_node, without ROS around it. The simulated arms' processor time is not counted, but they
need some: on a machine with one free core the lateness is theirs too.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from tests.benchmarks.frame_costs import FrameCosts, measure_frame_costs
from tests.benchmarks.loop_profile import profile_ticks
from wav_models.types import ActionChunk, FloatArray
from wav_policy.control.control_loop import ControlLoop
from wav_policy.control.loop_statistics import LoopStatistics
from wav_policy.control.safety_limits import SafetyLimits
from wav_policy.piper.bimanual import BimanualPiper
from wav_policy.piper.errors import PiperError
from wav_policy.robot.joints import ARM_DOF

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]

_CHUNK_PERIOD = 0.5  # s
_CHUNK_STEP = 0.1  # s
_CHUNK_ROWS = 16
_SWING = 0.2  # rad
_START_TIMEOUT = 60.0  # s
_WARM_UP = 1.0  # s
_PROFILE_TICKS = 400
_PROFILE_RATE = 200.0  # Hz


@dataclass(frozen=True)
class LoopBenchmark:
    """Run the control loop over two simulated arms (in a process of their own); lateness and processor time."""

    rate: float = 200.0
    """Targets per second and arm [Hz]."""
    feedback: float = 200.0
    """Joint and gripper readings per second and arm [Hz]."""
    all_frames: Flag = False
    """Send all frames a real arm sends (3040/s at 200 Hz), not only the ones the driver needs."""
    seconds: float = 20.0
    """Measured time [s]."""
    profile: Flag = False
    """Afterwards run 400 ticks under cProfile and show what costs most."""
    json: Flag = False
    """Print JSON."""

    def __post_init__(self) -> None:
        """ValueError naming the field that is not usable."""
        for name, low, high in (("rate", 10.0, 500.0), ("feedback", 10.0, 1000.0), ("seconds", 1.0, 3600.0)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be {low:g}..{high:g}, got {getattr(self, name)}")


@dataclass(frozen=True)
class LoopResult:
    """What came out.

    Attributes:
        rate_hz: ticks per second.
        lateness_ms: p50, p99, p99.9 and largest of the start of a tick after it was due.
        feedback_hz: readings per second of the slower arm.
        received_per_second: frames of both arms.
        cpu_share: processor time of the driver's process over wall time; 1 is one core.
        cpu_share_by_thread: the same for each of its threads.
        undecodable: frames that could not be read.
        costs: of single operations, ours and piper_sdk's.
        profile: functions that cost most; "" where it was not asked for.
    """

    rate_hz: float
    lateness_ms: dict[str, float]
    feedback_hz: float
    received_per_second: float
    cpu_share: float
    cpu_share_by_thread: dict[str, float]
    undecodable: int
    costs: FrameCosts
    profile: str = ""


class _AllTicks(LoopStatistics):
    """Keeps every lateness of the measured time."""

    def __init__(self) -> None:
        super().__init__()
        self.lateness: list[float] = []

    def tick(self, now: float, lateness: float) -> None:
        super().tick(now, lateness)
        self.lateness.append(lateness)


def run(benchmark: LoopBenchmark) -> LoopResult:
    """Run it; takes `seconds` and some ten more.

    Raises:
        PiperError: the simulated arms do not answer.
    """
    with _arms_in_their_own_process(benchmark) as links:
        arms = BimanualPiper("slcan", str(links[0]), str(links[1]))
        arms.connect()
        ticks = _AllTicks()
        loop = ControlLoop(arms, benchmark.rate, SafetyLimits(), statistics=ticks)
        try:
            arms.enable()
            loop.start()
            loop.engage()
            result = _measure(benchmark, arms, loop, ticks)
        finally:
            loop.close()
        try:
            return replace(result, profile=_profile(arms)) if benchmark.profile else result
        finally:
            arms.close()


def _profile(arms: BimanualPiper) -> str:
    reading = arms.read()
    assert reading is not None  # connected
    loop = ControlLoop(arms, _PROFILE_RATE, SafetyLimits())
    return profile_ticks(loop, _swing_chunk(reading.position), _PROFILE_TICKS, 1.0 / _PROFILE_RATE)


def _measure(benchmark: LoopBenchmark, arms: BimanualPiper, loop: ControlLoop, ticks: _AllTicks) -> LoopResult:
    reading = arms.read()
    assert reading is not None  # connected
    _swing(loop, reading.position, _WARM_UP)
    ticks.lateness.clear()
    received = arms.received_frames
    cpu, threads, began = time.process_time(), _thread_times(), time.monotonic()
    _swing(loop, reading.position, benchmark.seconds)
    elapsed = time.monotonic() - began
    late = 1e3 * np.array(ticks.lateness)
    shares = {name: (now - threads.get(name, 0.0)) / elapsed for name, now in _thread_times().items()}
    status = arms.status()
    return LoopResult(
        rate_hz=len(late) / elapsed,
        lateness_ms={
            **{f"p{q:g}": float(np.percentile(late, q)) for q in (50, 99, 99.9)},
            "max": float(late.max()),
        },
        feedback_hz=min(arm.feedback_rate for arm in status.values()),
        received_per_second=(arms.received_frames - received) / elapsed,
        cpu_share=(time.process_time() - cpu) / elapsed,
        cpu_share_by_thread={name: share for name, share in sorted(shares.items()) if share > 1e-3},
        undecodable=sum(arm.undecodable for arm in status.values()),
        costs=measure_frame_costs(),
    )


def _swing(loop: ControlLoop, start: FloatArray, seconds: float) -> None:
    """Chunks as a policy would send them: both arms swing slowly."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0.0:
        loop.accept(_swing_chunk(start))
        time.sleep(min(_CHUNK_PERIOD, left))


def _swing_chunk(start: FloatArray) -> ActionChunk:
    stamp = time.monotonic()
    times = stamp + _CHUNK_STEP * np.arange(1, _CHUNK_ROWS + 1)
    positions = np.tile(start, (_CHUNK_ROWS, 1))
    positions[:, [0, ARM_DOF]] += _SWING * np.sin(times)[:, None]
    return ActionChunk(positions, stamp, _CHUNK_STEP)


def _rates(benchmark: LoopBenchmark) -> Any:
    from wav_policy.sim.firmware import FeedbackRates

    rate = benchmark.feedback
    if benchmark.all_frames:
        return FeedbackRates(rate, rate, rate, rate / 5, rate, rate)
    return FeedbackRates(rate, rate, min(rate, 50.0), 10.0, 0.0, 0.0)


def _thread_times() -> dict[str, float]:
    """Processor time of each Python thread of this process [s]."""
    times = {}
    for thread in threading.enumerate():
        fields = Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text().split()
        times[thread.name] = int(fields[0]) * 1e-9
    return times


@contextmanager
def _arms_in_their_own_process(benchmark: LoopBenchmark) -> Iterator[tuple[Path, Path]]:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    with tempfile.TemporaryDirectory(prefix="wav-loop-") as directory:
        links = Path(directory, "left"), Path(directory, "right")
        process = context.Process(target=_serve, args=(links, benchmark, ready, done), daemon=True)
        process.start()
        try:
            if not ready.wait(_START_TIMEOUT):
                raise RuntimeError(f"the simulated arms did not start within {_START_TIMEOUT:g} s")
            yield links
        finally:
            done.set()
            process.join()


def _serve(links: tuple[Path, Path], benchmark: LoopBenchmark, ready: Event, done: Event) -> None:
    """Two simulated arms that follow at once, until `done`."""
    from tests.wav_policy.kinematic_arm import KinematicArm
    from wav_policy.sim.firmware import SimulatedArm

    arms = [SimulatedArm(KinematicArm(), link, _rates(benchmark)) for link in links]
    for arm in arms:
        arm.start()
    ready.set()
    done.wait()
    for arm in arms:
        arm.stop()


def _text(result: LoopResult) -> str:
    late = ", ".join(f"{name} {value:.3f}" for name, value in result.lateness_ms.items())
    costs = result.costs
    lines = [
        f"rate       {result.rate_hz:.1f} Hz; feedback {result.feedback_hz:.1f} Hz in "
        f"{result.received_per_second:.0f} frames/s",
        f"lateness   {late} ms",
        f"processor  {100 * result.cpu_share:.1f} % of a core",
        *(f"           {100 * share:5.1f} %  {name}" for name, share in result.cpu_share_by_thread.items()),
        "operation                       driver   python-can / piper_sdk",
        f"  receive a frame            {costs.receive:7.1f} us   {costs.receive_python_can:7.1f} us",
        f"  decode a frame             {costs.decode:7.1f} us   {costs.decode_piper_sdk:7.1f} us",
        f"  send a target to one arm   {costs.set_point:7.1f} us   {costs.set_point_piper_sdk:7.1f} us",
    ]
    return "\n".join([*lines, result.profile] if result.profile else lines)


def main() -> int:
    """Exit code 1 when the simulated arms do not answer."""
    benchmark = tyro.cli(LoopBenchmark, prog="python -m tests.benchmarks.control_loop")
    try:
        result = run(benchmark)
    except (PiperError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(asdict(result), indent=2) if benchmark.json else _text(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
