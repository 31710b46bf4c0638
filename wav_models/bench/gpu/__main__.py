"""`python -m wav_models.bench.gpu --seconds 420 --out DIR`."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

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


def main(argv: Sequence[str]) -> int:
    """Run the phases; the number of those that failed."""
    parser = argparse.ArgumentParser(prog="python -m wav_models.bench.gpu", description=__doc__)
    names = [phase.name for phase in PHASES]
    parser.add_argument("--seconds", type=seconds, default=420.0, help="what does not fit any more is left out")
    parser.add_argument("--out", type=Path, default=Path(), help="where gpu.jsonl is written, one result a line")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="PHASE", help=", ".join(names))
    parser.add_argument("--preset", choices=sorted(PRESETS), default="wav-2b", help="the model whose times count")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    arguments = parser.parse_args(argv)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no GPU; --device cpu --preset wav-tiny shows that the program runs")
    try:
        session = Session(torch.device(arguments.device), arguments.preset, arguments.seconds, arguments.out)
    except OSError as error:
        parser.error(f"argument --out: {error}")
    chosen = [phase for phase in PHASES if phase.name in arguments.only]
    for phase in chosen:
        last = chosen[-1].seconds if phase is not chosen[-1] else 0.0
        if session.left < phase.seconds + last:
            session.say("left out", phase=phase.name, why=f"needs {phase.seconds:g} s")
        else:
            _run(phase, session)
    session.say("done", failed=session.failed)
    return session.failed


def seconds(text: str) -> float:
    """A duration from the command line."""
    if not 0.0 < (number := float(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no positive number")
    return number


def _run(phase: Phase, session: Session) -> None:
    """One phase; what it raises is a result, and the next one begins."""
    began = session.elapsed
    session.attempt(partial(phase.run, session), phase=phase.name)
    session.say("phase", name=phase.name, took_s=session.elapsed - began)


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1:])))
