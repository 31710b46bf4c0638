"""LIBERO as others have it in LeRobot's layout, and `wav-2b-libero` in small: two local directories, and it plays."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from tests.wav_models.training.recorded import wav_train
from tests.wav_policy.experiments.suites import counting_environment as counting
from wav_models.data.check import check_mapped
from wav_models.data.dataset import Dataset, DatasetError
from wav_models.data.layout import ACTION_KEY, INFO_PATH, STATE_KEY
from wav_models.data.mapped_dataset import MappedDataset
from wav_models.data.mapping import DataMapping
from wav_models.embodiments import LIBERO_PANDA
from wav_models.planner.config import PlannerConfig
from wav_models.presets import PRESETS, WAV_2B_LIBERO, LatentConfig, TextConfig, VideoConfig, expert_configs
from wav_models.types import FloatArray
from wav_policy.cli.main import main
from wav_policy.experiments.suites.catalogue import PROCESSES, get_suite
from wav_policy.experiments.suites.environment import SuiteEnvironment
from wav_policy.experiments.suites.players import PlayerSpec, play
from wav_policy.recording.episode_writer import DatasetWriter

FPS, LENGTHS = 20, (12, 14, 12)
OUR_WRIST, THEIR_WRIST = LIBERO_PANDA.view_keys["wrist"], "observation.images.image2"
NAMES = ("x", "y", "z", "axis_angle1", "axis_angle2", "axis_angle3", "gripper", "gripper")
MAPPING = DataMapping(
    cameras={"agentview": "observation.images.image", "wrist": THEIR_WRIST},
    joints=tuple(range(8)),
    action_joints=tuple(range(7)),
)
VALUE, ACTION = expert_configs(LIBERO_PANDA, num_attention_heads=2, attention_head_dim=8)
SMALL = replace(
    WAV_2B_LIBERO,
    name="wav-2b-libero-small",
    video=VideoConfig(
        num_layers=2,
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=8,
        out_channels=8,
        caption_channels=24,
        cross_attention_dim=24,
    ),
    value=VALUE,
    action=ACTION,
    latent=LatentConfig("ltx", (64, 64), (2, 2), 32, 8, 20.0),
    text=TextConfig("t5", 6),
)
CONFIG = f"""
preset: {SMALL.name}
workers: 1
validation_fraction: 0.3
validation_samples: 4
video: {{loop: {{batch_size: 2, bf16: false}}}}
value: {{loop: {{batch_size: 2, bf16: false}}}}
action: {{loop: {{batch_size: 2, bf16: false}}}}
datasets:
  libero:
    mapping:
      cameras: {{agentview: observation.images.image, wrist: {THEIR_WRIST}}}
      joints: [0, 1, 2, 3, 4, 5, 6, 7]
      action_joints: [0, 1, 2, 3, 4, 5, 6]
"""


def demonstration(episode: int) -> tuple[FloatArray, FloatArray]:
    """States [T, 8] and deltas [T, 7], whose grippers are open, then closed."""
    rng, length = np.random.default_rng(episode), LENGTHS[episode]
    fingers = np.linspace(0.04, 0.01, length)[:, None]
    states = np.concatenate([rng.uniform(-0.3, 0.3, (length, 6)), fingers, -fingers], axis=1)
    grips = np.where(np.arange(length) < length // 2, -1.0, 1.0)[:, None]
    actions = np.concatenate([rng.uniform(-0.9, 0.9, (length, 6)), grips], axis=1)
    return states.astype(np.float32).astype(np.float64), actions.astype(np.float32).astype(np.float64)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three demonstrations under their names of cameras and numbers."""
    root, rng = tmp_path_factory.mktemp("data") / "libero", np.random.default_rng(0)
    sizes = dict.fromkeys(LIBERO_PANDA.view_names, (64, 64))
    with DatasetWriter(root, fps=FPS, robot=LIBERO_PANDA, image_sizes=sizes) as writer:
        for episode, length in enumerate(LENGTHS):
            states, actions = demonstration(episode)
            writer.start_episode("put the bowl on the mat", {"success": True})
            for frame in range(length):
                images = {v: rng.integers(0, 255, (64, 64, 3), dtype=np.uint8) for v in LIBERO_PANDA.view_names}
                writer.add_frame(images, states[frame], actions[frame], frame / FPS)
            writer.end_episode()
    (root / "videos" / OUR_WRIST).rename(root / "videos" / THEIR_WRIST)
    info = json.loads((root / INFO_PATH).read_text())
    info["features"][THEIR_WRIST] = info["features"].pop(OUR_WRIST)
    for key, width in ((STATE_KEY, 8), (ACTION_KEY, 7)):
        info["features"][key]["names"] = {"motors": NAMES[:width]}
    (root / INFO_PATH).write_text(json.dumps(info))
    for path in root.glob("meta/episodes/*/*.parquet"):
        table = pq.read_table(path, partitioning=None)
        pq.write_table(
            table.rename_columns([name.replace(OUR_WRIST, THEIR_WRIST) for name in table.column_names]), path
        )
    return root


def test_they_are_read_through_a_mapping(theirs: Path) -> None:
    with pytest.raises(DatasetError, match=r"has the joints x, .*libero_panda has eef_x.* a `mapping` in the training"):
        Dataset(theirs)
    dataset = MappedDataset(theirs, MAPPING, LIBERO_PANDA)
    for number, episode in enumerate(dataset):
        states, actions = demonstration(number)
        np.testing.assert_array_equal(episode.states, states)
        np.testing.assert_array_equal(episode.actions, actions)
    assert [problem.message for problem in check_mapped(dataset) if problem.severity == "error"] == []


def test_the_commands_look_at_them_as_training_will(
    theirs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(yaml.safe_dump({"mapping": asdict(MAPPING)}))
    through = (str(theirs), "--mapping", str(mapping))
    assert main(["dataset", "check", *through, "--robot", "libero_panda"]) == 0
    assert "episodes 3" in capsys.readouterr().out
    assert main(["dataset", "show", *through, "--robot", "libero_panda", "--out", str(tmp_path / "x.png")]) == 0
    assert main(["dataset", "check", *through]) == 2
    assert "unknown view 'agentview'. Valid: head" in capsys.readouterr().err  # the Pipers'
    assert main(["dataset", "check", *through, "--robot", "libero"]) == 2
    assert "did you mean 'libero_panda'" in capsys.readouterr().err
    assert main(["dataset", "check", str(theirs), "--robot", "aloha"]) == 2
    assert "--robot goes with --mapping" in capsys.readouterr().err


def test_what_is_said_of_the_state_is_not_said_of_the_commands(theirs: Path) -> None:
    states, actions = demonstration(0)
    millimetres = replace(MAPPING, scale={"eef_x": 1e3, "grippers": 1e3}, action_scale={"gripper": -1.0})
    episode = MappedDataset(theirs, millimetres, LIBERO_PANDA).read_episode(0)
    np.testing.assert_array_equal(episode.states, states * [1e3, 1, 1, 1, 1, 1, 1e3, 1e3])
    np.testing.assert_array_equal(episode.actions, actions * [1, 1, 1, 1, 1, 1, -1])


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        (replace(MAPPING, action_joints=None), "action: x, y, z, .* Say in `action_joints` which is which"),
        (replace(MAPPING, action_joints=tuple(range(8))), "action_joints: there are 8; 7 fit libero_panda"),
        (replace(MAPPING, joints=tuple(range(7))), "joints: there are 7; 8 fit libero_panda"),
        (replace(MAPPING, action_scale={"eef_x": 1.0}), "unknown joint of action_scale 'eef_x'"),
        (replace(MAPPING, joints=(*NAMES[:7], 7)), "2 columns are called 'gripper'; say in `joints` their numbers"),
        (replace(MAPPING, actions="relative"), "relative are of joint targets; libero_panda takes end_effector_deltas"),
        (replace(MAPPING, fps=10), "fps is 20, and 10 is wanted; .* others at another rate"),
    ],
)
def test_what_does_not_fit_motions_is_refused(theirs: Path, mapping: DataMapping, said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        MappedDataset(theirs, mapping, LIBERO_PANDA)


def test_deltas_beyond_what_the_robot_takes_are_found(theirs: Path) -> None:
    dataset = MappedDataset(theirs, replace(MAPPING, action_scale={"gripper": 1.5}), LIBERO_PANDA)
    errors = [problem.message for problem in check_mapped(dataset) if problem.severity == "error"]
    assert errors == ["action gripper runs from -1.500 to 1.500 1; the robot's from -1.000 to 1.000"]


def test_two_local_directories_make_a_checkpoint_that_plays(
    theirs: Path, ltx_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, SMALL.name, SMALL)
    config = tmp_path / "run.yaml"
    config.write_text(CONFIG)
    common = ["--data", str(theirs), "--out", str(tmp_path / "run"), "--config", str(config)]
    common += ["--pretrained", str(ltx_directory)]
    assert wav_train(["latents", *common]) == 0
    for stage in ("video", "value", "action"):
        assert wav_train([stage, *common, "--steps", "1"]) == 0
    assert wav_train(["checkpoint", *common]) == 0
    suite = replace(get_suite("libero_goal"), budgets={"all": 20})
    planner = PlannerConfig(1, 2, 2, 1, 1)
    player = PlayerSpec("checkpoint", tmp_path / "run/checkpoint", planner, pretrained=ltx_directory).make(suite)
    command = (sys.executable, counting.__file__, str(PROCESSES), str(tmp_path / "died"))
    with SuiteEnvironment(suite, command, timeout=60.0) as environment:
        trial = play(environment, player, 0, 12)
    assert (trial.success, trial.steps, len(trial.plan_ms)) == (True, 12, 2), "eight of 36 commands are run"
