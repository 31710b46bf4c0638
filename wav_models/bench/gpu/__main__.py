"""`python -m wav_models.bench.gpu --seconds 420 --out DIR`."""

from __future__ import annotations

import argparse
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

import torch

from wav_models.bench.gpu import phases
from wav_models.bench.gpu.phases import BenchPhase
from wav_models.bench.gpu.session import Session
from wav_models.bench.gpu.tensorrt import tensorrt
from wav_models.bench.gpu.training import training
from wav_models.presets import PRESETS

PHASES: Final = (
    BenchPhase("machine", 10, phases.machine),
    BenchPhase("correct", 30, phases.correct),
    BenchPhase("eager", 30, phases.eager),
    BenchPhase("attention", 10, phases.attention),
    BenchPhase("fp8", 10, phases.fp8),
    BenchPhase("compiled", 60, phases.compiled),
    BenchPhase("graphs", 60, phases.graphs),
    BenchPhase("threads", 10, phases.threads),
    BenchPhase("training", 60, training),
    BenchPhase("tensorrt", 60, tensorrt),
    BenchPhase("plans", 150, phases.plans),
)
"""In the order they run; the last one prints what the run is for, and time is kept for it."""
START_SECONDS: Final = 15.0
"""What a new process takes before its first phase."""
PROGRAM: Final = (sys.executable, "-m", "wav_models.bench.gpu")
BEGUN, ENDED, CUT_OFF, LOST, CRASHED = "begins", "ends", "cut off", "device lost", "crashed"
"""Results about a phase: the first one, and how it may end."""
ENDINGS: Final = (ENDED, CUT_OFF, LOST)
FAILURES: Final = ("FAILED", CUT_OFF, LOST, CRASHED)
"""What results begin with that count as failures."""


def main(argv: Sequence[str]) -> int:
    """Have the phases run; the number of results that are failures."""
    parser = argparse.ArgumentParser(prog="python -m wav_models.bench.gpu", description=__doc__)
    names = [phase.name for phase in PHASES]
    parser.add_argument("--seconds", type=seconds, default=420.0, help="what does not fit any more is left out")
    parser.add_argument("--out", type=Path, default=Path(), help="where gpu.jsonl is written, one result a line")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="PHASE", help=", ".join(names))
    parser.add_argument("--preset", choices=sorted(PRESETS), default="wav-2b", help="the model whose times count")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--began", type=float, help=argparse.SUPPRESS)  # in the process that runs the phases
    arguments = parser.parse_args(argv)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no GPU; --device cpu --preset wav-tiny shows that the program runs")
    try:
        session = Session(
            torch.device(arguments.device),
            arguments.preset,
            arguments.seconds,
            arguments.out,
            began=time.monotonic() if arguments.began is None else arguments.began,
        )
    except OSError as error:
        parser.error(f"argument --out: {error}")
    chosen = [phase for phase in PHASES if phase.name in arguments.only]
    if arguments.began is None:
        return supervise(session, [phase.name for phase in chosen])
    run(session, chosen)
    return 0


def seconds(text: str) -> float:
    """A duration from the command line."""
    if not 0.0 < (number := float(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no positive number")
    return number


def supervise(session: Session, names: Sequence[str]) -> int:
    """Have another process run the phases. Whatever a phase does to that process, as where a library of the GPU
    crashes, costs that phase: the next process goes on with those after it.

    Args:
        names: of the phases, in their order.

    Returns:
        The number of results that are failures.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends the other one, too
    same = {name: str(getattr(session, name)) for name in ("seconds", "out", "preset", "began", "device")}
    options = [part for name, value in same.items() for part in (f"--{name}", value)]
    before = len(session.rows())
    while names:
        known = len(session.rows())
        code = subprocess.run([*PROGRAM, *options, "--only", *names]).returncode
        if code == 0:
            break
        rows = session.rows()[known:]
        last = next((row["phase"] for row in reversed(rows) if row["result"] == BEGUN), None)
        if not any(row["result"] in ENDINGS and row["phase"] == last for row in rows):
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            session.say(CRASHED, phase=last, error=how)
        names = [] if last is None else names[names.index(last) + 1 :]
    failed = sum(row["result"].startswith(FAILURES) for row in session.rows()[before:])
    session.say("done", failed=failed)
    return failed


def run(session: Session, phases: Sequence[BenchPhase]) -> None:
    """The phases that fit into the time; it is kept for the last."""
    for phase in phases:
        kept = 0.0 if phase is phases[-1] else phases[-1].seconds + START_SECONDS
        if session.left < phase.seconds + kept:
            session.say("left out", phase=phase.name, why=f"needs {phase.seconds:g} s")
        else:
            _run(phase, session, session.left - kept)


def _run(phase: BenchPhase, session: Session, limit: float) -> None:
    """One phase; what it raises is a result, and the next one begins.

    Args:
        limit: after so long [s], and where the device is lost, this process ends.
    """
    began = session.elapsed

    def end(result: str, **values: str) -> NoReturn:
        session.say(result, phase=phase.name, took_s=session.elapsed - began, **values)
        os._exit(1)  # whatever its threads wait for

    timer = threading.Timer(limit, end, (CUT_OFF,))
    timer.daemon = True
    timer.start()
    session.say(BEGUN, phase=phase.name)
    try:
        session.attempt(partial(phase.run, session), phase=phase.name)
    except Exception as error:  # of the device itself, which no call of this process can use any more
        end(LOST, error=f"{type(error).__name__}: {error}"[:400])
    finally:
        timer.cancel()
    session.say(ENDED, phase=phase.name, took_s=session.elapsed - began)


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1:])))
