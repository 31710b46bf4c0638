"""`wav dataset convert`: a rosbag2 recording as an episode; another lab's dataset once it is said what is what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import tyro

from wav_models.command_line import Flag, parsed
from wav_models.configuration import AtLeastOne
from wav_models.endings import OK, WRONG_USE
from wav_models.progress import progress
from wav_models.words import counted
from wav_policy.recording.bag_file import is_recording

if TYPE_CHECKING:
    from wav_models.data.episode_filter import EpisodeFilter
    from wav_models.data.mapping import DataMapping
    from wav_models.data.suggestion import Suggestion

UNCONFIRMED: Final = WRONG_USE
"""Exit code where something must be said or confirmed first; nothing is written."""

NOT_TOLD = """not told by numbers, look yourself (`wav dataset show`): whether the arms are exchanged, whether a gripper
counts from open or from closed, whether the joints' zeros are the Piper's"""


@dataclass(frozen=True)
class ConvertArguments:
    """Take over a recording or another lab's dataset; SOURCE stays as it is.

    A rosbag2 recording (MCAP or sqlite3) of any stack is appended to TARGET as one episode, or several where a clock
    was set meanwhile. A LeRobot dataset (v2.1 or v3.0) of two Piper arms is written in this project's layout: this
    prints what it takes for what, with the range of every joint, and the mapping as YAML for a training configuration;
    without --yes nothing is written.
    """

    source: Annotated[Path, tyro.conf.Positional]
    """A recording (rosbag2 directory, .mcap or .db3 file), or a LeRobot dataset."""
    target: Annotated[Path, tyro.conf.Positional]
    """Where a recording goes: a dataset, new or existing; where the copy of a dataset goes: a new directory."""
    topics: Path | None = None
    """For a recording: YAML file with its topics (config/bag_map.yaml); this project's own where not given."""
    fps: AtLeastOne | None = None
    """For a recording: rate of the dataset [Hz]; 10 where not given."""
    instruction: str | None = None
    """For a recording: the command in words, where it has none."""
    mapping: Path | None = None
    """For a dataset: YAML file with what is known: cameras, state, action, joints, scale, offset, actions, fps,
    instruction, success."""
    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """For a dataset: something that is known, such as fps=10 or scale.grippers=0.07; may be given several times."""
    episodes: str | None = None
    """For a dataset: which of its episodes, such as "success and index != 3"; all when not given."""
    yes: Flag = False
    """For a dataset: what was concluded is right, write it."""


OPTIONS: Final = {
    "recording": ("topics", "fps", "instruction"),
    "LeRobot dataset": ("mapping", "set", "episodes", "yes"),
}
"""Those that only one kind of source has."""


def main(argv: list[str]) -> int:
    """Entry point of `wav dataset convert`."""
    arguments = parsed(ConvertArguments, "wav dataset convert", argv)
    if not arguments.source.exists():
        raise FileNotFoundError(f"{arguments.source} does not exist")
    kind = "recording" if is_recording(arguments.source) else "LeRobot dataset"
    foreign = [name for other, names in OPTIONS.items() if other != kind for name in names if _given(arguments, name)]
    if foreign:
        options, valid = (", ".join(f"--{name}" for name in names) for names in (foreign, OPTIONS[kind]))
        raise ValueError(f"{arguments.source} is a {kind}: {options} cannot be given for one. Valid: {valid}")
    if kind == "recording":
        _append_recording(arguments)
        return OK
    return _convert_dataset(arguments)


def _given(arguments: ConvertArguments, option: str) -> bool:
    return bool(getattr(arguments, option) != getattr(ConvertArguments, option))


def _append_recording(arguments: ConvertArguments) -> None:
    from wav_models.configuration import load
    from wav_models.project_files import resolve
    from wav_policy.nodes.messages.images import rgb_from_any
    from wav_policy.recording.bag_conversion import convert
    from wav_policy.recording.bag_topics import BagTopics

    source, target, fps = arguments.source, arguments.target, 10 if arguments.fps is None else arguments.fps
    topics = BagTopics() if arguments.topics is None else load(BagTopics, resolve(arguments.topics))
    with progress("converting") as tell:
        lengths, remarks = convert(source, target, topics, fps, arguments.instruction or "", rgb_from_any, tell)
    for remark in remarks:
        print(remark)
    print(f"{source}: {' + '.join(map(str, lengths))} frames at {fps} Hz appended to {target}")


def _convert_dataset(arguments: ConvertArguments) -> int:
    from wav_models.configuration import with_settings
    from wav_models.data.mapping import read_mapping
    from wav_models.data.suggestion import suggest
    from wav_policy.robot.joints import ROBOT

    given = with_settings(read_mapping(arguments.mapping) if arguments.mapping else {}, arguments.set)
    with progress("reading"):
        suggestion = suggest(arguments.source, given, ROBOT, _filter(arguments))
    _show(suggestion)
    if suggestion.undecided:
        return UNCONFIRMED
    if not arguments.yes:
        print("\nnothing was written; if all this is right, the same command with --yes writes it")
        return UNCONFIRMED
    _write(arguments, suggestion.mapping)
    return OK


def _filter(arguments: ConvertArguments) -> EpisodeFilter | None:
    from wav_models.data.episode_filter import EpisodeFilter

    return None if arguments.episodes is None else EpisodeFilter(arguments.episodes)


def _write(arguments: ConvertArguments, mapping: DataMapping) -> None:
    from wav_models.data.mapped_dataset import MappedDataset
    from wav_policy.recording.conversion import convert_dataset
    from wav_policy.robot.joints import ROBOT

    source = MappedDataset(arguments.source, mapping, ROBOT, _filter(arguments))
    with progress("converting") as tell:
        number = convert_dataset(source, arguments.target, lambda done: tell(done, len(source)))
    print(f"{counted(number, 'episode')} at {source.fps} Hz in {arguments.target}; next: wav dataset check, wav label")


def _show(suggestion: Suggestion) -> None:
    for text in suggestion.assumed:
        print(f"assumed: {text}")
    print("\n".join(_table(suggestion)))
    print(NOT_TOLD)
    for text in suggestion.undecided:
        print(f"undecided: {text}")
    if suggestion.before is not None and not suggestion.undecided:
        print(f"\nmapping:\n{_as_yaml(suggestion.mapping)}")


def _table(suggestion: Suggestion) -> Iterator[str]:
    """Ranges of every joint as stored and as mapped, beside the robot's limits."""
    from wav_policy.robot.joints import ROBOT

    if suggestion.before is None or suggestion.after is None:
        return
    heads = ("state as stored", "action as stored", "state", "action", "the Piper's")
    yield f"{'joint':<14}" + "".join(f"{head:>22}" for head in heads) + "  unit"
    for column, joint in enumerate(ROBOT.state):
        spans = [
            r[:, column].tolist() for side in (suggestion.before, suggestion.after) for r in (side.state, side.action)
        ]
        spans.append([joint.lower, joint.upper])
        shown = "".join(f"{f'{low:.4g} .. {high:.4g}':>22}" for low, high in spans)
        yield f"{joint.name:<14}{shown}  {joint.unit}"


def _as_yaml(mapping: DataMapping) -> str:
    import yaml

    from wav_models.data.mapping import DataMapping

    plain, default = asdict(mapping), asdict(DataMapping())
    said = {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items() if k == "cameras" or v != default[k]}
    text = yaml.safe_dump(said, sort_keys=False, default_flow_style=None, width=110)
    return "".join(f"  {line}\n" for line in text.splitlines()).rstrip()
