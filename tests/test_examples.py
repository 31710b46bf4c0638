"""Every example runs as its first line says."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from tests.wav_policy.monitor.test_recordings import write_bag

EXAMPLES = Path(__file__).parents[1] / "examples"
MOST_LINES = 60


def run(name: str, *arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What an example prints."""
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return capsys.readouterr().out


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_fits_on_a_screen(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MOST_LINES


def test_plan_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    said = run("plan_once.py", monkeypatch=monkeypatch, capsys=capsys)
    assert "3 rounds" in said
    assert "(16, 14) joint targets" in said


def test_new_task(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert "'lift the bowl': done" in run("new_task.py", "3", monkeypatch=monkeypatch, capsys=capsys)


def test_new_engine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    said = run("new_engine.py", monkeypatch=monkeypatch, capsys=capsys)
    assert "K = 3" in said
    assert "'chunks': 1" in said


def test_replay_bag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    bag = write_bag(tmp_path / "bag")
    said = run("replay_bag.py", str(bag), "0.5", monkeypatch=monkeypatch, capsys=capsys)
    assert "predicted value" in said
