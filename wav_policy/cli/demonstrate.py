"""`wav demonstrate`: demonstrations of the scripted operator in the simulator, as a LeRobot v3.0 dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wav_models.command_line import Flag, parsed
from wav_models.configuration import AtLeastOne, ConfigurationError, Count, NotNegative
from wav_models.endings import OK
from wav_models.progress import progress
from wav_policy.cli.options import checkpoint_to_load, refuse_idle, require_tasks

if TYPE_CHECKING:
    from wav_policy.recording.visitor import Visitor

FPS = 10
"""Rate of recorded demonstrations [Hz], the step rate of `wav-tiny`."""


@dataclass(frozen=True)
class DemonstrateArguments:
    """Record the scripted operator in the simulator, without ROS and faster than real time; run the same command again
    to resume. (With --suite NAME, the operator of a public benchmark. `wav record` records the robot.)"""

    out: Path | None = None
    """Dataset directory; created when missing, continued when not."""
    task: str = "bowl"
    """Task of the simulator."""
    episodes: AtLeastOne = 100
    """Episodes the dataset gets from this run, which is known by its task and first seed."""
    seed: Count = 0
    """First seed; every episode takes the next that another run has not taken."""
    workers: AtLeastOne = 2
    """How many processes share the work."""
    scheduler: str | None = None
    """Address of a dask scheduler, tcp://HOST:8786, whose workers play the episodes instead, with the same files at the
    same paths ('wav-policy[cluster]')."""
    noise: tuple[NotNegative, ...] = (1.0,)
    """Disturbance of the operator's motion: 0 none, 1 usual. Of several levels, successive seeds take one in turn."""
    keep_failures: Flag = False
    """Keep episodes that did not succeed too; so does a quality mix with failing episodes."""
    quality_mix: str = ""
    """Shares of skilled, hesitant, recovering and failing demonstrations, as teleoperation has them, for example
    skilled=0.35,hesitant=0.15,recovering=0.15,failing=0.35; empty: all recovering."""
    visit: Path | None = None
    """Checkpoint that acts first, without planning; the operator takes over, and is recorded, from where it got to."""
    dry_run: Flag = False
    """Record nothing: play the demonstrations without cameras and print how often they succeed."""


def main(argv: list[str]) -> int:
    """Entry point of `wav demonstrate`."""
    if any(word.split("=")[0] == "--suite" for word in argv):
        from wav_policy.cli.demonstrate_suite import main as demonstrate_suite

        demonstrate_suite(argv)
        return OK
    arguments = parsed(DemonstrateArguments, "wav demonstrate", argv)
    require_tasks([arguments.task])
    if not arguments.noise:
        raise ConfigurationError("--noise needs at least one level")
    if arguments.scheduler is not None:
        refuse_idle(arguments, ["workers"], "--scheduler, which has workers of its own,")
    if arguments.dry_run:
        refuse_idle(arguments, ("out", "keep_failures", "scheduler"), "--dry-run")
        if len(arguments.noise) > 1:
            raise ConfigurationError("--dry-run tries one level of --noise at a time")
        _dry_run(arguments)
    elif arguments.out is None:
        raise ConfigurationError("say where with --out DIRECTORY, or only try with --dry-run")
    else:
        _record(arguments, arguments.out)
    return OK


def _dry_run(arguments: DemonstrateArguments) -> None:
    """Successes over the seeds, without a dataset."""
    from functools import partial

    from wav_policy.recording.dry_run import describe, dry_run
    from wav_policy.recording.quality import parse_mix
    from wav_policy.recording.simulated_operator import SimulatedDemonstrator

    mix = parse_mix(arguments.quality_mix) if arguments.quality_mix else None
    demonstrator = SimulatedDemonstrator(mix, _visitor(arguments))
    play = partial(demonstrator.play, arguments.task, arguments.noise[0])
    seeds = range(arguments.seed, arguments.seed + arguments.episodes)
    print(f"{arguments.task}, seeds {seeds.start} to {seeds.stop - 1}, noise {arguments.noise[0]:g}")
    with progress("playing") as tell:
        tell(0, len(seeds))
        results = dry_run(play, seeds, arguments.workers, tell)
    print(describe(results))


def _visitor(arguments: DemonstrateArguments) -> Visitor | None:
    if arguments.visit is None:
        return None
    from wav_policy.recording.visitor import Visitor

    return Visitor(checkpoint_to_load(arguments.visit))


def _record(arguments: DemonstrateArguments, out: Path) -> None:
    from wav_policy.cli.recording_run import record
    from wav_policy.recording.demonstrations import RecordingOptions
    from wav_policy.recording.episode_writer import DatasetWriter
    from wav_policy.recording.quality import parse_mix
    from wav_policy.recording.simulated_operator import SimulatedDemonstrator

    mix = parse_mix(arguments.quality_mix) if arguments.quality_mix else None
    options = RecordingOptions(
        task=arguments.task,
        num_episodes=arguments.episodes,
        seed=arguments.seed,
        noise=arguments.noise,
        num_workers=arguments.workers,
        scheduler=arguments.scheduler,
        keep_failures=arguments.keep_failures or (mix is not None and mix.fails),
    )
    visitor = _visitor(arguments)
    with DatasetWriter(out, fps=FPS) as writer:
        record(writer, SimulatedDemonstrator(mix, visitor), options, mix)
