"""Does planning pay live? Episodes of `wav demo` with and without planning, on the same seeds, in blocks.

`python -m wav_policy.experiments.live_comparison` on a machine that does nothing else; it goes on where it ended.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wav_models.command_line import parsed
from wav_models.configuration import AtLeastOne, Count, parse_json
from wav_models.data.durable import write_json
from wav_models.endings import ended
from wav_models.evaluation.statistics import mcnemar, wilson_interval
from wav_models.words import counted

RunDemo = Callable[[Sequence[str]], dict[str, Any]]
"""What `wav demo` measured with these arguments."""


@dataclass(frozen=True)
class ComparisonArguments:
    """Run blocks of episodes by turns with each number of planning rounds, and print how they compare."""

    task: str = "drawer"
    """Task of the simulation."""
    episodes: AtLeastOne = 60
    """Episodes with each number of rounds."""
    seed: Count = 3000
    """Seed of the first layout."""
    block: AtLeastOne = 6
    """Episodes of one run of `wav demo`."""
    iterations: tuple[Count, ...] = (0, 3)
    """Planning rounds (K); the others are compared with the first."""
    out: Path = Path("docs/results")
    """Directory of live_TASK_kK.json; seeds that are there are not run again."""

    def __post_init__(self) -> None:
        if min(self.episodes, self.block) < 1 or not self.iterations:
            raise ValueError("--episodes and --block: at least 1; --iterations: at least one")


class LiveError(RuntimeError):
    """A run failed, or a file belongs to another measurement."""


@dataclass(frozen=True)
class Record:
    """Finished blocks with one number of rounds, and the file they are in."""

    file: Path
    blocks: list[dict[str, Any]]

    @classmethod
    def read(cls, file: Path) -> Record:
        """What a file holds; nothing where there is none.

        Raises:
            LiveError: it is of something else.
        """
        if not file.exists():
            return cls(file, [])
        try:
            return cls(file, list(parse_json(file.read_text(encoding="utf-8"))["blocks"]))
        except (ValueError, LookupError, TypeError) as error:
            raise LiveError(f"{file} is no file of this measurement; move it away, or give another --out") from error

    @property
    def successes(self) -> dict[int, bool]:
        """By seed."""
        return {each["seed"]: each["success"] for block in self.blocks for each in block["results"]}

    def add(self, block: dict[str, Any]) -> None:
        """Keep a block.

        Raises:
            LiveError: the blocks before are of another checkpoint, task or planner.
        """
        for key in ("checkpoint_sha256", "task", "planner"):
            if self.blocks and block[key] != self.blocks[0][key]:
                raise LiveError(
                    f"{self.file} has {key} {self.blocks[0][key]!r}, now it is {block[key]!r}; move it away"
                )
        self.blocks.append(block)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.file, {"blocks": self.blocks})


def run_demo(arguments: Sequence[str]) -> dict[str, Any]:
    """`wav demo` in a process of its own.

    Raises:
        LiveError: it measured no episode.
    """
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "demo.json"
        command = [sys.executable, "-m", "wav_policy.cli", "demo", "--headless", *arguments, "--json", str(file)]
        code = subprocess.run(command, check=False).returncode
        measured: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if not measured.get("results"):
        raise LiveError(f"wav demo ended with {code} and without a result")
    return measured


def compare(arguments: ComparisonArguments, demo: RunDemo = run_demo) -> dict[int, Record]:
    """Run what is missing: by turns, so that what changes with time changes for all.

    Raises:
        LiveError: a run failed, or a file belongs to another measurement.
    """
    records = {k: Record.read(arguments.out / f"live_{arguments.task}_k{k}.json") for k in arguments.iterations}
    for first in range(arguments.seed, arguments.seed + arguments.episodes, arguments.block):
        seeds = range(first, min(first + arguments.block, arguments.seed + arguments.episodes))
        for k, record in records.items():
            for start, count in _missing(seeds, record.successes):
                options = ["--task", arguments.task, "--seed", str(start), "--episodes", str(count)]
                record.add(demo([*options, "--planner", f"num_iterations={k}"]))
    return records


def _missing(seeds: range, done: dict[int, bool]) -> Iterator[tuple[int, int]]:
    """First seed and length of every run of seeds that is not done."""
    todo = [seed for seed in seeds if seed not in done]
    while todo:
        length = next((i for i, seed in enumerate(todo) if seed != todo[0] + i), len(todo))
        yield todo[0], length
        todo = todo[length:]


def table(arguments: ComparisonArguments, records: dict[int, Record]) -> str:
    """One line per number of rounds, and one per comparison with the first, on the seeds asked for."""
    seeds = range(arguments.seed, arguments.seed + arguments.episodes)
    outcomes = {k: [record.successes[seed] for seed in seeds] for k, record in records.items()}
    lines = []
    for k, record in records.items():
        low, high = wilson_interval(sum(outcomes[k]), len(seeds))
        plans = sum(block["planned"] for block in record.blocks)
        rounds = sum((block["rounds_mean"] or 0.0) * block["planned"] for block in record.blocks) / max(plans, 1)
        lines.append(
            f"K = {k}: {sum(outcomes[k])}/{len(seeds)} [{low:.0%}, {high:.0%}]; {rounds:.2f} rounds a plan, "
            f"{_share(record, 'plans_without_round', plans)} of {counted(plans, 'plan')} without a round, "
            f"{_share(record, 'plans_shed', plans)} with less than asked; plan "
            f"{_worst(record, 'plan_ms_p50', max):.0f} / {_worst(record, 'plan_ms_p99', max):.0f} ms, control "
            f"{_worst(record, 'control_hz', min):.1f} Hz, "
            f"real-time factor {_worst(record, 'real_time_factor', min):.2f} (the worst block's)"
        )
    first, *others = outcomes
    for k in others:
        paired = mcnemar(outcomes[first], outcomes[k])
        lines.append(f"K = {k} against {first}: +{paired.gained} -{paired.lost}, McNemar p = {paired.p_value:.2g}")
    return "\n".join(lines)


def _share(record: Record, key: str, plans: int) -> str:
    return f"{sum(block[key] for block in record.blocks) / max(plans, 1):.1%}"


def _worst(record: Record, key: str, worse: Callable[[Sequence[float]], float]) -> float:
    return worse([block[key] for block in record.blocks if block[key] is not None] or [float("nan")])


def main() -> None:
    """Run what is missing, and print the table."""
    arguments = parsed(ComparisonArguments, "live_comparison", sys.argv[1:])
    print(table(arguments, compare(arguments)))


if __name__ == "__main__":
    sys.exit(ended("live_comparison", main))
