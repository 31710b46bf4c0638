"""`wav evaluate --diagnose`: finds the weak link of planning in minutes (see `wav_models.experiments.diagnosis`)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wav_models.progress import progress
from wav_models.words import counted
from wav_models.worker_pool import prepare, with_prepared, worker_pool

if TYPE_CHECKING:
    from wav_models.experiments.branching import Brancher, BranchSettings, Moment
    from wav_models.experiments.reader import FutureReader
    from wav_models.planner.config import PlannerConfig


RECORDED_EPISODES, MOMENTS_PER_EPISODE = 40, 5
OF_RECORDINGS: Final = ("data", "episodes_were", "recorded", "taught")
"""What a diagnosis says of recorded episodes, whatever the task of the simulator."""


@dataclass(frozen=True)
class DiagnosisPlan:
    """What to measure.

    Attributes:
        checkpoint: directory.
        planner: score, numbers of steps and noise scales as when acting.
        task, split: of the simulator.
        seeds: episodes whose moments are looked at.
        data: labelled dataset with successes and failures, or None.
        branch: how much to look at in an episode.
        workers: processes, one torch thread each.
        searches: planners whose choices are acted out as well, by name.
        teacher: checkpoint and planner whose choices those of `checkpoint` are held against, or None.
    """

    checkpoint: Path
    planner: PlannerConfig
    task: str
    split: str
    seeds: range
    data: Path | None
    branch: BranchSettings
    workers: int
    searches: Mapping[str, PlannerConfig]
    teacher: tuple[Path, PlannerConfig] | None = None


def diagnose(plan: DiagnosisPlan) -> dict[str, Any]:
    """Plain data for JSON: the links in the simulator, and on recorded episodes where a dataset was given.

    Raises:
        CheckpointError, EmbodimentError, DatasetError: found before any process is started; checkpoint, simulator and
            dataset must be of one robot.
        ValueError: likewise, where the teacher's choices cannot be compared with those of `checkpoint`.
        ChildProcessError: a worker died.
    """
    from wav_models.checkpoint import load_checkpoint
    from wav_models.data.dataset import Dataset
    from wav_models.experiments.diagnosis import summarise_moments
    from wav_models.experiments.held_out import announced_split
    from wav_models.experiments.taught import require_comparable
    from wav_policy.robot.joints import ROBOT

    split = None
    checkpoint = load_checkpoint(plan.checkpoint)
    checkpoint.config.embodiment.require(ROBOT, f"checkpoint {plan.checkpoint}", "the simulator")
    if plan.teacher is not None:
        require_comparable(checkpoint, load_checkpoint(plan.teacher[0]))
    joints, record = checkpoint.config.embodiment.arm_columns, checkpoint.training_record
    if plan.data is not None:
        split = announced_split(record, Dataset(plan.data, robot=checkpoint.config.embodiment))
    moments: list[Moment] = []
    recordings = f"{min(len(split.episodes), RECORDED_EPISODES)} recorded, then " if split else ""
    print(f"[diagnose {plan.task}] episodes: {recordings}{len(plan.seeds)} simulated", file=sys.stderr, flush=True)
    with (
        progress(f"diagnose {plan.task}, episodes") as tell,
        worker_pool(plan.workers, prepare, (_make_brancher, plan)) as pool,
    ):
        recorded = split and pool.submit(
            with_prepared, _measure_recorded, plan.data, split.episodes[:RECORDED_EPISODES], plan.seeds.start
        )
        taught = (
            split
            and plan.teacher
            and pool.submit(
                with_prepared, _measure_taught, plan, split.episodes[:RECORDED_EPISODES], MOMENTS_PER_EPISODE
            )
        )
        episodes = [pool.submit(with_prepared, _episode, seed) for seed in plan.seeds]
        for done, future in enumerate(as_completed(episodes), start=1):
            seed, found = future.result()
            moments += found
            tell(done, len(episodes))
            tell.say(f"[diagnose {plan.task}] seed {seed}: {counted(len(found), 'moment')}")
        links = None if recorded is None else recorded.result()
        choices = taught.result() if taught else None
    moments.sort(key=lambda moment: (moment.seed, moment.step))
    return {
        "data": None if plan.data is None else plan.data.name,
        "episodes_were": None if split is None else split.kind,
        "branch": asdict(plan.branch),
        "simulated": summarise_moments([m for m in moments if m.regular], joints),
        "choices": summarise_moments([m for m in moments if m.choice], joints),
        "recorded": links,
        "taught": choices,
    }


def _episode(brancher: Brancher, seed: int) -> tuple[int, list[Moment]]:
    return seed, brancher.episode(seed)


def make_reader(checkpoint: Path, planner: PlannerConfig) -> FutureReader:
    """The checkpoint on the torch engine, ready to read futures."""
    from wav_models.checkpoint import load_checkpoint
    from wav_models.engines.torch_engine import TorchEngine
    from wav_models.experiments.reader import FutureReader
    from wav_models.networks.text_encoder import make_text_encoder

    loaded = load_checkpoint(checkpoint)
    engine = TorchEngine(loaded.model, loaded.autoencoder, make_text_encoder(loaded.config))
    return FutureReader(engine, loaded.normalization, planner)


def _make_brancher(plan: DiagnosisPlan) -> Brancher:
    import wav_models.experiments  # noqa: F401  its planners have names here
    from wav_models.experiments.branching import Brancher
    from wav_policy.experiments.branching_world import BranchingWorld

    reader, world = make_reader(plan.checkpoint, plan.planner), BranchingWorld(plan.task, split=plan.split)
    return Brancher(reader, world, plan.branch, plan.searches)


def _measure_taught(
    brancher: Brancher, plan: DiagnosisPlan, episodes: list[int], moments: int
) -> dict[str, dict[str, float]]:
    from wav_models.data.dataset import Dataset
    from wav_models.experiments.taught import measure_taught

    assert plan.teacher is not None
    assert plan.data is not None
    teacher = make_reader(*plan.teacher)
    return measure_taught(brancher.reader, teacher, Dataset(plan.data), episodes, moments, plan.seeds.start)


def _measure_recorded(brancher: Brancher, data: Path, episodes: list[int], first_seed: int) -> dict[str, float | None]:
    from wav_models.data.dataset import Dataset
    from wav_models.experiments.recorded import measure_recorded

    return measure_recorded(brancher.reader, Dataset(data), episodes, MOMENTS_PER_EPISODE, first_seed)
