"""`wav bench loop`: lateness and processor time of the control loop over two simulated arms."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from wav_policy.experiments.loop_benchmark import LoopResult

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


@dataclass(frozen=True)
class LoopArguments:
    """Run the control loop over two simulated arms (in a process of their own); lateness and processor time."""

    rate: float = 200.0
    """Targets per second and arm [Hz]."""
    feedback: float = 200.0
    """Joint readings per second and arm [Hz]."""
    all_frames: Flag = False
    """Send all frames a real arm sends (3040/s at 200 Hz), not only the ones the driver needs."""
    seconds: float = 20.0
    """Measured time [s]."""
    profile: Flag = False
    """Afterwards run 400 ticks under cProfile and show what costs most."""
    json: Flag = False
    """Print JSON."""


def run_loop(arguments: LoopArguments) -> int:
    """Exit code 1 when the simulated arms do not answer."""
    from wav_policy.experiments.loop_benchmark import LoopBenchmark, run
    from wav_policy.piper.errors import PiperError

    benchmark = LoopBenchmark(
        arguments.rate, arguments.feedback, arguments.all_frames, arguments.seconds, arguments.profile
    )
    try:
        result = run(benchmark)
    except (PiperError, RuntimeError) as error:
        print(f"wav bench loop: {error}", file=sys.stderr)
        return 1
    print(json.dumps(result.to_dict(), indent=2) if arguments.json else _text(result))
    return 0


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
