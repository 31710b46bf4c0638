from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wav_models.data.dataset import Dataset
from wav_policy.cli.main import main


@pytest.mark.sim
def test_record_label_check_on_the_simulator(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from wav_policy.recording.simulated_operator import scaled_noise
    from wav_policy.sim.demonstrate import Demonstration
    from wav_policy.sim.tasks import make_task
    from wav_policy.sim.world import World

    command = f"--task bowl --episodes 1 --seed 3 --workers 1 --noise 0.5 --out {tmp_path}"
    assert main(["demonstrate", *command.split()]) == 0
    assert main(["label", str(tmp_path), "--workers", "1"]) == 0
    assert main(["dataset", "check", str(tmp_path), "--fps", "10"]) == 0
    assert "0 errors, 0 warnings" in capsys.readouterr().out

    episode = Dataset(tmp_path).read_episode(0)
    world = World(make_task("bowl"))
    steps = list(Demonstration(world, episode.info.seed or 0, scaled_noise(0.5)).steps())
    assert episode.instruction == world.instruction
    assert (episode.info.noise, episode.info.success) == (0.5, True)
    np.testing.assert_array_equal(episode.states, np.stack([step.state for step in steps]).astype(np.float32))
    np.testing.assert_array_equal(episode.actions, np.stack([step.action for step in steps]).astype(np.float32))
    assert episode.capture_times[-1] - episode.capture_times[0] == pytest.approx(0.1 * (len(steps) - 1))
    error = episode.images("head", [10])[0].astype(float) - steps[10].images["head"]
    assert np.abs(error).mean() < 4.0
    assert episode.values is not None
    assert episode.values[-1, 16] > episode.values[0, 16]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("--out {}", "standard input is no terminal: use --unattended"),
        ("--out {} --unattended sim:=true", "--unattended needs the number of --episodes"),
        ("--out {} --unattended --episodes 1", "add sim:=true"),
        ("--attach sim:=true", "--attach starts nothing, so sim:= has no use"),
        ("--attach --out {}", "--attach starts nothing, so --out has no use"),
        ("--out {} --unattended --episodes 1 sim:=true dataset:=x", "dataset:= is decided here; use --out"),
        (
            "--out {} --unattended --episodes 1 sim:=true taks:=bowl",
            "unknown launch argument 'taks'; did you mean 'task'",
        ),
    ],
)
def test_recording_the_robot_refuses_what_it_cannot_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, message: str
) -> None:
    assert main(["record", *command.format(tmp_path).split()]) == 2
    assert message in capsys.readouterr().err


def test_what_was_a_part_of_wav_record_is_done_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    for line in ("--sim --task bowll", "--dry-run --task bowll", "--suite=libero_objects --out x"):
        assert main(["record", *line.split()]) == 2
        said = capsys.readouterr().err
        assert "are `wav demonstrate`\n" in said
        assert "did you mean 'bowl'" in said or "did you mean 'libero_object'" in said


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("label", "dataset check", "dataset show", "replay"):
        assert main([*command.split(), str(tmp_path)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "LeRobot dataset" in line
