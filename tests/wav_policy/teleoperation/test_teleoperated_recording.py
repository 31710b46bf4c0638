"""The whole path in real time: simulated leaders -> teleop_node -> safety -> followers -> recorder_node -> dataset."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from wav_models.data.check import check_dataset
from wav_models.data.dataset import Dataset


@pytest.mark.ros
@pytest.mark.sim
@pytest.mark.alone
def test_an_episode_is_teleoperated_and_recorded(tmp_path: Path) -> None:
    pytest.importorskip("rclpy")
    out = tmp_path / "dataset"
    command = ["record", "--out", str(out), "--unattended", "--episodes", "1", "--seed", "1", "sim:=true", "task:=bowl"]
    run = subprocess.run(
        [sys.executable, "-m", "wav_policy.cli", *command],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stderr + run.stdout
    assert [problem for problem in check_dataset(out) if problem.severity == "error"] == []
    episode = Dataset(out).read_episode(0)
    assert episode.info.success is True, run.stdout
    assert episode.info.extra["action_source"] == "leader"
    moved = np.ptp(episode.states, axis=0).argmax()
    lag = np.abs(episode.actions[:-2, moved] - episode.states[2:, moved]).mean()
    assert lag < 0.3 * np.ptp(episode.states[:, moved])  # the followers go where the leaders were
