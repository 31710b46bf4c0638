"""Every example runs as its first line says."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from tests.wav_policy.monitor.test_recordings import write_bag
from wav_models import project_files
from wav_models.configuration import load
from wav_models.types import Observation
from wav_policy.policy.remote.mapping import RemoteMapping
from wav_policy.policy.remote.remote_policy import RemotePolicy
from wav_policy.policy.wav_policy import WAVPolicy
from wav_policy.robot.model import home_positions

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


def test_other_policy() -> None:
    """The client that `wav up policy:=ws://...` puts behind the safety filter, with the mapping of the first line."""
    mapping = load(RemoteMapping, project_files.find("config/remote_openpi.yaml"))
    images = np.zeros((3, 1, *mapping.image_size, 3), np.uint8)
    server = subprocess.Popen([sys.executable, EXAMPLES / "other_policy.py", "0"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = server.stdout.readline().split()[-1]
        with closing(RemotePolicy(address, mapping)) as policy:
            chunk = policy.plan(Observation(images, home_positions(), "wave", 0.0)).chunk
        moved = np.abs(chunk.positions - home_positions()).max(axis=0)
        assert chunk.positions.shape == (50, 14)
        assert moved[5] == pytest.approx(0.3, abs=0.01)
        assert np.delete(moved, 5).max() < 1e-6
        assert "the robot has left" in server.stdout.readline()
    finally:
        server.kill()
        server.wait()


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom_and_is_kept_without_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    plt.switch_backend("agg")
    monkeypatch.setattr(plt, "show", lambda: None)
    names: dict[str, object] = {}
    for cell in json.loads((EXAMPLES / "plan.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec("".join(cell["source"]), names)
    figures = [plt.figure(number) for number in plt.get_fignums()]
    plan = names["plan"]
    assert len(figures) == 3
    assert len(figures[2].axes[1].lines) == len(plan.rounds) + (plan.chosen is not None)  # type: ignore[attr-defined]
    plt.close("all")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("plan_once.py README.md docs/monitor.png docs/monitor.png", "README.md: no image"),
        ("plan_once.py docs/monitor.png", "HEAD LEFT_WRIST RIGHT_WRIST"),
        ("replay_bag.py", "RECORDING: a rosbag2 directory"),
    ],
)
def test_what_does_not_fit_is_said_before_the_policy_is_loaded(
    line: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(WAVPolicy, "load", None)
    name, *arguments = line.split()
    with pytest.raises(SystemExit, match=message):
        run(name, *arguments, monkeypatch=monkeypatch, capsys=capsys)
