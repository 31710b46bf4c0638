"""`wav report --measure` from the command to the page, with a checkpoint that has learned nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.wav_models.training.recorded import record
from wav_models.embodiments import LIBERO_PANDA
from wav_policy.cli.main import main
from wav_policy.experiments.figures import choice, recorded, simulated

pytestmark = pytest.mark.sim


def test_figures_of_recorded_episodes(
    random_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recorded, "ROLLOUTS", 2)
    data = record(tmp_path / "noise", "tidy up", [True, False], num_frames=20)
    arguments = ["--checkpoint", str(random_checkpoint), "--data", str(data), "--out", str(tmp_path / "report")]
    assert main(["report", "--measure", "value", "rollout", "rewards", *arguments]) == 0
    curves = json.loads((tmp_path / "report/value.json").read_text())["curves"]
    assert [curve["success"] for curve in curves] == [True, False]
    quality = json.loads((tmp_path / "report/rollout_quality.json").read_text())
    assert np.array(quality["psnr"]).shape == (3, len(quality["times"]))
    assert quality["episodes_were"] == "unknown"
    page = (tmp_path / "report/index.html").read_text()
    assert page.count("<figure>") == 4
    assert "recorded episodes: unknown" in page
    assert "rewards" in capsys.readouterr().out


def test_figures_of_the_simulator(
    random_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(choice, "STEPS", 2)
    monkeypatch.setattr(simulated, "STATE_STEPS", (1,))
    monkeypatch.setattr(simulated, "SEQUENCES", 4)
    arguments = ["--checkpoint", str(random_checkpoint), "--task", "bowl", "--out", str(tmp_path)]
    assert main(["report", "--measure", "futures", "feasibility", *arguments]) == 0
    with np.load(tmp_path / "futures.npz") as futures:
        assert futures["frames"].shape[1:] == (64, 64, 3)
        assert len(futures["scores"]) == len(futures["moved_rad"]) > 1
    measured = json.loads((tmp_path / "feasibility.json").read_text())
    assert measured["sequences"] == 4
    assert measured["survival"]["uniform over the joint limits"][0] == 0.0
    assert (tmp_path / "index.html").read_text().count("<figure>") == 2
    assert "feasibility" in capsys.readouterr().out


def test_checkpoint_data_and_simulator_are_of_one_robot(
    random_checkpoint: Path, repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = record(tmp_path / "libero", "tidy up", [True], robot=LIBERO_PANDA, fps=20)
    report = ["report", "--out", str(tmp_path / "report"), "--data", str(data)]
    for measure in ("value", "rollout", "rewards"):
        assert main([*report, "--measure", measure, "--checkpoint", str(random_checkpoint)]) == 2
        assert "libero/meta/info.json: observation.state has shape [8]; bimanual_piper has" in capsys.readouterr().err
    libero = ["--checkpoint", str(repository / "checkpoints/wav-tiny-libero")]
    for measure in ("futures", "feasibility", "cost"):
        assert main([*report, "--measure", measure, *libero]) == 2
        assert "wav-tiny-libero is of the robot libero_panda, the " in (said := capsys.readouterr().err)
        assert " of bimanual_piper: actions are end_effector_deltas, not joint_targets" in said
    assert main([*report, "--measure", "rewards", *libero]) == 0
    assert "discounted return" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--measure", "success", "--task", "bwl"], "unknown task 'bwl'; did you mean 'bowl'?"),
        (["--measure", "success", "value"], "--measure value needs --data DATASET"),
        (["--measure", "success", "--episodes", "0"], "--episodes is 0; a whole number of at least 1 fits"),
    ],
)
def test_wrong_options_leave_the_trial_log_alone(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "trials.jsonl").write_text("kept")
    assert main(["report", *arguments, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
    assert (tmp_path / "trials.jsonl").read_text() == "kept"
