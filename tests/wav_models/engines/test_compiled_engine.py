"""A future is picked from its own round, or made again where that round has been overwritten."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.wav_models.engines.small_engines import SMALL, WordEncoder
from wav_models.engines.compiled_engine import (
    CompiledEngine,
    CompiledScene,
    LentValues,
    StaleValuesError,
)
from wav_models.engines.manifest import Manifest, PlanShape
from wav_models.planner.config import PlannerConfig

SHAPE = PlanShape.of(PlannerConfig(num_video_samples=4, num_video_elites=1, num_value_elites=1))
NOISE = torch.arange(4.0)[:, None]


class Imagination:
    """What the experts see of a future is its doubled noise; that of several is lent until the next call."""

    def __init__(self, lends: bool) -> None:
        self.lends, self.num_replays = lends, 0

    def run(self, tensors: Mapping[str, Tensor], context: Mapping[str, Any]) -> dict[str, Any]:
        self.num_replays += 1
        output = {"value_video_0": 2.0 * tensors["video_noise"]}
        lent = SimpleNamespace(output=output, number=self.num_replays)
        return LentValues(lent) if self.lends else output  # type: ignore[arg-type]


class Pick:
    """Refuses what was lent and is no more."""

    def __init__(self, imagination: Imagination) -> None:
        self.imagination = imagination

    def run(self, tensors: Mapping[str, Tensor], context: Mapping[str, Any]) -> dict[str, Any]:
        assert context["action_memory_0"] == "memory"
        if isinstance(context, LentValues) and context.lent.number != self.imagination.num_replays:
            raise StaleValuesError
        return {"picked_value_video_0": context["value_video_0"].index_select(0, tensors["index"])}


class Judge:
    """Values are the noise and one; their features it tenfold."""

    def __init__(self) -> None:
        self.num_runs = 0

    def run(self, tensors: Mapping[str, Tensor], context: Mapping[str, Any]) -> dict[str, Any]:
        self.num_runs += 1
        return {"values": tensors["value_noise"] + 1.0, "value_features_0": 10.0 * tensors["value_noise"]}

    def tensor(self, value: Tensor) -> Tensor:
        return value


class Act(Judge):
    """Actions are the value features."""

    def run(self, tensors: Mapping[str, Tensor], context: Mapping[str, Any]) -> dict[str, Any]:
        return {"actions": tensors["value_features_0"]}


def test_who_acts_on_a_sample_that_was_judged_does_not_judge_it_again() -> None:
    many, alone = Imagination(lends=False), Judge()
    graphs: dict[str, Any] = {"video_dit_4": many, "pick": Pick(many), "value_dit": Judge(), "action_dit": Act()}
    graphs["value_dit_1x1"] = alone
    manifest = Manifest(0, "stub", "fp32", "", "", 20, "", SHAPE, {}, {}, {})
    engine = CompiledEngine(manifest, graphs, SMALL, WordEncoder())
    scene = CompiledScene({"action_memory_0": "memory"}, {})
    noise = torch.arange(4.0 * SHAPE.num_value_samples * 6).view(4, SHAPE.num_value_samples, 3, 2)
    steps = SHAPE.num_value_steps, SHAPE.num_action_steps
    state, chunk = torch.zeros(1, 1, 28), torch.zeros(16, 28)

    def judged_again(future: Any, sample: Tensor) -> bool:
        before = alone.num_runs
        values, actions = engine.act(future, state, sample, chunk, *steps)
        assert torch.equal(values, sample + 1.0)
        assert torch.equal(actions, 10.0 * sample)
        return alone.num_runs > before

    futures = engine.imagine(scene, NOISE, SHAPE.video_times)
    early = engine.pick(futures, 2)
    engine.evaluate(futures, noise, SHAPE.num_value_steps)
    picked = engine.pick(futures, 2)
    assert not judged_again(picked, noise[2, 1])
    assert not judged_again(picked, noise[2, 0])
    assert judged_again(picked, noise[1, 1])
    assert judged_again(early, noise[2, 1])
    engine.evaluate(picked, noise[:1, :1], SHAPE.num_value_steps)
    assert not judged_again(picked, noise[0, 0])


@pytest.mark.parametrize("overwritten", [False, True])
@pytest.mark.parametrize("lends", [False, True])
def test_a_picked_future_is_that_of_its_noise(lends: bool, overwritten: bool) -> None:
    many = Imagination(lends)
    graphs: dict[str, Any] = {"video_dit_4": many, "pick": Pick(many), "video_dit_1": Imagination(lends=False)}
    manifest = Manifest(0, "stub", "fp32", "", "", 20, "", SHAPE, {}, {}, {})
    engine = CompiledEngine(manifest, graphs, SMALL, WordEncoder())
    scene = CompiledScene({"action_memory_0": "memory"}, {})
    futures = engine.imagine(scene, NOISE, SHAPE.video_times)
    if overwritten:
        engine.imagine(scene, NOISE + 10.0, SHAPE.video_times)
    picked = engine.pick(futures, 2)
    assert torch.equal(picked.noise, NOISE[2:3])
    assert torch.equal(picked.context["value_video_0"], 2.0 * NOISE[2:3])
    assert graphs["video_dit_1"].num_replays == int(lends and overwritten)
    assert engine.pick(picked, 0) is picked


def test_an_instruction_is_encoded_once_and_an_engine_goes_with_its_last_user() -> None:
    """At once: what Python must look for first keeps a GPU's memory until then."""
    runs: list[Any] = []
    encoder: Any = SimpleNamespace(run=lambda tensors, context: runs.append(tensors) or {"keys": tensors["mask"]})
    manifest = Manifest(0, "stub", "fp32", "", "", 20, "", SHAPE, {}, {}, {})
    engine = CompiledEngine(manifest, {"text_encoder": encoder}, SMALL, WordEncoder())
    assert engine.encode_text("lift the bowl") is engine.encode_text("lift the bowl")
    assert len(runs) == 1
    gone = weakref.ref(engine)
    gc.disable()
    try:
        del engine
        assert gone() is None
    finally:
        gc.enable()
