"""Graphs are made once for every checkpoint and search, wherever its weights lie, and never where they are no use."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from wav_models.checkpoint import load_checkpoint
from wav_models.engines import prepare
from wav_models.engines.export import cache_directory, expected_manifest, export_directory
from wav_models.engines.manifest import weights_sha256
from wav_models.planner.config import PlannerConfig

PLANNER = PlannerConfig(num_video_samples=2, num_value_samples=1, num_video_elites=1, num_value_elites=1)
WORDS = "making the networks' graphs"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """Commands that were run; each writes a manifest, as an export does, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> SimpleNamespace:
        commands.append(command)
        *_, checkpoint, directory, planner = command
        target = prepare._target(PlannerConfig(**{**json.loads(planner), "video_times": (0.0,)}))
        Path(directory).mkdir(parents=True, exist_ok=True)
        expected_manifest(weights_sha256(load_checkpoint(Path(checkpoint))), target, "").write(Path(directory))
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_graphs_are_made_once_for_every_search(random_checkpoint: Path, made: list[list[str]]) -> None:
    said: list[str] = []
    for planner in (PLANNER, PLANNER, replace(PLANNER, num_value_steps=2), PLANNER):
        prepare.make_missing(random_checkpoint, planner, said.append)
    assert len(made) == 2
    assert len(said) == 2
    assert all(WORDS in text for text in said)
    loaded = load_checkpoint(random_checkpoint)
    assert made[0][-2] == str(cache_directory(weights_sha256(loaded), prepare._target(PLANNER)))


def test_stale_graphs_beside_the_checkpoint_are_made_again_there(
    random_checkpoint: Path, made: list[list[str]], tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(random_checkpoint, copy)
    stale = export_directory(copy, prepare._target(PLANNER))
    stale.mkdir(parents=True)
    (stale / "manifest.json").write_text("{}")
    prepare.make_missing(copy, PLANNER, lambda text: None)
    assert [command[-2] for command in made] == [str(stale)]


def test_nothing_is_made_for_a_gpu_or_a_model_that_takes_long(
    random_checkpoint: Path, made: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(prepare, "_MOST_PARAMETERS", 1)
    prepare.make_missing(random_checkpoint, PLANNER, said.append)
    assert len(said) == 1
    assert "wav export" in said[0]
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    prepare.make_missing(random_checkpoint, PLANNER, said.append)
    assert len(said) == 1
    assert not made


def test_a_failure_costs_speed_only_and_is_said(
    random_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real process, which is told to write where a file is in the way."""
    blocked = tmp_path / "cache"
    blocked.write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    said: list[str] = []
    prepare.make_missing(random_checkpoint, PLANNER, said.append)
    assert WORDS in said[0]
    assert said[-1].startswith("engine 'auto' runs on torch, more slowly: its graphs could not be made in /")
    assert "NotADirectoryError" in said[-1]


@pytest.mark.parametrize(("returncode", "is_said"), [(-signal.SIGINT, False), (-signal.SIGKILL, True)])
def test_who_waits_hears_that_it_goes_on_and_nothing_of_an_end_they_asked_for(
    random_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, returncode: int, is_said: bool
) -> None:
    said: list[str] = []

    def run(command: list[str], **_: object) -> SimpleNamespace:
        while len(said) < 2:
            time.sleep(0.01)
        return SimpleNamespace(returncode=returncode, stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(prepare, "_NEWS", 0.05)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    prepare.make_missing(random_checkpoint, PLANNER, said.append)
    assert said[1].startswith("still making the networks' graphs, ")
    assert any("could not be made" in text for text in said) == is_said


@pytest.mark.parametrize(
    ("errors", "cause"),
    [
        ("", "killed"),
        ("Traceback\nOSError: no space left\n", "OSError: no space left"),
        (
            "X\n<class 'AttributeError'>: no such thing\n\n(Refer to the trace above.)",
            "<class 'AttributeError'>: no such thing",
        ),
    ],
)
def test_the_cause_is_found_in_what_an_exporter_prints(errors: str, cause: str) -> None:
    assert prepare._cause(errors) == cause


def test_who_waits_too_long_goes_on_without(random_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: list[str], timeout: float, **_: object) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    monkeypatch.setenv("XDG_CACHE_HOME", str(random_checkpoint / "none"))
    said: list[str] = []
    prepare.make_missing(random_checkpoint, PLANNER, said.append)
    assert "not made within 400 s" in said[-1]
    assert f"`wav export --checkpoint {random_checkpoint} --precision int8` can" in said[-1]
