"""Which episodes of a dataset a checkpoint has not been trained on."""

from __future__ import annotations

import sys
from typing import Any, Literal, NamedTuple

from wav_models.data.dataset import Dataset


class Split(NamedTuple):
    """Episodes to measure on.

    Attributes:
        episodes: indices in the dataset.
        kind: what training did with them. "unknown": the checkpoint was trained on no dataset of this name.
    """

    episodes: list[int]
    kind: Literal["held out", "trained on", "unknown"]


def recorded_split(training_record: dict[str, Any], dataset: Dataset) -> Split:
    """The episodes that training held out, where it did; else all."""
    record, name = training_record.get("data", {}), dataset.root.name
    if not isinstance(record, dict) or name not in {record.get("name"), *record.get("names", [])}:
        return Split(list(range(len(dataset))), "unknown")
    held_out = record.get("held_out_of", {}).get(name)
    if held_out is None and record.get("name") == name:
        held_out = record["held_out_episodes"]
    held_out = [index for index in held_out or () if index < len(dataset)]
    return Split(held_out, "held out") if held_out else Split(list(range(len(dataset))), "trained on")


def announced_split(training_record: dict[str, Any], dataset: Dataset) -> Split:
    """As `recorded_split`; says on standard error when what is measured will flatter the checkpoint."""
    split = recorded_split(training_record, dataset)
    if split.kind == "trained on":
        text = "the checkpoint was trained on these episodes; what is measured on them flatters it"
        print(f"warning: {dataset.root}: {text}", file=sys.stderr)
    return split
