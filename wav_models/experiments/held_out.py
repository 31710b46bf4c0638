"""Which episodes of a dataset a checkpoint has not been trained on."""

from __future__ import annotations

import sys
from typing import Any, Literal, NamedTuple

from wav_models.data.dataset import Dataset


class Split(NamedTuple):
    """Episodes to measure on.

    Attributes:
        episodes: indices in the dataset.
        kind: what training did with them. "not seen": they were not among its data. "unknown": the checkpoint, of an
            earlier version, knows its data by name only, and no dataset of this one.
    """

    episodes: list[int]
    kind: Literal["held out", "not seen", "trained on", "unknown"]


def recorded_split(training_record: dict[str, Any], dataset: Dataset) -> Split:
    """The episodes that training held out, where it did; else those that it has not seen; else all.

    Decided by what the episodes are (`Episode.identity`), not by the dataset's name.
    """
    record = training_record.get("data", {})
    if not isinstance(record, dict):
        return Split(list(range(len(dataset))), "unknown")
    if isinstance(known := record.get("identities"), dict):
        return _split_by_identity(known, dataset)
    return _split_by_name(record, dataset)


def _split_by_identity(known: dict[str, list[str]], dataset: Dataset) -> Split:
    trained, held_out = set(known["trained_on"]), set(known["held_out"])
    identities = [dataset.read_episode(index, values=False).identity for index in range(len(dataset))]
    unseen = [index for index, identity in enumerate(identities) if identity not in trained]
    if kept := [index for index in unseen if identities[index] in held_out]:
        return Split(kept, "held out")
    return Split(unseen, "not seen") if unseen else Split(list(range(len(dataset))), "trained on")


def _split_by_name(record: dict[str, Any], dataset: Dataset) -> Split:
    """For checkpoints of earlier versions: a dataset of that name, unless its seeds are other ones."""
    name, everything = dataset.root.name, list(range(len(dataset)))
    if name not in record.get("names", []) or _has_other_seeds(record, dataset):
        return Split(everything, "unknown")
    held_out = [index for index in record["held_out_of"][name] if index < len(dataset)]
    return Split(held_out, "held out") if held_out else Split(everything, "trained on")


def _has_other_seeds(record: dict[str, Any], dataset: Dataset) -> bool:
    seeds = [episode.seed for episode in dataset.episodes if episode.seed is not None]
    if not seeds or not record.get("seeds"):
        return False
    first, last = record["seeds"]
    return not any(first <= seed <= last for seed in seeds)


def announced_split(training_record: dict[str, Any], dataset: Dataset) -> Split:
    """As `recorded_split`; says on standard error when what is measured will flatter the checkpoint."""
    split = recorded_split(training_record, dataset)
    if split.kind == "trained on":
        text = "the checkpoint was trained on these episodes; what is measured on them flatters it"
        print(f"warning: {dataset.root}: {text}", file=sys.stderr)
    return split
