"""`wav dataset convert`: take over a dataset of another lab, after saying what was taken for what."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from wav_models.data.mapping import DataMapping
    from wav_models.data.suggestion import Suggestion

UNCONFIRMED = 2
"""Exit code where something must be said or confirmed first; nothing is written."""

NOT_TOLD = """not told by numbers, look yourself (`wav dataset show`): whether the arms are exchanged, whether a gripper
counts from open or from closed, whether the joints' zeros are the Piper's"""


@dataclass(frozen=True)
class ConvertArguments:
    """Write a LeRobot dataset (v2.1 or v3.0) of two Piper arms in this project's layout.

    Prints what it takes for what, with the range of every joint, and the mapping as YAML for a training configuration.
    Without --yes nothing is written.
    """

    source: Annotated[Path, tyro.conf.Positional]
    """Dataset of another lab; stays as it is."""
    target: Annotated[Path, tyro.conf.Positional]
    """New directory."""
    mapping: Path | None = None
    """YAML file with what is known: cameras, state, action, joints, scale, offset, actions, fps, instruction."""
    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Something that is known, such as fps=10 or scale.grippers=0.07; may be given several times."""
    yes: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """What was concluded is right: write it."""


def main(argv: list[str]) -> int:
    """Entry point of `wav dataset convert`."""
    arguments = tyro.cli(ConvertArguments, prog="wav dataset convert", args=argv)
    from wav_models.configuration import read, with_settings
    from wav_models.data.suggestion import suggest
    from wav_policy.recording.piper_limits import PIPER_LIMITS

    try:
        given = with_settings(read(arguments.mapping) if arguments.mapping else {}, arguments.set)
        suggestion = suggest(arguments.source, given, PIPER_LIMITS)
        _show(suggestion)
        if suggestion.undecided:
            return UNCONFIRMED
        if not arguments.yes:
            print("\nnothing was written; if all this is right, the same command with --yes writes it")
            return UNCONFIRMED
        return _write(arguments, suggestion.mapping)
    except (ValueError, OSError) as error:
        print(f"wav dataset convert: {error}", file=sys.stderr)
        return 1


def _write(arguments: ConvertArguments, mapping: DataMapping) -> int:
    from rich.progress import Progress

    from wav_models.data.mapped_dataset import MappedDataset
    from wav_policy.recording.conversion import convert_dataset

    source = MappedDataset(arguments.source, mapping)
    with Progress() as bar:
        line = bar.add_task("converting", total=len(source))
        number = convert_dataset(source, arguments.target, lambda done: bar.update(line, completed=done))
    print(f"{number} episodes at {source.fps} Hz in {arguments.target}; next: wav dataset check, wav label")
    return 0


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
    from wav_models.types import ANGLES, JOINT_NAMES
    from wav_policy.recording.piper_limits import PIPER_LIMITS

    if suggestion.before is None or suggestion.after is None:
        return
    heads = ("state as stored", "action as stored", "state", "action", "the Piper's")
    yield f"{'joint':<14}" + "".join(f"{head:>22}" for head in heads) + "  unit"
    for joint, name in enumerate(JOINT_NAMES):
        spans = [
            r[:, joint].tolist() for side in (suggestion.before, suggestion.after) for r in (side.state, side.action)
        ]
        spans.append([PIPER_LIMITS.lower[joint], PIPER_LIMITS.upper[joint]])
        shown = "".join(f"{f'{low:.4g} .. {high:.4g}':>22}" for low, high in spans)
        yield f"{name:<14}{shown}  {'rad' if joint in ANGLES else 'm'}"


def _as_yaml(mapping: DataMapping) -> str:
    import yaml

    from wav_models.configuration import to_dict
    from wav_models.data.mapping import DataMapping

    plain, default = to_dict(mapping), to_dict(DataMapping())
    said = {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items() if k == "cameras" or v != default[k]}
    text = yaml.safe_dump(said, sort_keys=False, default_flow_style=None, width=110)
    return "".join(f"  {line}\n" for line in text.splitlines()).rstrip()
