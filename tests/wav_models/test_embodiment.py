"""A robot is data: of the checkpoint, checked against datasets and robots, and named nowhere else."""

from __future__ import annotations

import ast
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

import wav_models
from tests.wav_models.piper import with_views
from tests.wav_models.small_checkpoint import SMALL, save_small
from wav_models.checkpoint import load_checkpoint
from wav_models.checkpoint_files import write_sums
from wav_models.configuration import ConfigurationError, from_dict
from wav_models.data.normalization import Normalization
from wav_models.embodiment import Embodiment, EmbodimentError
from wav_models.embodiments import ALOHA, BIMANUAL_PIPER, EMBODIMENTS, LIBERO_PANDA
from wav_models.networks.wav_model import WAVModel
from wav_models.presets import PRESETS, ModelConfig, expert_configs

PACKAGE = Path(wav_models.__file__).parent
STATE = BIMANUAL_PIPER.state
OF_ROBOTS = {"embodiments.py"}
"""Files that say which robots they are about."""


@pytest.mark.parametrize("robot", EMBODIMENTS.values(), ids=lambda robot: robot.name)
def test_a_robot_survives_json(robot: Embodiment) -> None:
    assert from_dict(Embodiment, json.loads(json.dumps(asdict(robot)))) == robot


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_a_preset_survives_json_with_its_robot(preset: ModelConfig) -> None:
    assert from_dict(ModelConfig, json.loads(json.dumps(asdict(preset)))) == preset


def test_a_damaged_robot_is_named_down_to_the_key() -> None:
    data = json.loads(json.dumps(asdict(BIMANUAL_PIPER)))
    data["state"][3]["unit"] = "degrees"
    with pytest.raises(ConfigurationError, match=r"state.*unit.*'degrees'.*'rad'"):
        from_dict(Embodiment, data, "config.json")


def test_nothing_else_in_the_package_knows_a_robot() -> None:
    words = {"piper", "libero", "aloha"}
    words |= {name for r in EMBODIMENTS.values() for name in (*r.state_names, *r.action_names, *r.view_names)}
    words |= {view.key for robot in EMBODIMENTS.values() for view in robot.views}
    numbers = {BIMANUAL_PIPER.state_dim, BIMANUAL_PIPER.value_dim}
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}: {node.value!r}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name not in OF_ROBOTS
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
        and (node.value in words if isinstance(node.value, str) else type(node.value) is int and node.value in numbers)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (LIBERO_PANDA, "actions are joint_targets, not end_effector_deltas.*left_joint1.*eef_x.*no view head"),
        (ALOHA, "left_joint1.*left_waist.*no view head, left_wrist, right_wrist, only top_camera"),
        (with_views("head"), "no view left_wrist, right_wrist, only head"),
        (
            replace(BIMANUAL_PIPER, state=(*BIMANUAL_PIPER.state[7:], *BIMANUAL_PIPER.state[:7])),
            "left_joint1, left_joint2.*not 14 numbers .right_joint1",
        ),
        (
            replace(
                BIMANUAL_PIPER, state=(replace(BIMANUAL_PIPER.state[0], upper=1.0, unit="1"), *BIMANUAL_PIPER.state[1:])
            ),
            "left_joint1 is -2.61799 to 2.61799 rad, not -2.61799 to 1 1",
        ),
        (
            replace(BIMANUAL_PIPER, state=(*STATE[:8], STATE[9], STATE[8], *STATE[10:])),
            r"14 numbers \(..., right_joint2, right_joint3, ...\), not 14 numbers \(..., right_joint3, right_joint2, ",
        ),
        (
            replace(BIMANUAL_PIPER, state=(replace(STATE[0], upper=2.617993877991), *STATE[1:])),
            r"to 2\.6179938779914944 rad, not .* to 2\.617993877991 rad",
        ),
    ],
)
def test_what_does_not_belong_together_is_named(other: Embodiment, said: str) -> None:
    with pytest.raises(EmbodimentError, match=rf"checkpoint X is of the robot bimanual_piper, the robot of .*{said}"):
        BIMANUAL_PIPER.require(other, "checkpoint X", "the robot")


def test_a_robot_may_have_more_cameras_than_are_needed() -> None:
    with_views("head", "left_wrist").require(BIMANUAL_PIPER, "checkpoint X", "the robot")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"state": (*BIMANUAL_PIPER.state, BIMANUAL_PIPER.state[0])}, "names 'left_joint1' twice"),
        ({"views": ()}, "a view"),
        ({"action_kind": "end_effector_deltas"}, "commands are given"),
        ({"state": (replace(BIMANUAL_PIPER.state[0], upper=-9.0), *BIMANUAL_PIPER.state[1:])}, "limits"),
    ],
)
def test_a_robot_that_cannot_be_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(BIMANUAL_PIPER, **change)  # type: ignore[arg-type]


def test_networks_must_have_the_channels_and_views_of_the_robot() -> None:
    with pytest.raises(ValueError, match=r"value.in_channels is 17; the robot libero_panda needs 10"):
        replace(SMALL, embodiment=LIBERO_PANDA)
    with pytest.raises(ValueError, match=r"video.max_view is 2; the robot bimanual_piper has 3 views"):
        replace(SMALL, video=replace(SMALL.video, max_view=2))


def test_a_checkpoint_of_an_earlier_version_is_of_the_piper(tmp_path: Path) -> None:
    save_small(tmp_path / "old")
    path = tmp_path / "old/config.json"
    data = json.loads(path.read_text())
    assert data.pop("embodiment")["name"] == "bimanual_piper"
    path.write_text(json.dumps(data))
    write_sums(tmp_path / "old")
    assert load_checkpoint(tmp_path / "old").config.embodiment == BIMANUAL_PIPER


def test_the_shipped_checkpoint_of_before_embodiments_is_the_same_model(tmp_path: Path) -> None:
    """Its robot is all that the migration added: without it, as it was, it is the same configuration and weights."""
    shipped = Path(__file__).parents[2] / "checkpoints/wav-tiny"
    old = Path(shutil.copytree(shipped, tmp_path / "old"))
    data = json.loads((old / "config.json").read_text())
    assert set(data) - {"embodiment"} == {"name", "video", "value", "action", "latent", "horizon", "text"}
    del data["embodiment"]
    (old / "config.json").write_text(json.dumps(data))
    write_sums(old)
    before, today = load_checkpoint(old), load_checkpoint(shipped)
    assert before.config == today.config
    assert before.planner == today.planner
    assert all(map(torch.equal, before.model.state_dict().values(), today.model.state_dict().values()))


def test_two_views_are_the_first_two_rows_of_the_embedding() -> None:
    """A model without its third camera computes what it would with max_view = 2 and the same rows."""
    two = replace(SMALL, embodiment=with_views("head", "left_wrist"))
    narrow = replace(two, video=replace(two.video, max_view=2))
    generator = torch.Generator().manual_seed(0)
    models = WAVModel(two).eval(), WAVModel(narrow).eval()
    for name, parameter in models[0].named_parameters():
        parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
        models[1].get_parameter(name).data = parameter.data[:2] if name.endswith("view_embed") else parameter.data
    tokens, channels = two.num_tokens_per_frame, two.video.in_channels
    memory = torch.randn(1, 2, two.num_memory_frames, tokens, channels, generator=generator)
    noise = torch.randn(3, 2, two.num_future_frames, tokens, channels, generator=generator)
    embedding = torch.randn(1, two.text.max_tokens, two.video.caption_channels, generator=generator)
    mask = torch.ones(1, two.text.max_tokens, dtype=torch.bool)
    outputs = [
        model.video(noise, torch.zeros(1), model.video.encode_text(embedding, mask), memory).velocity
        for model in models
    ]
    assert torch.equal(*outputs)
    assert outputs[0].abs().max() > 0.01


def test_deltas_are_no_differences_to_the_state() -> None:
    rng = np.random.default_rng(0)
    states, deltas = rng.normal(size=(50, 8)), rng.uniform(-1, 1, size=(50, 4, 7))
    reached = states[:, None] + 0.1 * rng.normal(size=(50, 4, 8))
    values = rng.normal(size=(50, LIBERO_PANDA.value_dim))
    normalization = Normalization.fit(states, deltas, reached - states[:, None], values, LIBERO_PANDA)
    encoded = normalization.encode_actions(deltas, reached, states)
    assert encoded.shape == (50, 4, 15)
    np.testing.assert_allclose(encoded.mean(axis=0), 0.0, atol=1e-9)
    np.testing.assert_allclose(normalization.decode_actions(encoded, states + 5.0), deltas, atol=1e-12)
    np.testing.assert_allclose(normalization.decode_states(encoded, states), reached, atol=1e-12)


def test_experts_of_a_robot_have_its_channels() -> None:
    value, action = expert_configs(LIBERO_PANDA)
    assert (value.in_channels, value.out_channels, action.in_channels, action.out_channels) == (10, 10, 15, 15)
