"""`wav demonstrate --suite NAME`: demonstrations of a suite's scripted operator, as a LeRobot dataset of its robot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wav_models.command_line import parsed
from wav_models.configuration import AtLeastOne, ConfigurationError, Count, NotNegative
from wav_policy.cli.options import checkpoint_to_load


@dataclass(frozen=True)
class DemonstrateSuiteArguments:
    """Record demonstrations of every task in turn; run the same command again to resume."""

    suite: str
    """Name of the suite; `wav suite list` has all."""
    out: Path
    """Dataset directory; created when missing, continued when not."""
    episodes: AtLeastOne = 100
    """Episodes the dataset gets from this run, which is known by its first seed."""
    seed: Count = 0
    """First seed; ten seeds of every task in turn."""
    quality_mix: str = "skilled=1"
    """Shares of skilled, hesitant, recovering and failing demonstrations."""
    image_size: AtLeastOne = 128
    """Height and width of recorded images [px]."""
    rate: AtLeastOne | None = None
    """Frames and commands a second, of which a command is held until the next [Hz]; the suite's own if not given."""
    noise: NotNegative = 0.0
    """Pushes off what was commanded, which the operator answers: 0 none, 1 usual."""
    visit: Path | None = None
    """Checkpoint that acts first, without planning; the operator takes over, and is recorded, from where it got to."""
    workers: AtLeastOne = 2
    """Processes, each with one of the suite's."""


def main(argv: list[str]) -> None:
    """Entry point of `wav demonstrate --suite`."""
    arguments = parsed(DemonstrateSuiteArguments, "wav demonstrate", argv)
    from wav_policy.cli.recording_run import record
    from wav_policy.experiments.suites.catalogue import get_suite
    from wav_policy.experiments.suites.demonstrator import SuiteDemonstrator
    from wav_policy.experiments.suites.installation import python_of
    from wav_policy.experiments.suites.players import checkpoint_players
    from wav_policy.recording.demonstrations import RecordingOptions
    from wav_policy.recording.episode_writer import DatasetWriter
    from wav_policy.recording.quality import parse_mix

    suite, mix, size = get_suite(arguments.suite), parse_mix(arguments.quality_mix), arguments.image_size
    if not suite.has_operator:
        raise ConfigurationError(f"{suite.name} has no scripted operator")
    control_rate = round(suite.robot.control_rate)
    fps = control_rate if arguments.rate is None else arguments.rate
    if fps < 1 or control_rate % fps:
        raise ConfigurationError(
            f"--rate is {fps}; {suite.name} runs at {control_rate} Hz, of which it must be a whole part"
        )
    python_of(suite.package)  # not installed: said at once
    visitor = None
    if arguments.visit is not None:
        visitor = checkpoint_players(checkpoint_to_load(arguments.visit), suite, ("k0",))["k0"]
    options = RecordingOptions(
        suite.name, arguments.episodes, arguments.seed, (arguments.noise,), arguments.workers, keep_failures=mix.fails
    )
    sizes = dict.fromkeys(suite.robot.view_names, (size, size))
    with DatasetWriter(arguments.out, fps=fps, robot=suite.robot, image_sizes=sizes) as writer:
        record(writer, SuiteDemonstrator(mix, size, control_rate // fps, visitor), options, mix)
