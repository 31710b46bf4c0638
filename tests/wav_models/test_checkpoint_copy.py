"""Checkpoints go to other places whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import huggingface_hub
import pytest

from wav_models.checkpoint_copy import copy_checkpoint
from wav_models.checkpoint_files import SUMS, CheckpointError, hash_files, write_sums
from wav_models.configuration import ConfigurationError
from wav_policy.cli.main import main


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    directory = tmp_path / "here"
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    (directory / "model.safetensors").write_bytes(b"weights" * 100)
    write_sums(directory)
    (directory / "notes.txt").write_text("not a checkpoint's")
    return directory


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub whose repositories are directories, in the place of the network."""
    root = tmp_path / "hub"

    def create_repo(repository: str, *, private: bool, exist_ok: bool) -> None:
        assert private
        (root / repository).mkdir(parents=True, exist_ok=exist_ok)

    def upload_folder(*, repo_id: str, folder_path: Path, allow_patterns: list[str], commit_message: str) -> None:
        for name in allow_patterns:
            shutil.copyfile(folder_path / name, root / repo_id / name)

    def snapshot_download(repository: str, *, revision: str | None, local_dir: str, allow_patterns: list[str]) -> None:
        if not (root / repository).is_dir() or revision not in (None, "main"):
            raise FileNotFoundError(f"404: {repository}@{revision}")
        shutil.copytree(root / repository, local_dir, dirs_exist_ok=True)

    for function in (create_repo, upload_folder, snapshot_download):
        monkeypatch.setattr(huggingface_hub, function.__name__, function)
    return root


def test_a_copy_has_the_checkpoints_files_and_no_others(checkpoint: Path, tmp_path: Path) -> None:
    assert main(["checkpoint", "copy", str(checkpoint), str(tmp_path / "other/place")]) == 0
    assert {path.name for path in (tmp_path / "other").iterdir()} == {"place"}
    assert {path.name for path in (tmp_path / "other/place").iterdir()} == {"config.json", "model.safetensors", SUMS}
    assert hash_files(tmp_path / "other/place") == hash_files(checkpoint)


def test_what_went_to_the_hub_comes_back(checkpoint: Path, hub: Path, tmp_path: Path) -> None:
    copy_checkpoint(str(checkpoint), "hub:lab/bowl")
    assert not (hub / "lab/bowl/notes.txt").exists()
    for number, revision in enumerate(("", "@main")):
        copy_checkpoint(f"hub:lab/bowl{revision}", str(tmp_path / f"back{number}"))
        assert hash_files(tmp_path / f"back{number}") == hash_files(checkpoint)


@pytest.mark.parametrize("from_hub", [False, True])
def test_a_damaged_checkpoint_goes_nowhere(checkpoint: Path, hub: Path, tmp_path: Path, from_hub: bool) -> None:
    source = checkpoint
    if from_hub:
        copy_checkpoint(str(checkpoint), "hub:lab/bowl")
        source = hub / "lab/bowl"
    (source / "model.safetensors").write_bytes(b"others")
    for target in (str(tmp_path / "there"), "hub:lab/other"):
        with pytest.raises(CheckpointError, match=r"model\.safetensors: changed since the checkpoint was saved"):
            copy_checkpoint("hub:lab/bowl" if from_hub else str(source), target)
    assert not (tmp_path / "there").exists()
    assert not (hub / "lab/other").exists()


def test_what_cannot_be_copied_is_named(checkpoint: Path, hub: Path, tmp_path: Path) -> None:
    (checkpoint.parent / "bare").mkdir()
    for source, target, message in (
        (str(checkpoint), str(checkpoint), "here: is there already"),
        (str(tmp_path / "nowhere"), str(tmp_path / "there"), "nowhere: no such checkpoint directory"),
        (str(tmp_path / "bare"), str(tmp_path / "there"), "SHA256SUMS: lists no files.*sha256sum"),
        ("hub:lab/none", str(tmp_path / "there"), "hub:lab/none: 404: lab/none@None; `hf auth login`"),
        (str(checkpoint), "hub:lab/bowl@main", "a revision is for reading; hub:lab/bowl fits"),
    ):
        with pytest.raises((CheckpointError, ConfigurationError), match=message):
            copy_checkpoint(source, target)
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize("name", ["part/config.json", "./config.json", "/etc/hostname"])
def test_files_that_lie_elsewhere_are_not_copied(checkpoint: Path, tmp_path: Path, name: str) -> None:
    (checkpoint / "part").mkdir()
    shutil.copyfile(checkpoint / "config.json", checkpoint / "part/config.json")
    digest = hash_files(checkpoint)["config.json"]
    with (checkpoint / SUMS).open("a") as file:
        file.write(f"{digest}  {name}\n")
    with pytest.raises(CheckpointError, match="SHA256SUMS: lists .*no name of a file beside it"):
        copy_checkpoint(str(checkpoint), str(tmp_path / "there"))
    assert not (tmp_path / "there").exists()
