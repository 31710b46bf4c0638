"""A student of fewer passes and steps: what it is asked for, and that it comes to choose as its teacher does."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from wav_models.engines.torch_engine import TorchEngine
from wav_models.networks.random_weights import random_model
from wav_models.networks.wav_model import WAVModel
from wav_models.presets import ModelConfig
from wav_models.training.agreement import Judged, agreement
from wav_models.training.assembly import _planner
from wav_models.training.base import with_given_steps
from wav_models.training.config import DistilStageConfig, LoopConfig, Schedule, TrainConfig, load_config
from wav_models.training.data.batches import Batch, Batches
from wav_models.training.distil_stage import DistilStage, _errors
from wav_models.training.imagining import Imagined, Imaginer, Noises
from wav_models.training.loop import Budget, train
from wav_models.training.metrics import HeldOut
from wav_models.training.randomness import streams_at
from wav_models.training.run import Run
from wav_models.training.stage_table import make_stage
from wav_models.training.stages import Prefix

MANY, FEW = Schedule((0.25, 0.5, 0.75), 3, 5), Schedule((0.25,), 1, 1)


@pytest.fixture(params=["causal", "bidirectional"])
def either_config(request: pytest.FixtureRequest, model_config: ModelConfig) -> ModelConfig:
    return replace(model_config, video=replace(model_config.video, causal_memory=request.param == "causal"))


def stage_of(
    batches: Batches,
    model: WAVModel,
    *,
    frozen: tuple[str, ...] = (),
    learns_from: WAVModel | None = None,
    **settings: Any,
) -> DistilStage:
    own = replace(DistilStageConfig(memory_noise=0.0), **settings)
    stage = make_stage("distil", model, batches, TrainConfig(distil=own, frozen=frozen), dict, learns_from)
    assert isinstance(stage, DistilStage)
    return stage


def trained(config: ModelConfig, seed: int = 0) -> WAVModel:
    """A model whose outputs are not all zero, as those of a new one."""
    return random_model(config, torch.Generator().manual_seed(seed))


def seen_in(batch: Batch, batches: Batches) -> tuple[Any, ...]:
    data = batches.episodes
    return (data.text_embedding[batch.text], data.text_mask[batch.text]), batch.memory_latents, batch.state_token


@pytest.mark.parametrize(
    "schedule", [MANY, FEW, Schedule((0.0,), 2, 2), Schedule((0.0, 0.5), 1, 3)], ids=["many", "few", "published", "two"]
)
def test_futures_are_those_of_the_engine(either_config: ModelConfig, batches: Batches, schedule: Schedule) -> None:
    """What is learnt is what acts: the engine, which never trains, is the second source."""
    model = trained(either_config)
    engine = TorchEngine(model, SimpleNamespace(), SimpleNamespace())  # type: ignore[arg-type]
    batch = batches.at(batches.steps[:2])
    noises = stage_of(batches, trained(either_config, 1))._noises(batch, 3, 2, streams_at(0, "test", 0))
    with torch.no_grad():
        found = Imaginer(model, schedule, *seen_in(batch, batches)).imagine(noises)
    (embedding, mask), memory, state = seen_in(batch, batches)
    for row in range(len(batch)):
        text = model.video.encode_text(embedding[row : row + 1], mask[row : row + 1])
        scene = engine.observe(memory[row : row + 1], text, schedule.shares_first_step)
        x_t = engine.before_last_pass(scene, noises.video[row], schedule.video_times)
        futures, latents = engine.read(scene, x_t, schedule.video_times[-1])
        shared = noises.value[row][None].expand(3, -1, -1, -1)
        values = engine.evaluate(futures, shared, schedule.num_value_steps)
        torch.testing.assert_close(found.latents[row], latents, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found.values[row], values, rtol=1e-4, atol=1e-4)
        for place in range(3):
            _, actions = engine.act(
                futures.select(place),
                state[row : row + 1],
                noises.value[row, 0],
                noises.action[row, 0],
                schedule.num_value_steps,
                schedule.num_action_steps,
            )
            torch.testing.assert_close(found.actions[row, place], actions, rtol=1e-4, atol=1e-4)


def test_who_does_as_the_teacher_has_no_loss(either_config: ModelConfig, batches: Batches) -> None:
    stage = stage_of(batches, trained(either_config), teacher=MANY, student=MANY, recorded_weight=0.0)
    with torch.no_grad():
        losses = stage.losses(4, streams_at(0, "distil", 0))
    recorded = losses.pop("recorded")
    assert float(recorded) > 0.1, "futures that were recorded are others than the imagined ones"
    assert all(float(loss) < 1e-8 for loss in losses.values()), losses


def test_what_is_not_done_as_the_teacher_does_it_is_a_loss(model_config: ModelConfig, batches: Batches) -> None:
    """Every part, and each counts by its weight."""
    none = dict.fromkeys(("future_weight", "value_weight", "action_weight", "recorded_weight"), 0.0)
    model, found = trained(model_config), {}
    two: dict[str, Any] = {"learns_from": trained(model_config, 1), "teacher": MANY, "student": FEW}
    for name in none:
        stage = stage_of(batches, model, **two, **{**none, name: 1.0})
        with torch.no_grad():
            found[name] = stage.losses(4, streams_at(0, "distil", 0))
    parts = found["future_weight"]
    assert all(float(loss) > 1e-4 for loss in parts.values()), parts
    for name, total in (("value", "value_weight"), ("action", "action_weight")):
        expected = parts[name] + parts[f"{name}_differences"]
        torch.testing.assert_close(found[total]["loss"], expected)
    torch.testing.assert_close(found["recorded_weight"]["loss"], parts["recorded"])
    torch.testing.assert_close(parts["loss"], parts["future"] + parts["future_differences"] + parts["mean"])
    half = stage_of(batches, model, **two, difference_weight=0.5, **{**none, "value_weight": 2.0})
    torch.testing.assert_close(
        half.losses(4, streams_at(0, "distil", 0))["loss"], 2.0 * (parts["value"] + 0.5 * parts["value_differences"])
    )


def test_an_error_that_all_futures_share_is_none_of_their_differences() -> None:
    wanted = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(0))
    plain, differences = _errors(wanted + torch.randn(5, 1, 3), wanted)
    assert float(plain) > 0.1
    assert float(differences) < 1e-10
    alike = wanted[:, :1].expand(-1, 4, -1) + 1e-6 * wanted
    assert float(_errors(alike + 0.01 * wanted, alike)[1]) < 1.0, "differences that are none outweigh all else"


def test_the_teacher_stays_as_it_was_and_frozen_parts_do(
    model_config: ModelConfig, batches: Batches, loop_config: LoopConfig, tmp_path: Any
) -> None:
    model = trained(model_config)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    stage = stage_of(batches, model, frozen=("video.",), teacher=MANY, student=FEW)
    assert "recorded" not in stage.losses(2, streams_at(0, "distil", 0))
    train(stage, loop_config, Budget(steps=2), 0, tmp_path / "distil.state.safetensors", report=lambda text: None)
    for name, parameter in stage.teacher.named_parameters():
        assert torch.equal(parameter, before[name]), name
    changed = {n.split(".")[0] for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert changed == {"value", "action"}


def test_a_student_comes_to_choose_as_its_teacher(
    model_config: ModelConfig, batches: Batches, loop_config: LoopConfig, tmp_path: Any
) -> None:
    few = {"num_futures": 2, "num_value_samples": 1, "recorded_weight": 0.0}
    stage = stage_of(batches, trained(model_config), teacher=Schedule((0.25, 0.75), 2, 2), student=FEW, **few)
    held_out = HeldOut(stage.model, batches, 12, 0)
    before = stage.measure(held_out)
    loop = replace(loop_config, batch_size=4)
    train(stage, loop, Budget(steps=30), 0, tmp_path / "distil.state.safetensors", report=lambda text: None)
    after = stage.measure(held_out)
    assert after["score_rank"] > before["score_rank"] + 0.1, (before, after)
    assert after["captured"] > before["captured"] + 0.1, (before, after)
    assert after["actions_r2"] > before["actions_r2"], (before, after)
    assert after["captured@other_values"] == before["captured@other_values"], "the ceiling is the teacher's"


def test_futures_are_ranked_by_their_return(model_config: ModelConfig, batches: Batches) -> None:
    """The last channel; the others are terms of the reward."""
    stage = stage_of(batches, trained(model_config))
    values = torch.zeros(1, 3, 2, 4, 17)
    values[..., 0] = torch.tensor([9.0, 5.0, 1.0])[:, None, None] * torch.arange(4)
    values[..., -1] = torch.tensor([1.0, 2.0, 3.0])[:, None, None] * torch.arange(4)
    judged = stage._judged(Imagined(torch.zeros(1, 3, 5), values, torch.zeros(1, 3, 5)))
    assert judged.scores.argsort().tolist() == [[0, 1, 2]]


def test_noises_are_never_the_same_twice(model_config: ModelConfig, batches: Batches) -> None:
    drawn: list[Noises] = []

    class Watched(DistilStage):
        def _noises(self, *arguments: Any) -> Noises:
            drawn.append(super()._noises(*arguments))
            return drawn[-1]

    config = DistilStageConfig(teacher=FEW, student=FEW, num_futures=3)
    stage = Watched(trained(model_config), batches, config, dict)
    for step in range(2):
        stage.losses(2, streams_at(0, "distil", step))
    first, second = (noises.video.flatten(0, 1) for noises in drawn)
    assert not (first[:, None] == second[None]).flatten(2).all(dim=-1).any()
    assert not torch.equal(first[0], first[1])


def test_given_actions_are_given_to_both(model_config: ModelConfig, batches: Batches) -> None:
    """A checkpoint that is given what is executed meanwhile stays able to continue it."""
    batch, model = batches.at(batches.steps[:2]), trained(model_config)
    stage = stage_of(batches, model, teacher=MANY, student=FEW)
    noises = stage._noises(batch, 2, 1, streams_at(0, "test", 0))
    prefix: Prefix = stage.prefix(batch, 1, (2, 2), streams_at(0, "test", 1))
    with torch.no_grad():
        actions = Imaginer(model, FEW, *seen_in(batch, batches), prefix).imagine(noises).actions
    commands: Tensor = batch.actions[:, None, :2, :14].expand(-1, 2, -1, -1)
    torch.testing.assert_close(actions[:, :, :2, :14], commands)


def test_a_student_is_given_as_many_actions_as_its_teacher(
    model_config: ModelConfig, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint says so of both, and no configuration has to repeat it."""
    asked: list[tuple[int, int]] = []
    prefix = DistilStage.prefix

    def watched(stage: DistilStage, batch: Batch, draws: int, bounds: tuple[int, int], streams: Any) -> Prefix:
        asked.append(bounds)
        return prefix(stage, batch, draws, bounds, streams)

    monkeypatch.setattr(DistilStage, "prefix", watched)
    for config in (model_config, with_given_steps(model_config, 3)):
        stage = stage_of(batches, trained(config), teacher=MANY, student=FEW)
        with torch.no_grad():
            assert float(stage.losses(2, streams_at(0, "distil", 0))["action"]) > 0.0
    assert asked == [(0, 3)]


def test_the_mean_is_learnt_of_a_teacher_that_shares_no_first_step(model_config: ModelConfig, batches: Batches) -> None:
    """As that of `train_wav_2b.yaml`: a student that shares one needs it."""
    model = trained(model_config)
    stage = stage_of(batches, model, learns_from=trained(model_config, 1), teacher=Schedule((0.0, 0.25), 1, 1))
    losses = stage.losses(2, streams_at(0, "distil", 0))
    assert float(losses["mean"].detach()) > 1e-4
    before, after = (
        torch.autograd.grad(total, model.video.proj_out.weight, retain_graph=True)[0]
        for total in (losses["loss"] - losses["mean"], losses["loss"])
    )
    assert not torch.allclose(before, after)
    own = stage_of(batches, model, teacher=MANY, student=Schedule((0.0,), 1, 1))
    assert "mean" not in own.losses(2, streams_at(0, "distil", 0)), "of no use to whom shares no first step"


def judged(scores: Tensor) -> Judged:
    futures = torch.randn(*scores.shape, 3, generator=torch.Generator().manual_seed(0))
    return Judged.of(futures, scores, 2.0 * futures + 1.0)


def test_agreement_of_the_same_the_opposite_and_of_what_is_shared() -> None:
    scores = torch.tensor([[0.0, 1.0, 2.0, 5.0], [3.0, 1.0, 0.0, 2.0]])
    same = agreement(judged(scores), judged(scores))
    assert same == pytest.approx(dict.fromkeys(same, 1.0))
    opposite = agreement(judged(-scores), judged(scores))
    assert opposite["score_rank"] == pytest.approx(-1.0)
    assert opposite["same_best"] == 0.0
    assert opposite["captured"] == pytest.approx((0.0 - 2.0 + 0.0 - 1.5) / (3.0 + 1.5))
    second = agreement(judged(torch.tensor([[0.0, 1.0, 3.0, 2.0], [3.0, 1.0, 0.0, 2.0]])), judged(scores))
    assert second["captured"] == pytest.approx((0.0 + 1.5) / (3.0 + 1.5))
    assert second["same_best"] == 0.5
    reference = judged(scores)
    shifted = replace(reference, futures=reference.futures + 7.0, actions=0.5 * reference.actions)
    found = agreement(shifted, reference)
    assert found["futures_r2"] == pytest.approx(1.0)
    assert found["actions_r2"] == pytest.approx(0.75)
    assert agreement(judged(0.0 * scores), judged(scores))["score_rank"] == 0.0


def test_a_run_of_its_own_plans_as_its_student(tmp_path: Path) -> None:
    """Without a checkpoint that is built on, whose planner would be kept; the record is read back from JSON."""
    own = DistilStageConfig(student=Schedule((0.25, 0.5), 2, 1), score="mean", action_noise_std=0.0)
    record, run = json.loads(json.dumps(asdict(own))), cast(Run, SimpleNamespace(base=None))
    planner = _planner(run, tmp_path, record)
    assert planner is not None
    assert (planner.video_times, planner.share_first_step) == ((0.25, 0.5), True)
    assert (planner.num_value_steps, planner.num_action_steps, planner.score) == (2, 1, "mean")
    assert (planner.action_noise_std, planner.selection) == (0.0, "best")
    assert _planner(run, tmp_path, None) is None


def test_what_was_written_by_hand_stays(tmp_path: Path) -> None:
    """In a checkpoint that is written anew: all but what a student has learnt."""
    before, run = tmp_path / "checkpoint", cast(Run, SimpleNamespace(base=tmp_path / "base"))
    for directory, futures in ((before, 5), (tmp_path / "base", 6)):
        directory.mkdir()
        (directory / "planner.json").write_text(f'{{"num_video_samples": {futures}, "num_value_steps": 3}}')
    stored = _planner(run, before, None)
    assert stored is not None
    assert (stored.num_video_samples, stored.num_value_steps) == (5, 3)
    student = _planner(run, before, json.loads(json.dumps(asdict(DistilStageConfig()))))
    assert student is not None
    assert (student.num_video_samples, student.num_value_steps, student.score) == (5, 1, "snr")
    elsewhere = _planner(run, tmp_path / "elsewhere", None)
    assert elsewhere is not None
    assert elsewhere.num_video_samples == 6


def test_a_run_without_a_section_learns_as_slowly_as_one_that_was_tried(tmp_path: Path) -> None:
    """`wav train distil` with the configuration of a run's other stages, as docs/my_model.md says."""
    assert DistilStageConfig().loop.learning_rate <= 2e-4 < TrainConfig().action.loop.learning_rate
    (tmp_path / "run.yaml").write_text("distil: {loop: {steps: 5}}")
    distil = load_config(tmp_path / "run.yaml", ["distil.student.num_action_steps=2"]).distil
    assert (distil.loop, distil.student) == (replace(DistilStageConfig().loop, steps=5), Schedule((0.25,), 1, 2))


@pytest.mark.parametrize("times", [(), (0.5, 0.25), (0.5, 1.0), (-0.1,)])
def test_flow_times_that_no_planner_takes_are_refused(times: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="video_times"):
        Schedule(times, 1, 1)
