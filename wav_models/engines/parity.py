"""Two engines compared: per graph, as they are called in a plan, and over whole plans; with the time each takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from wav_models.data.normalization import Normalization
from wav_models.engines.base import Engine
from wav_models.engines.compiled_engine import CompiledFutures, CompiledScene
from wav_models.engines.observed_trajectories import ObservedTrajectories, make_state_token
from wav_models.engines.onnx.network_calls import flat
from wav_models.engines.torch_engine import TorchFutures, TorchScene
from wav_models.guidance import Guidance
from wav_models.networks.video_dit import MemoryPrefix, TextContext
from wav_models.planner.config import PlannerConfig
from wav_models.planner.latent_plan import LatentPlan
from wav_models.planner.latent_planner import plan
from wav_models.planner.scoring import select_elites

GREY_LEVELS: Final = 1500.0
"""What images are divided by: a pixel rounded to the next grey level counts as equal, one two levels away does not."""
NUM_SEEDS: Final = 3

GraphCall = Callable[[int], Any]
"""One call into an engine; the argument varies what the engine would otherwise look up."""


@dataclass(frozen=True)
class Tolerance:
    """What counts as equal to torch in float32.

    Attributes:
        max_error: of a graph's output, relative to its largest number (at least to 1).
        min_cosine: of the angle between a graph's output and the reference.
        chunk_error: of a plan's action tokens [standard deviations].
        same_elites: whether every round must choose the same futures and value samples.
    """

    max_error: float
    min_cosine: float
    chunk_error: float
    same_elites: bool = False


TOLERANCES: Final = {
    "fp32": Tolerance(1e-3, 0.9999, 1e-3, same_elites=True),
    "fp16": Tolerance(2e-2, 0.999, 0.1),
    "bf16": Tolerance(1e-1, 0.999, 0.3),
    "int8": Tolerance(1e-1, 0.999, 0.3),
}
"""Per precision. Where arithmetic is coarser, two futures of nearly the same score may change places among the elites;
what must hold then is the action they lead to."""


@dataclass(frozen=True)
class Agreement:
    """How an output differs from the reference.

    Attributes:
        max_error: largest difference, divided by the largest reference number where that exceeds 1.
        cosine: of the angle between both.
    """

    max_error: float
    cosine: float

    def within(self, tolerance: Tolerance) -> bool:
        return self.max_error <= tolerance.max_error and self.cosine >= tolerance.min_cosine


@dataclass(frozen=True)
class PlanAgreement:
    """Plans of the same seeds by two engines.

    Attributes:
        elites: fraction of the reference's elites, of futures and of value samples, that the other chose as well.
        chunk_error: largest difference of the action tokens [standard deviations].
    """

    elites: float
    chunk_error: float

    def within(self, tolerance: Tolerance) -> bool:
        return (self.elites == 1.0 or not tolerance.same_elites) and self.chunk_error <= tolerance.chunk_error


@dataclass(frozen=True)
class Trial:
    """Inputs for every graph of an engine, drawn from a seed."""

    planner: PlannerConfig
    normalization: Normalization
    images: np.ndarray
    state_token: Tensor
    video_noise: Tensor
    value_noise: Tensor
    action_noise: Tensor

    @classmethod
    def draw(cls, engine: Engine, normalization: Normalization, planner: PlannerConfig) -> Trial:
        config, rng = engine.config, np.random.default_rng(0)
        shape = (config.num_views, config.num_memory_frames, *config.latent.image_size, 3)
        state = make_state_token(normalization, rng.normal(size=config.embodiment.state_dim))
        generator = torch.Generator().manual_seed(0)
        pairs = (planner.num_video_samples, planner.num_value_samples)
        return cls(
            planner,
            normalization,
            rng.integers(0, 256, shape, dtype=np.uint8),
            state,
            torch.randn(planner.num_video_samples, *config.future_shape, generator=generator),
            torch.randn(*pairs, *config.value_shape, generator=generator),
            torch.randn(*config.action_shape, generator=generator),
        )


def graph_calls(engine: Engine, trial: Trial) -> dict[str, GraphCall]:
    """Every graph as a plan calls it; those that run at several batch sizes once for each."""
    planner = trial.planner
    text = engine.encode_text("put the bowl on the plate")
    latents = engine.encode_images(trial.images)
    scene = engine.observe(latents, text, planner.share_first_step)
    many = engine.imagine(scene, trial.video_noise, planner.video_times)
    one = engine.imagine(scene, trial.video_noise[:1], planner.video_times)
    value_noise = trial.value_noise[0, 0]
    steps = (planner.num_value_steps, planner.num_action_steps)
    return {
        "text_encoder": lambda i: engine.encode_text(f"put bowl {i} on the plate"),
        "vae_encoder": lambda i: engine.encode_images(trial.images[:, :1] ^ np.uint8(i)),
        "memory_prefix": lambda _: engine.observe(latents, text, planner.share_first_step),
        "video_dit": lambda _: engine.imagine(scene, trial.video_noise, planner.video_times),
        "video_dit of 1": lambda _: engine.imagine(scene, trial.video_noise[:1], planner.video_times),
        "value_dit": lambda _: engine.evaluate(many, trial.value_noise, planner.num_value_steps),
        "action_dit": lambda _: engine.act(one, trial.state_token, value_noise, trial.action_noise, *steps),
        "action_dit guided": lambda _: engine.act(
            one, trial.state_token, value_noise, trial.action_noise, *steps, _half_known(trial.action_noise)
        ),
        "video_velocity": lambda _: engine.denoise(scene, trial.video_noise[:1], 2),
        "vae_decoder": lambda _: engine.decode_images(trial.video_noise[:1]),
    }


def _half_known(action_noise: Tensor) -> Guidance:
    """The first quarter of a chunk is known, the second less and less surely."""
    horizon = len(action_noise)
    weight = (2.0 - 4.0 * torch.arange(horizon) / horizon).clamp(0.0, 1.0)
    return Guidance(action_noise.flip(0), weight[:, None].expand_as(action_noise))


def compare_graphs(reference: Engine, engine: Engine, trial: Trial) -> dict[str, Agreement]:
    """Outputs of every graph against those of the reference. Images count in `GREY_LEVELS`."""
    expected, found = graph_calls(reference, trial), graph_calls(engine, trial)
    return {name: agreement(_numbers(run(0)), _numbers(found[name](0))) for name, run in expected.items()}


def agreement(expected: Tensor, found: Tensor) -> Agreement:
    scale = max(1.0, float(expected.abs().max()))
    error = float((expected - found).abs().max()) / scale
    cosine = float(torch.cosine_similarity(expected.double(), found.double(), dim=0))
    return Agreement(error, cosine)


def compare_plans(reference: Engine, engine: Engine, trial: Trial) -> PlanAgreement:
    """Whole plans of several seeds."""
    kept: list[float] = []
    error = 0.0
    for seed in range(NUM_SEEDS):
        expected, found = (make_plan(e, trial, seed) for e in (reference, engine))
        for a, b in zip(expected.rounds, found.rounds, strict=True):
            ours, theirs = (_elites(r.video_score, r.pair_score, trial.planner) for r in (a, b))
            kept.append(len(ours & theirs) / len(ours))
        error = max(error, float((expected.actions - found.actions).abs().max()))
    return PlanAgreement(sum(kept) / len(kept) if kept else 1.0, error)


def make_plan(engine: Engine, trial: Trial, seed: int) -> LatentPlan:
    """From images to action tokens."""
    latents, text = engine.encode_images(trial.images), engine.encode_text("put the bowl on the plate")
    scene = engine.observe(latents, text, trial.planner.share_first_step)
    model = ObservedTrajectories(engine, scene, trial.state_token, trial.normalization, trial.planner)
    return plan(model, trial.planner, seed)


def measure(
    engines: Sequence[Engine],
    trial: Trial,
    repeats: int,
    names: Sequence[str] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[dict[str, float]]:
    """Shortest time per graph, and of a "plan" [s], for every engine; they take turns, so that load hits all alike.

    Args:
        engines: compared ones.
        trial: what they work on.
        repeats: calls that count, after one that does not.
        names: graphs to measure; None = all, and the plan.
        clock: of the wall, or of the process where the machine is busy with something else and one thread computes.
    """
    calls: list[dict[str, GraphCall]] = [
        {**graph_calls(engine, trial), "plan": partial(make_plan, engine, trial)} for engine in engines
    ]
    times: list[dict[str, float]] = [{} for _ in engines]
    for name in names or calls[0]:
        for its_calls in calls:
            its_calls[name](0)
        for i in range(1, repeats + 1):
            for its_calls, its_times in zip(calls, times, strict=True):
                its_times[name] = min(its_times.get(name, float("inf")), _seconds(its_calls[name], i, clock))
    return times


def _seconds(run: GraphCall, i: int, clock: Callable[[], float]) -> float:
    began = clock()
    run(i)
    return clock() - began


def _elites(video_score: np.ndarray, pair_score: np.ndarray, planner: PlannerConfig) -> set[tuple[str, int]]:
    video = select_elites(torch.from_numpy(video_score), planner.num_video_elites)
    value = select_elites(torch.from_numpy(pair_score), planner.num_value_elites)
    return {("video", i) for i in video.tolist()} | {("value", i) for i in value.tolist()}


def _numbers(output: Any) -> Tensor:
    """All numbers of an answer or handle, in one order for all engines."""
    if isinstance(output, np.ndarray):
        return torch.from_numpy(output).flatten().float() / GREY_LEVELS
    return torch.cat([torch.ones(1), *(x.flatten().float().cpu() for x in _tensors(output))])


def _tensors(output: Any) -> list[Tensor]:
    """The parts of a handle; not the bias of a text, next to which every key would look equal."""
    if isinstance(output, TextContext):
        return list(flat(output.keys_values))
    if isinstance(output, TorchScene):
        mean = [] if output.mean is None else [output.mean]
        if not isinstance(output.memory, MemoryPrefix):
            return mean
        parts = (output.memory.keys_values, output.value_memory or (), output.action_memory or ())
        return [*(x for part in parts for x in flat(part)), *mean]
    if isinstance(output, TorchFutures):
        return list(flat(output.value_context.video))
    if isinstance(output, CompiledScene):
        return _named(output.context, lambda name: not name.startswith("text_"))
    if isinstance(output, CompiledFutures):
        return _named(output.context, lambda name: name.startswith("value_video_"))
    if isinstance(output, dict):
        return _named(output, lambda name: name != "text_bias")
    return list(output) if isinstance(output, tuple) else [output]


def _named(values: Mapping[str, Any], wanted: Callable[[str], bool]) -> list[Tensor]:
    """The values of a runtime whose names are wanted, as tensors."""
    chosen = [value for name, value in values.items() if wanted(name)]
    return [value if isinstance(value, Tensor) else torch.from_numpy(value.numpy()) for value in chosen]
