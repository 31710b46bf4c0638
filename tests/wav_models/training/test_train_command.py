"""`wav train` from a recorded dataset to a checkpoint that loads, through the files of a run directory."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from wav_models.checkpoint import load_checkpoint
from wav_models.rewards.label import LabelConfig, label_dataset
from wav_policy.cli.train import main
from wav_policy.recording.episode_writer import IMAGE_SIZES, DatasetWriter

CONFIG = """
preset: wav-tiny
workers: 1
validation_fraction: 0.3
validation_samples: 4
autoencoder: {loop: {batch_size: 4, bf16: false}}
video: {loop: {batch_size: 2, bf16: false}}
value: {loop: {batch_size: 2, bf16: false}}
action: {loop: {batch_size: 2, bf16: false}}
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three labelled episodes of noise."""
    root = tmp_path_factory.mktemp("data") / "noise"
    rng = np.random.default_rng(0)
    with DatasetWriter(root, fps=10) as writer:
        for seed in range(3):
            writer.start_episode("put the bowl on the mat", {"seed": seed, "success": True, "noise": 0.0})
            for step in range(12):
                images = {v: rng.integers(0, 255, (*s, 3), dtype=np.uint8) for v, s in IMAGE_SIZES.items()}
                writer.add_frame(images, rng.normal(size=14), rng.normal(size=14), 0.1 * step)
            writer.end_episode()
    label_dataset(root, LabelConfig(), num_workers=1)
    return root


def test_every_stage_in_order_gives_a_checkpoint(dataset: Path, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(CONFIG)
    common = ["--data", str(dataset), "--out", str(tmp_path / "run"), "--config", str(config)]
    assert main(["autoencoder", *common, "--steps", "2"]) == 0
    assert main(["latents", *common]) == 0
    for stage in ("video", "value", "action"):
        assert main([stage, *common, "--steps", "2"]) == 0
    assert main(["action", *common, "--steps", "3", "--resume"]) == 0
    assert main(["checkpoint", *common]) == 0
    checkpoint = load_checkpoint(tmp_path / "run/checkpoint")
    record = checkpoint.training_record
    assert [record["stages"][s]["steps"] for s in ("autoencoder", "video", "value", "action")] == [2, 2, 2, 3]
    assert record["stages"]["video"]["command"].startswith("wav train video")
    assert record["data"]["episodes"] == 3
    assert record["data"]["seeds"] == [0, 2]
    metrics = json.loads((tmp_path / "run/action.json").read_text())["history"][-1]
    assert metrics["first_step_rad@0"] > 0


def test_a_stage_names_what_must_come_before(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(CONFIG)
    common = ["--data", str(dataset), "--out", str(tmp_path / "run"), "--config", str(config), "--steps", "1"]
    assert main(["video", *common]) == 1
    assert "run `wav train latents` first" in capsys.readouterr().err
    assert main(["action", *common]) == 1
    assert "run `wav train video` first" in capsys.readouterr().err
    assert main(["video", "--data", "x", "--out", "y"]) == 2
    assert "--minutes X or --steps N" in capsys.readouterr().err
