"""What each stage's loss is made of: networks that know the data have none, and every weight and share counts."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from wav_models.networks.video_dit import VideoFeatures, VideoOutput
from wav_models.networks.wav_model import WAVModel
from wav_models.training.config import ActionStageConfig, FuturesConfig, TrainConfig
from wav_models.training.data.batches import Batch, Batches
from wav_models.training.randomness import RngStreams, streams_at
from wav_models.training.stage_table import make_stage
from wav_models.training.stages import _squared_error, draw_flow_time

BATCH = 8


class Knowing(nn.Module):
    """A network that knows the data x_1 it is asked about, but for `error`; keeps what it was given."""

    def __init__(self, x_1: Tensor, error: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.x_1, self.error = x_1, error
        self.given: dict[str, Any] = {}

    def velocity(self, x_t: Tensor, flow_time: Tensor) -> Tensor:
        """(x_1 - x_t) / (1 - t), which is x_1 - x_0 on the path."""
        t = flow_time.reshape(*flow_time.shape, *[1] * (x_t.ndim - flow_time.ndim))
        return (self.x_1 - x_t) / (1.0 - t) + self.error


class KnowingVideo(Knowing):
    def encode_text(self, embedding: Tensor, mask: Tensor) -> None:
        self.given |= {"text": embedding, "mask": mask}

    def forward(self, x_t: Tensor, flow_time: Tensor, text: None, memory: Tensor) -> VideoOutput:
        self.given |= {"flow_time": flow_time, "memory": memory}
        features = VideoFeatures((torch.ones(len(x_t), 2, 3),), (torch.ones(len(x_t), 2, 3),))
        return VideoOutput(self.velocity(x_t, flow_time), features)


class KnowingExpert(Knowing):
    def context(self, *seen: Any) -> Any:
        self.given |= {"context": seen}

    def forward(
        self, x_t: Tensor, flow_time: Tensor, context: None, state: Tensor | None = None, given: Tensor | None = None
    ) -> Any:
        self.given |= {"state": state, "count": x_t.shape[1], "x_t": x_t, "given": given}
        self.features = (torch.randn(*x_t.shape[:3], 5),)
        return SimpleNamespace(velocity=self.velocity(x_t, flow_time), features=self.features)


def losses(
    name: str, model: WAVModel, batches: Batches, errors: tuple[float, float, float] = (0.0, 0.0, 0.0), **config: Any
) -> tuple[dict[str, Tensor], WAVModel, Batch]:
    """Of one batch, with networks that know it but for `errors` (video, value, action)."""
    defaults = TrainConfig()
    settings = replace(defaults, **{name: replace(getattr(defaults, name), **config)})
    streams: RngStreams = streams_at(0, "test", 0)
    batch = batches.draw(BATCH, streams)
    model.video = KnowingVideo(batch.future_latents, errors[0])
    model.value = KnowingExpert(batch.values[:, None], errors[1])
    model.action = KnowingExpert(batch.actions[:, None], errors[2])
    return make_stage(name, model, batches, settings, dict).batch_losses(batch, streams), model, batch


@pytest.mark.parametrize("name", ["video", "value", "action"])
def test_networks_that_know_the_data_have_no_loss(name: str, model: WAVModel, batches: Batches) -> None:
    """The true velocity is the only one without loss: x_1 - x_0 at the point and time that the network was asked at."""
    found, _, _ = losses(name, model, batches)
    assert all(float(loss) < 1e-6 for loss in found.values()), found
    off, _, _ = losses(name, model, batches, errors=(0.5, 0.5, 0.5), **_weighing(name))
    assert float(off["loss"]) == pytest.approx(0.25 * (1.0 if name != "action" else 1.0 + 0.3 + 0.1), rel=1e-3)


def _weighing(name: str) -> dict[str, float]:
    return {"video_weight": 0.3, "value_weight": 0.1} if name == "action" else {}


def test_the_action_loss_weighs_its_parts(model: WAVModel, batches: Batches) -> None:
    errors, weights = (0.5, 1.0, 2.0), {"video_weight": 0.25, "value_weight": 0.125}
    found, _, _ = losses("action", model, batches, errors, **weights)
    parts = {"action": 4.0, "video": 0.25, "value": 1.0}
    assert {name: float(found[name]) for name in parts} == pytest.approx(parts, rel=1e-3)
    assert float(found["loss"]) == pytest.approx(4.0 + 0.25 * 0.25 + 0.125 * 1.0, rel=1e-3)


@pytest.mark.parametrize("masked", [False, True])
def test_a_prefix_is_given_clean_and_has_no_part_in_the_loss(model: WAVModel, batches: Batches, masked: bool) -> None:
    """Commands are given, what the joints will have reached is not; the network that knows the rest has no loss."""
    found, model, batch = losses("action", model, batches, prefix_steps=(1, 3), draws=40, mask_padding=masked)
    assert float(found["action"]) < 1e-6
    given, x_t = model.action.given["given"], model.action.given["x_t"]
    counts = given.sum(dim=-1)
    assert set(counts.flatten().tolist()) == {1, 2, 3}
    assert torch.equal(given, torch.arange(4) < counts[..., None])
    commands = batch.actions[:, None, :, :14].expand(-1, 40, -1, -1)
    assert torch.equal(x_t[given][:, :14], commands[given])
    assert not x_t[given][:, 14:].any()
    assert (x_t[~given][:, :14] != commands[~given]).all()
    off, _, _ = losses("action", model, batches, (0.0, 0.0, 0.5), prefix_steps=(1, 3), mask_padding=masked)
    assert float(off["action"]) == pytest.approx(0.25, rel=1e-3)


def test_actions_are_read_from_the_first_value_draw(model: WAVModel, batches: Batches) -> None:
    _, model, _ = losses("action", model, batches, value_draws=3)
    assert model.value.given["count"] == 3
    _, value_features = model.action.given["context"]
    assert torch.equal(value_features[0], model.value.features[0][:, 0])


@pytest.mark.parametrize("name", ["video", "value", "action"])
def test_each_stage_trains_its_parts_only(name: str, model: WAVModel, batches: Batches) -> None:
    stage = make_stage(name, model, batches, TrainConfig(), dict)
    parts = {"video": {"video"}, "value": {"value"}, "action": {"video", "value", "action"}}[name]
    assert {parameter.split(".")[0] for parameter in stage.named_parameters()} == parts
    assert {n.split(".")[0] for n, p in model.named_parameters() if p.requires_grad} == parts


def test_the_video_part_learns_more_slowly_with_the_actions(model: WAVModel, batches: Batches) -> None:
    config = replace(TrainConfig(), action=replace(ActionStageConfig(), video_rate=0.25))
    stage = make_stage("action", model, batches, config, dict)
    factor = getattr(stage, "lr_scale", None) or stage.rate
    assert {name.split(".")[0]: factor(name) for name in stage.named_parameters()} == {
        "video": 0.25,
        "value": 1.0,
        "action": 1.0,
    }


def test_a_share_of_the_flow_times_is_the_noisiest() -> None:
    times = draw_flow_time((4000,), streams_at(0, "test", 0), 0.25)
    assert 0.2 < float((times == 0.0).float().mean()) < 0.3
    assert ((times >= 0.0) & (times < 1.0)).all()
    assert 0.45 < float(times[times > 0.0].mean()) < 0.55


def test_what_is_remembered_is_made_noisy(model: WAVModel, batches: Batches) -> None:
    for noise in (0.0, 0.5):
        _, model, batch = losses("video", model, batches, memory_noise=noise)
        added = model.video.given["memory"] - batch.memory_latents
        assert float(added.std()) == pytest.approx(noise, rel=0.15)


def test_a_share_of_the_captions_and_states_is_hidden(model: WAVModel, batches: Batches) -> None:
    """A dropped caption is the empty instruction, row 0; a hidden state is the mean one."""
    empty, known = batches.episodes.text_embedding[0], batches.episodes.text_embedding[1]
    for dropout, expected in ((0.0, known), (1.0, empty)):
        _, model, batch = losses("video", model, batches, caption_dropout=dropout)
        assert torch.equal(model.video.given["text"], expected.expand(BATCH, -1, -1))
        _, model, batch = losses("action", model, batches, state_dropout=dropout)
        assert torch.equal(model.action.given["state"], (1.0 - dropout) * batch.state_token)


def test_in_stage_three_the_memory_is_hidden_from_the_actions_alone(model: WAVModel, batches: Batches) -> None:
    """The value expert plans with what is remembered; in its own stage it learns to do without."""
    _, model, _ = losses("action", model, batches, memory_dropout=1.0)
    (judged,), (acted_on, _) = model.value.given["context"], model.action.given["context"]
    assert not acted_on.memory[0].any()
    assert judged.memory[0].all()
    _, model, _ = losses("value", model, batches, memory_dropout=1.0)
    (judged,) = model.value.given["context"]
    assert not judged.memory[0].any()
    assert judged.future[0].all()


def test_the_return_that_is_reported_is_the_last_channel(model: WAVModel, batches: Batches) -> None:
    errors = torch.cat([torch.full((16,), 2.0), torch.tensor([0.5])])
    found, _, _ = losses("value", model, batches, (0.0, errors, 0.0))  # type: ignore[arg-type]
    assert float(found["return"]) == pytest.approx(0.25, rel=1e-3)
    assert float(found["loss"]) == pytest.approx((16 * 4.0 + 0.25) / 17, rel=1e-3)


def test_own_futures_are_not_judged(model: WAVModel, batches: Batches) -> None:
    """Only the recorded futures have a target; with half of them the model's own the loss is that of the others."""
    futures = FuturesConfig(own_fraction=0.5, own_start=(0.4, 0.4))
    streams = streams_at(0, "test", 0)
    stage = make_stage("action", model, batches, TrainConfig(), dict)
    batch = batches.draw(BATCH, streams)

    class HalfKnowing(KnowingVideo):
        def velocity(self, x_t: Tensor, flow_time: Tensor) -> Tensor:
            known = super().velocity(x_t, flow_time) if len(x_t) == BATCH else torch.zeros_like(x_t)
            return torch.cat([known[: BATCH // 2] + 9.0, known[BATCH // 2 :] + 0.5]) if len(x_t) == BATCH else known

    stage.model.video = HalfKnowing(batch.future_latents, 0.0)
    _, loss = stage._read_futures(batch, streams, futures)
    assert float(loss) == pytest.approx(0.25, rel=1e-3)


def test_steps_beyond_an_episodes_end_have_no_part_in_a_masked_loss(
    model: WAVModel, batches: Batches, train_config: TrainConfig
) -> None:
    batch = batches.at(batches.episodes.last[:1])
    assert batch.action_known.tolist() == [[1.0, 0.0, 0.0, 0.0]]
    assert batch.value_known.tolist() == [[0.0, 0.0, 0.0, 0.0]]
    for masked in (False, True):
        action = replace(train_config.action, mask_padding=masked)
        stage = make_stage("action", model, batches, replace(train_config, action=action), dict)
        assert (stage.batch_losses(batch, streams_at(0, "action", 0, 0))["value"] == 0.0) == masked
    velocity, target = torch.zeros(1, 2, 4, 3), torch.ones(1, 2, 4, 3)
    target[:, :, 1:] = 9.0
    assert _squared_error(velocity, target, batch.action_known[:, None]) == 1.0


@pytest.mark.parametrize("options", [{}, {"mask_padding": True}, {"prefix_steps": (1, 3)}])
def test_actions_that_are_not_imitated_have_no_part_in_their_loss(
    model: WAVModel, batches: Batches, options: dict[str, Any]
) -> None:
    """Half of the steps are; the network is wrong about the others' actions only, and about all values and futures."""
    batches.episodes.imitated[::2] = False
    batch = batches.draw(BATCH, streams_at(0, "test", 0))
    off = 0.5 + 9.0 * (1.0 - batch.imitated)[:, None, None, None]
    assert set(batch.imitated.tolist()) == {0.0, 1.0}
    found, _, _ = losses("action", model, batches, (2.0, 3.0, off), **options)  # type: ignore[arg-type]
    assert float(found["action"]) == pytest.approx(0.25, rel=1e-3)
    assert float(found["value"]) == pytest.approx(9.0, rel=1e-3)
    assert float(found["video"]) == pytest.approx(4.0, rel=1e-3)


def test_a_lost_camera_shows_the_mean_picture(model: WAVModel, batches: Batches, train_config: TrainConfig) -> None:
    video = replace(train_config.video, camera_dropout=1.0, memory_noise=0.0)
    stage = make_stage("video", model, batches, replace(train_config, video=video), dict)
    memory = stage.memory(batches.at(batches.steps), streams_at(0, "video", 0, 0))
    lost = (memory == 0.0).flatten(2).all(dim=2)
    assert (lost.sum(dim=1) == 1).all()
    assert lost.any(dim=0).all()


def test_frozen_parameters_do_not_train(model: WAVModel, batches: Batches, train_config: TrainConfig) -> None:
    stage = make_stage("action", model, batches, replace(train_config, frozen=("video.", "value.")), dict)
    assert {name.split(".")[0] for name in stage.named_parameters()} == {"action"}
    with pytest.raises(ValueError, match="frozen: no parameter begins with 'vido'; did you mean 'video'") as refusal:
        make_stage("action", model, batches, replace(train_config, frozen=("vido",)), dict)
    assert "video.transformer_blocks" in str(refusal.value)
    assert len(str(refusal.value)) < 800, "a screenful of names"
    with pytest.raises(ValueError, match="leave nothing to train in stage video"):
        make_stage("video", model, batches, replace(train_config, frozen=("video.",)), dict)


def test_a_batch_that_is_drawn_ahead_is_the_one_that_would_be_drawn(model: WAVModel, batches: Batches) -> None:
    found = []
    for ahead in (False, True):
        stage, (first, second) = make_stage("value", model, batches, TrainConfig(), dict), streams_of_steps()
        for streams in (first, second) if ahead else ():
            stage.prepare(BATCH, streams)
        found.append([stage.losses(BATCH, streams)["loss"] for streams in (second, first)])
        assert stage._prepared == []
    torch.testing.assert_close(found[1], found[0], rtol=0.0, atol=0.0)


def streams_of_steps() -> tuple[RngStreams, RngStreams]:
    return streams_at(0, "test", 0), streams_at(0, "test", 1)
