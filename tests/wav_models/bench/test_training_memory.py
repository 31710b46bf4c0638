"""Memory of training, against what autograd really keeps."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.wav_models.piper import with_views
from wav_models.bench.gpu.training import RandomBatches
from wav_models.bench.subject import Subject, published_planner
from wav_models.bench.training_memory import TRAINED_BYTES, stage_memory
from wav_models.networks.random_weights import random_model
from wav_models.networks.wav_model import WAVModel
from wav_models.presets import WAV_TINY
from wav_models.training.config import STAGES, TrainConfig
from wav_models.training.randomness import streams_at
from wav_models.training.stage_table import make_stage
from wav_policy.cli.main import main

SMALL = replace(WAV_TINY, video=replace(WAV_TINY.video, num_layers=2))
TWO_VIEWS = replace(SMALL, embodiment=with_views("head", "left_wrist"))
"""Fewer than the model could embed."""


def really_kept(stage: str, samples: int) -> int:
    """Bytes that a forward pass in bfloat16 autocast keeps, parameters and their casts left out."""
    model = WAVModel(SMALL)
    weights = {p.numel() for p in model.parameters()}
    seen: dict[int, Tensor] = {}

    def keep(x: Tensor) -> Tensor:
        if x.untyped_storage().nbytes() // x.element_size() not in weights:
            seen[x.untyped_storage().data_ptr()] = x
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x), torch.autocast("cpu", torch.bfloat16):
        batches: Any = RandomBatches(SMALL)
        made = make_stage(stage, model, batches, TrainConfig(), dict)
        loss = made.losses(samples, streams_at(0, stage, 0))["loss"]
    del loss
    return sum(x.untyped_storage().nbytes() for x in seen.values())


@pytest.mark.parametrize("stage", STAGES)
def test_counted_activations_are_those_that_are_kept(stage: str) -> None:
    """An upper estimate on short chunks, whose norms weigh most; on a CPU attention keeps its logits, too."""
    counted = stage_memory(SMALL, stage).kept
    found = (really_kept(stage, 7) - really_kept(stage, 5)) / 2  # no activation has the size of a weight
    assert 0.7 * found < counted < 2.5 * found


@pytest.mark.parametrize("stage", STAGES)
def test_recomputing_keeps_less_and_shards_divide_the_state(stage: str) -> None:
    memory = stage_memory(SMALL, stage)
    assert memory.kept_recomputed + memory.block < memory.kept
    one, eight = (memory.per_gpu(gpus, 1, sharded=True, recompute=True) for gpus in (1, 8))
    state = TRAINED_BYTES * memory.trained
    assert one - eight >= state - state // 8 - 8 * memory.largest_block
    assert memory.per_gpu(8, 1, sharded=False, recompute=True) == one
    assert memory.per_gpu(1, 3, sharded=False, recompute=False) - memory.per_gpu(
        1, 2, sharded=False, recompute=False
    ) == (memory.kept)


@pytest.mark.parametrize("stage", STAGES)
def test_a_robot_of_fewer_views_keeps_less(stage: str) -> None:
    assert 0 < stage_memory(TWO_VIEWS, stage).kept < stage_memory(SMALL, stage).kept


def test_a_robot_of_fewer_views_is_measured() -> None:
    model = random_model(TWO_VIEWS, torch.Generator().manual_seed(0))
    plan = Subject(model, published_planner(1, 2, 1, 2)).plan()
    assert plan.actions.isfinite().all()


def test_command_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "cost", "--training", "--preset", "wav-tiny", "--gpus", "1", "8", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert table["computed_not_measured"] is True
    assert [row["stage"] for row in table["stages"]] == list(STAGES)
    assert {form["gpus"] for form in table["stages"][0]["forms"]} == {1, 8}
    assert main(["bench", "cost", "--training", "--gpus", "0"]) == 2
    assert "--gpus[0] is 0; a whole number of at least 1 fits" in capsys.readouterr().err
