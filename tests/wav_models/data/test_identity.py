"""Whether a checkpoint has seen an episode is decided by what the episode is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.wav_policy.recording.foreign import record
from wav_models.data.dataset import Dataset
from wav_models.experiments.held_out import recorded_split
from wav_models.rewards.label import label_dataset
from wav_models.rewards.label_config import LabelConfig


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    return record(tmp_path / "bowl")


def test_names_labels_and_copies_do_not_matter(recorded: Path, tmp_path: Path) -> None:
    first, second = (episode.identity for episode in Dataset(recorded))
    assert first != second
    data = {"names": ["bowl"], "identities": {"trained_on": [first], "held_out": [second]}}
    elsewhere = tmp_path / "another_name"
    shutil.copytree(recorded, elsewhere)
    label_dataset(elsewhere, LabelConfig(image_size=(16, 16)))
    assert recorded_split({"data": data}, Dataset(elsewhere)) == ([1], "held out")
    data["identities"] = {"trained_on": [first, second], "held_out": []}
    assert recorded_split({"data": data}, Dataset(elsewhere)) == ([0, 1], "trained on")


def test_new_recordings_under_the_old_name_are_new(recorded: Path) -> None:
    data = {"names": ["bowl"], "identities": {"trained_on": ["0" * 16], "held_out": ["1" * 16]}}
    assert recorded_split({"data": data}, Dataset(recorded)) == ([0, 1], "not seen")


@pytest.mark.parametrize(("seeds", "kind"), [([0, 1], "trained on"), ([20000, 30000], "unknown")])
def test_a_checkpoint_that_knows_names_only_is_not_believed_about_other_seeds(
    recorded: Path, seeds: list[int], kind: str
) -> None:
    data = {"names": ["bowl"], "held_out_of": {"bowl": []}, "seeds": seeds}
    assert recorded_split({"data": data}, Dataset(recorded)).kind == kind
