"""`wav report`: the paper's figures from a checkpoint, and one page of them.

`--measure` writes the data files, `wav report` without it draws what there is. Every data file holds the command that
wrote it, and its seeds.
"""

from __future__ import annotations

import importlib
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wav_models.command_line import Flag, parsed
from wav_models.configuration import AtLeastOne, ConfigurationError, Count
from wav_models.progress import progress
from wav_policy.bringup.arguments import DEFAULT_CHECKPOINT
from wav_policy.cli.options import checkpoint_to_load, refuse_idle, require_tasks

if TYPE_CHECKING:
    from wav_policy.experiments.figures.inputs import ReportInputs

Measured = Literal["success", "search", "refit", "cost", "value", "rollout", "futures", "feasibility", "rewards"]
_MODULES = {
    **dict.fromkeys(("success", "search", "refit"), "sweeps"),
    **dict.fromkeys(("cost", "feasibility"), "simulated"),
    **dict.fromkeys(("value", "rollout", "rewards"), "recorded"),
    "futures": "choice",
}
"""Where each is measured."""
_IN_CLOSED_LOOP = {name for name, module in _MODULES.items() if module == "sweeps"}
"""Their trials are kept in a log."""


@dataclass(frozen=True)
class ReportArguments:
    """Measure what figures need, then draw all figures whose data files there are."""

    out: Path = Path("report")
    """Where data files, pictures and index.html are."""
    measure: tuple[Measured, ...] = ()
    """Data files to write: success (Fig. 2), search (K, M, N: Figs. 4, 7), refit (alpha, beta, elites: Fig. 5), cost
    (Fig. 6), value (Fig. 8), rollout (Fig. 9), futures (those of one moment, by score), feasibility (Lemma 4.1),
    rewards (Table 2)."""
    checkpoint: Path = Path(DEFAULT_CHECKPOINT)
    """Checkpoint directory."""
    task: tuple[str, ...] = ("bowl",)
    """Tasks of the simulator; the single-task figures take the first."""
    data: Path | None = None
    """Labelled dataset, for value, rollout and rewards."""
    episodes: AtLeastOne = 8
    """Episodes per task and condition."""
    seed: Count = 1000
    """First seed."""
    dtype: str = "fp32"
    """Number format of the networks in closed-loop trials and for cost: fp32, bf16, or auto."""
    workers: AtLeastOne = 2
    """Processes, one torch thread each."""
    resume: Flag = False
    """Do not run again what OUT/trials.jsonl holds of closed-loop trials with the same parameters."""
    results: tuple[Path, ...] = ()
    """Files of `wav evaluate --json`, of one checkpoint and the same seeds, that `success` is drawn from: all their
    tasks and conditions, compared where they ran on the same engine. A condition that several have of a task is that
    of the first."""


def main(argv: list[str]) -> None:
    """Entry point of `wav report`."""
    arguments = parsed(ReportArguments, "wav report", argv)
    require_tasks(arguments.task)
    if arguments.results and "success" in arguments.measure:
        raise ConfigurationError("--measure success measures what --results already has; give one of them")
    if not arguments.measure:
        of_measuring = ("checkpoint", "task", "data", "episodes", "seed", "dtype", "workers")
        refuse_idle(arguments, of_measuring, "wav report without --measure")
    if _IN_CLOSED_LOOP.isdisjoint(arguments.measure):
        refuse_idle(arguments, ["resume"], f"wav report without --measure {', '.join(sorted(_IN_CLOSED_LOOP))}")
    recorded = [name for name in arguments.measure if _MODULES[name] == "recorded"]
    if recorded and arguments.data is None:
        raise ConfigurationError(f"--measure {recorded[0]} needs --data DATASET, labelled by `wav label`")
    from wav_models.experiments.page import draw_report, measured_now

    command = "wav report " + shlex.join(argv)
    if arguments.results:
        from wav_models.experiments.joined import join_results

        _write(arguments.out / "success.json", {"command": command, **join_results(arguments.results)})
    if arguments.measure:
        inputs = _inputs(arguments)
        from wav_models.checkpoint import checkpoint_hash

        origin = {
            "command": command,
            "checkpoint": inputs.checkpoint.name,
            "checkpoint_sha256": checkpoint_hash(inputs.checkpoint),
            **measured_now(),
        }
        for name in arguments.measure:
            _measure(name, inputs, arguments.out, origin)
    with progress("drawing"):
        drawn = draw_report(arguments.out)
    print(f"{', '.join(drawn)}: {arguments.out / 'index.html'}")


def _inputs(arguments: ReportArguments) -> ReportInputs:
    from wav_models.evaluation.trial_log import TrialLog
    from wav_policy.experiments.figures.inputs import ReportInputs

    acts = not _IN_CLOSED_LOOP.isdisjoint(arguments.measure)
    log = TrialLog(arguments.out / "trials.jsonl" if acts else None, resume=arguments.resume)
    a = arguments
    return ReportInputs(
        checkpoint_to_load(a.checkpoint, dtype=a.dtype), a.task, a.data, a.episodes, a.seed, a.dtype, a.workers, log
    )


def _measure(name: str, inputs: ReportInputs, out: Path, origin: dict[str, str]) -> None:
    module = importlib.import_module(f"wav_policy.experiments.figures.{_MODULES[name]}")
    print(f"measuring {name}", file=sys.stderr, flush=True)
    measure = getattr(module, f"measure_{name}")
    if name in _IN_CLOSED_LOOP:
        files = measure(inputs)
    else:
        with progress(f"measuring {name}") as tell:
            files = measure(replace(inputs, tell=tell))
    for file, data in files.items():
        _write(out / file, {**origin, **data})


def _write(path: Path, data: dict[str, Any]) -> None:
    """JSON, or NPZ where there are pictures; a file that was there is replaced when the new one is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    from wav_models.data.durable import publish, write_json

    if path.suffix == ".npz":
        import numpy as np

        temporary = path.with_name(f".{path.name}.partial")
        with temporary.open("wb") as file:
            np.savez_compressed(file, **data)
        publish(temporary, path)
    else:
        write_json(path, data)
