"""`python -m wav_models.bench.gpu --seconds 420 --out DIR`."""

from __future__ import annotations

import argparse
import math
import os
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

import torch

from wav_models.bench.gpu import phases
from wav_models.bench.gpu.phases import Phase
from wav_models.bench.gpu.session import Session
from wav_models.bench.gpu.tensorrt import tensorrt
from wav_models.bench.gpu.training import training
from wav_models.presets import PRESETS

PHASES: Final = (
    Phase("machine", 10, phases.machine),
    Phase("correct", 30, phases.correct),
    Phase("eager", 30, phases.eager),
    Phase("attention", 10, phases.attention),
    Phase("fp8", 10, phases.fp8),
    Phase("compiled", 60, phases.compiled),
    Phase("graphs", 60, phases.graphs),
    Phase("threads", 10, phases.threads),
    Phase("training", 60, training),
    Phase("tensorrt", 60, tensorrt),
    Phase("plans", 150, phases.plans),
)
"""In the order they run; the last one prints what the run is for, and time is kept for it."""
START_SECONDS: Final = 15.0
"""What a new process takes before its first phase."""


def main(argv: Sequence[str]) -> int:
    """Run the phases; the number of those that failed."""
    parser = argparse.ArgumentParser(prog="python -m wav_models.bench.gpu", description=__doc__)
    names = [phase.name for phase in PHASES]
    parser.add_argument("--seconds", type=seconds, default=420.0, help="what does not fit any more is left out")
    parser.add_argument("--out", type=Path, default=Path(), help="where gpu.jsonl is written, one result a line")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="PHASE", help=", ".join(names))
    parser.add_argument("--preset", choices=sorted(PRESETS), default="wav-2b", help="the model whose times count")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--began", type=float, help=argparse.SUPPRESS)  # in the process that another goes on for
    parser.add_argument("--failed", type=int, default=0, help=argparse.SUPPRESS)  # in those before
    arguments = parser.parse_args(argv)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no GPU; --device cpu --preset wav-tiny shows that the program runs")
    try:
        session = Session(
            torch.device(arguments.device),
            arguments.preset,
            arguments.seconds,
            arguments.out,
            failed=arguments.failed,
            began=time.monotonic() if arguments.began is None else arguments.began,
        )
    except OSError as error:
        parser.error(f"argument --out: {error}")
    chosen = [phase for phase in PHASES if phase.name in arguments.only]
    for place, phase in enumerate(chosen):
        kept = 0.0 if phase is chosen[-1] else chosen[-1].seconds + START_SECONDS
        if session.left < phase.seconds + kept:
            session.say("left out", phase=phase.name, why=f"needs {phase.seconds:g} s")
        else:
            _run(phase, session, session.left - kept, [each.name for each in chosen[place + 1 :]])
    session.say("done", failed=session.failed)
    return session.failed


def seconds(text: str) -> float:
    """A duration from the command line."""
    if not 0.0 < (number := float(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no positive number")
    return number


def _run(phase: Phase, session: Session, limit: float, rest: Sequence[str]) -> None:
    """One phase; what it raises is a result, and the next one begins.

    Args:
        limit: after so long [s], and where the device is lost, another process goes on with the `rest`.
    """
    began = session.elapsed

    def end(result: str, **values: str) -> NoReturn:
        session.failed += 1
        session.say(result, phase=phase.name, took_s=session.elapsed - began, **values)
        _go_on(session, rest)

    timer = threading.Timer(limit, end, ("cut off",))
    timer.daemon = True
    timer.start()
    try:
        session.attempt(partial(phase.run, session), phase=phase.name)
    except Exception as error:  # of the device itself, which no call of this process can use any more
        end("device lost", error=f"{type(error).__name__}: {error}"[:400])
    finally:
        timer.cancel()
    session.say("phase", name=phase.name, took_s=session.elapsed - began)


def _go_on(session: Session, rest: Sequence[str]) -> NoReturn:
    """End this process, whatever its threads wait for, and with it what it has on the device."""
    if not rest:
        session.say("done", failed=session.failed)
        os._exit(1)
    for descriptor in os.listdir("/proc/self/fd"):
        if int(descriptor) > 2 and os.path.exists(f"/proc/self/fd/{descriptor}"):
            os.set_inheritable(int(descriptor), False)
    same = {name: getattr(session, name) for name in ("seconds", "out", "preset", "began", "failed")}
    options = [part for name, value in same.items() for part in (f"--{name}", str(value))]
    options += ["--device", session.device.type]
    os.execv(sys.executable, [sys.executable, "-m", "wav_models.bench.gpu", *options, "--only", *rest])


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1:])))
