"""Adapters: they alone train, and a state's average is the sum of both under the plain names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from wav_models.networks.wav_model import WAVModel
from wav_models.presets import ModelConfig
from wav_models.training.config import LoopConfig, LoraConfig, TrainConfig
from wav_models.training.data.batches import Batches
from wav_models.training.loop import Budget, averaged_weights, train
from wav_models.training.randomness import streams_at
from wav_models.training.stage_table import make_stage
from wav_models.training.steps import copy_averages


def adapted(config: TrainConfig, *targets: str) -> TrainConfig:
    return replace(config, action=replace(config.action, lora=LoraConfig(rank=2, targets=targets)))


def fresh(config: ModelConfig) -> WAVModel:
    torch.manual_seed(0)
    model = WAVModel(config)
    for parameter in model.parameters():  # open what begins at zero, behind which nothing has a gradient
        nn.init.normal_(parameter, std=0.2)
    return model


def test_adapters_alone_get_gradients_and_change_nothing_at_first(
    model_config: ModelConfig, batches: Batches, train_config: TrainConfig
) -> None:
    model, streams = fresh(model_config), lambda: streams_at(0, "action", 0)
    plain = make_stage("action", model, batches, train_config, dict).losses(4, streams())
    stage = make_stage("action", model, batches, adapted(train_config, "attn1.to_q", "ff.proj_in"), dict)
    losses = stage.losses(4, streams())
    torch.testing.assert_close(losses["loss"], plain["loss"])
    losses["loss"].backward()
    with_gradient = {name for name, p in model.named_parameters() if p.grad is not None}
    ends = [
        f"{layer}.parametrizations.weight.0.{part}" for layer in ("attn1.to_q", "ff.proj_in") for part in ("up", "down")
    ]
    assert with_gradient == {name for name, _ in model.named_parameters() if name.endswith(tuple(ends))}
    assert len(with_gradient) == 3 * 2 * 4  # networks, blocks, ends


def test_a_states_average_is_the_adapted_model_without_adapters(
    model_config: ModelConfig, batches: Batches, loop_config: LoopConfig, train_config: TrainConfig, tmp_path: Path
) -> None:
    """Trained in two parts, the second from weights that are none of its business."""
    path, config = tmp_path / "state.safetensors", adapted(train_config, "to_v", "ff.proj_in")
    train(_stage(model_config, batches, config), loop_config, Budget(steps=2), 0, path, report=lambda _: None)
    other = _stage(model_config, batches, config)
    with torch.no_grad():
        for parameter in other.named_parameters().values():
            parameter.add_(1.0)
    state = train(other, loop_config, Budget(steps=4), 0, path, resume=True, report=lambda _: None)
    plain = fresh(model_config)
    before = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    copy_averages(path, plain, "average.", "")
    changed = {name for name, tensor in plain.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name in before if name.endswith(("to_v.weight", "ff.proj_in.weight"))}
    batch = batches.at(batches.steps[:4])
    with averaged_weights(state), torch.no_grad():
        torch.testing.assert_close(_actions(plain, batch), _actions(other.model, batch), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(_actions(fresh(model_config), batch), _actions(plain, batch), rtol=1e-2)


def test_layers_that_do_not_train_are_no_target(model: WAVModel, batches: Batches, train_config: TrainConfig) -> None:
    with pytest.raises(ValueError, match="no layer that trains is called 'to_w'; did you mean"):
        make_stage("action", model, batches, adapted(train_config, "to_w"), dict)
    config = replace(adapted(train_config, "to_q"), frozen=("video.",))
    stage = make_stage("action", model, batches, config, dict)
    assert {name.split(".")[0] for name in stage.named_parameters()} == {"value", "action"}


def _stage(config: ModelConfig, batches: Batches, train_config: TrainConfig):  # type: ignore[no-untyped-def]
    return make_stage("action", fresh(config), batches, train_config, dict)


def _actions(model: WAVModel, batch) -> Tensor:  # type: ignore[no-untyped-def]
    """One pass of every network."""
    text = model.video.encode_text(torch.ones(4, 3, 6), torch.ones(4, 3, dtype=torch.bool))
    seen = model.video(batch.future_latents, torch.full((4,), 0.5), text, batch.memory_latents)
    judged = model.value(batch.values[:, None], torch.full((4, 1), 0.5), model.value.context(seen.features))
    context = model.action.context(seen.features, tuple(f[:, 0] for f in judged.features))
    velocity: Tensor = model.action(
        batch.actions[:, None], torch.full((4, 1), 0.5), batch.state_token, context
    ).velocity
    return velocity
