"""How far a command is, where nobody sees a bar."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from wav_models import progress
from wav_models.data.check import check_dataset, check_mapped
from wav_models.data.mapped_dataset import MappedDataset
from wav_models.data.suggestion import suggest
from wav_models.progress import WorkDone
from wav_policy.cli.main import main
from wav_policy.robot.joints import ROBOT


def test_the_time_left_is_that_of_what_this_run_has_done() -> None:
    now = 100.0
    count = WorkDone("labelling", lambda: now)
    now += 7.0
    assert count.line() == "labelling ... 7 s"
    count(10, 40)
    now += 30.0
    assert count.line() == "labelling: 10 of 40"
    count(20, 40, "8 of 10 succeeded")
    assert count.line() == "labelling: 20 of 40, 60 s left; 8 of 10 succeeded"
    count(15, 40)
    assert count.line() == "labelling: 15 of 40, 2 min left"  # 150 s
    count(40, 40)
    assert count.line() == "labelling: 40 of 40"


@pytest.mark.sim
def test_who_makes_and_checks_and_labels_a_dataset_through_a_pipe_reads_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_SILENCE", 0.005)
    dataset = str(tmp_path / "ours")
    for line, doing in (
        (f"demonstrate --task bowl --episodes 1 --out {dataset} --workers 1", "recording"),
        ("demonstrate --dry-run --task bowl --episodes 1 --workers 1", "playing"),
        (f"dataset check {dataset} --workers 1", "checking"),
        (f"dataset check {dataset} --workers 1 --json", "checking"),
        (f"label {dataset} --workers 1", "labelling"),
        (f"dataset convert {dataset} {tmp_path / 'copy'} --yes", "converting"),
    ):
        assert main(line.split()) == 0, line
        said = capsys.readouterr()
        assert f"{doing}: 0 of 1" in said.err or f"{doing} ..." in said.err, line
        assert doing not in said.out, line
    counted: list[tuple[int, int]] = []
    assert list(check_dataset(tmp_path / "ours", on_progress=lambda *numbers: counted.append(numbers))) == []
    mapped = MappedDataset(tmp_path / "ours", suggest(tmp_path / "ours", {}, ROBOT, None).mapping, ROBOT, None)
    assert list(check_mapped(mapped, on_progress=lambda *numbers: counted.append(numbers))) == []
    assert counted == [(1, 1), (1, 1)]


def test_a_bar_is_for_terminals(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with progress.progress("labelling") as tell:
        tell(1, 2)
        tell.say("half of it [is] done")
        print("a result")
    said = capsys.readouterr()
    assert "1/2" in said.err
    assert "half of it [is] done" in said.err
    assert said.out == "a result\n"  # what goes to a file is not drawn beside the bar


def test_whoever_speaks_is_not_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "_SILENCE", 1.0)
    with progress.progress("labelling") as tell:
        for _ in range(30):
            tell.say("a line")
            time.sleep(0.05)
    assert capsys.readouterr().err == 30 * "a line\n"
