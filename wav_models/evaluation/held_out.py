"""Which episodes of a dataset a checkpoint has not been trained on."""

from __future__ import annotations

from typing import Any, NamedTuple

from wav_models.data.dataset import Dataset


class Split(NamedTuple):
    """Episodes to measure on.

    Attributes:
        episodes: indices in the dataset.
        held_out: whether they are known to be held out of training; results on others may be flattering.
    """

    episodes: list[int]
    held_out: bool


def recorded_split(training_record: dict[str, Any], dataset: Dataset) -> Split:
    """The episodes that training held out, where the checkpoint knows this dataset by name; else all."""
    record, name = training_record.get("data", {}), dataset.root.name
    held_out = record.get("held_out_of", {}).get(name)
    if held_out is None and record.get("name") == name:
        held_out = record["held_out_episodes"]
    return Split(list(range(len(dataset))), False) if not held_out else Split(list(held_out), True)
