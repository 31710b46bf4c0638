"""The torch engine against plain calls of the networks: no cache changes a number, every score meets its future."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from wav_models.engines.base import EngineError
from wav_models.engines.torch_engine import TorchEngine
from wav_models.flow import equal_times, euler
from wav_models.guidance import JACOBIANS, Guidance, guided
from wav_models.networks.autoencoder import make_autoencoder
from wav_models.networks.wav_model import WAVModel
from wav_models.presets import WAV_TINY, ModelConfig

TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}
SMALL = replace(
    WAV_TINY,
    video=replace(WAV_TINY.video, num_layers=3, num_attention_heads=2, attention_head_dim=32, cross_attention_dim=64),
    value=replace(WAV_TINY.value, num_attention_heads=2, attention_head_dim=16),
    action=replace(WAV_TINY.action, num_attention_heads=2, attention_head_dim=16),
)


class WordEncoder:
    """Text embeddings drawn from the words' own seed; counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, instructions: list[str]) -> tuple[Tensor, Tensor]:
        self.calls += 1
        (instruction,) = instructions
        seeds = [sum(map(ord, word)) for word in instruction.split()]
        words = [torch.randn(384, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        padded = torch.stack([*words, torch.full((384,), 100.0)])[None]
        mask = torch.ones(1, len(words) + 1, dtype=torch.bool)
        mask[0, -1] = False
        return padded, mask


def random_model(config: ModelConfig) -> WAVModel:
    """A model whose every output depends on every input."""
    model = WAVModel(config)
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data = noise * (0.6 / max(parameter.shape[-1], 1) ** 0.5 if parameter.ndim > 1 else 0.1)
    return model.eval()


@pytest.fixture(scope="module", params=[True, False], ids=["causal", "bidirectional"])
def engine(request: pytest.FixtureRequest) -> TorchEngine:
    config = replace(SMALL, video=replace(SMALL.video, causal_memory=request.param))
    return TorchEngine(random_model(config), make_autoencoder(config), WordEncoder())


@pytest.fixture
def draws() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(11)
    shapes = {
        "memory": (1, 3, 2, 16, 32),
        "video": (4, 3, 2, 16, 32),
        "value": (4, 3, 16, 17),
        "action": (16, 28),
        "state": (1, 1, 28),
    }
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def passes(count: int) -> tuple[float, ...]:
    """Flow times of `count` passes with equal steps between them."""
    return equal_times(count)[:-1]


def scene_of(engine: TorchEngine, draws: dict[str, Tensor]) -> Any:
    return engine.observe(draws["memory"], engine.encode_text("lift the bowl"))


class Uncached:
    """The same answers for one future and one value sample at a time, nothing kept between calls."""

    def __init__(self, engine: TorchEngine, draws: dict[str, Tensor]) -> None:
        self.model = engine._model
        self.memory = draws["memory"]

    @torch.no_grad()
    def features(self, noise: Tensor, num_steps: int) -> Any:
        x_t = noise[None]
        for i in range(num_steps):
            text = self.model.video.encode_text(*WordEncoder()(["lift the bowl"]))
            output = self.model.video(x_t, torch.tensor([i / num_steps]), text, self.memory)
            x_t = x_t + output.velocity / num_steps
        return output.features

    @torch.no_grad()
    def values(self, features: Any, noise: Tensor, num_steps: int) -> tuple[Tensor, Any]:
        x_t = noise[None, None]
        for i in range(num_steps):
            output = self.model.value(x_t, torch.tensor([[i / num_steps]]), self.model.value.context(features))
            x_t = x_t + output.velocity / num_steps
        return x_t[0, 0], tuple(x[:, 0] for x in output.features)

    @torch.no_grad()
    def actions(
        self,
        features: Any,
        value_features: Any,
        noise: Tensor,
        state: Tensor,
        num_steps: int,
        guidance: Guidance | None = None,
    ) -> Tensor:
        def velocity(x_t: Tensor, t: float) -> Tensor:
            context = self.model.action.context(features, value_features)
            return self.model.action(x_t, torch.tensor([[t]]), state, context).velocity

        steered = velocity if guidance is None else guided(velocity, guidance)
        return euler(steered, noise[None, None], num_steps)[0, 0]


@pytest.mark.parametrize("num_steps", [1, 3])
def test_values_of_a_batch_equal_those_of_every_pair_alone(
    engine: TorchEngine, draws: dict[str, Tensor], num_steps: int
) -> None:
    """Cached and batched over M and N, against one future and one sample at a time."""
    futures = engine.imagine(scene_of(engine, draws), draws["video"], passes(num_steps))
    values = engine.evaluate(futures, draws["value"], 4)
    uncached = Uncached(engine, draws)
    for m in range(4):
        features = uncached.features(draws["video"][m], num_steps)
        for n in range(3):
            expected, _ = uncached.values(features, draws["value"][m, n], 4)
            torch.testing.assert_close(values[m, n], expected, **TOLERANCE)
    assert (values[0] - values[1]).abs().max() > 0.01


def test_action_equals_the_uncached_one(engine: TorchEngine, draws: dict[str, Tensor]) -> None:
    future = engine.imagine(scene_of(engine, draws), draws["video"][:1], passes(2))
    values, actions = engine.act(future, draws["state"], draws["value"][0, 0], draws["action"], 4, 5)
    uncached = Uncached(engine, draws)
    features = uncached.features(draws["video"][0], 2)
    expected_values, value_features = uncached.values(features, draws["value"][0, 0], 4)
    expected = uncached.actions(features, value_features, draws["action"], draws["state"], 5)
    torch.testing.assert_close(values, expected_values, **TOLERANCE)
    torch.testing.assert_close(actions, expected, **TOLERANCE)
    other = engine.act(future, draws["state"], draws["value"][0, 1], draws["action"], 4, 5)[1]
    assert (other - actions).abs().max() > 1e-3  # the value features reach the action


@pytest.mark.parametrize("at_once", [1, 3, 4])
def test_a_picked_future_acts_as_if_imagined_alone(
    engine: TorchEngine, draws: dict[str, Tensor], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the four futures were imagined in parts."""
    monkeypatch.setattr(engine, "_futures_at_once", at_once)
    scene = scene_of(engine, draws)
    picked = engine.pick(engine.imagine(scene, draws["video"], passes(2)), 1)
    found, expected = (
        engine.act(future, draws["state"], draws["value"][0, 0], draws["action"], 4, 5)
        for future in (picked, engine.imagine(scene, draws["video"][1:2], passes(2)))
    )
    torch.testing.assert_close(found, expected, **TOLERANCE)
    assert picked.features.future[0].untyped_storage().nbytes() == picked.features.future[0].nbytes


@pytest.mark.parametrize("jacobian", JACOBIANS)
def test_guided_action_equals_the_uncached_guided_flow(
    engine: TorchEngine, draws: dict[str, Tensor], jacobian: str
) -> None:
    """Also from within the planner's inference mode, where autograd is refused by default."""
    future = engine.imagine(scene_of(engine, draws), draws["video"][:1], passes(1))
    weight = torch.zeros(16, 28)
    weight[:6, :14] = torch.linspace(1.0, 0.1, 6)[:, None]
    guidance = Guidance(draws["action"].flip(0), weight, jacobian)
    value_noise = draws["value"][0, 0]
    with torch.inference_mode():
        _, actions = engine.act(future, draws["state"], value_noise, draws["action"], 2, 4, guidance)
    uncached = Uncached(engine, draws)
    features = uncached.features(draws["video"][0], 1)
    _, value_features = uncached.values(features, value_noise, 2)
    expected = uncached.actions(features, value_features, draws["action"], draws["state"], 4, guidance)
    torch.testing.assert_close(actions, expected, **TOLERANCE)
    unguided = uncached.actions(features, value_features, draws["action"], draws["state"], 4)
    assert (actions - unguided)[:6, :14].abs().max() > 0.1
    nothing = Guidance(guidance.target, torch.zeros_like(weight), jacobian)
    _, free = engine.act(future, draws["state"], value_noise, draws["action"], 2, 4, nothing)
    torch.testing.assert_close(free, unguided, **TOLERANCE)


def test_given_actions_stay_and_the_rest_is_denoised_beside_them(engine: TorchEngine, draws: dict[str, Tensor]) -> None:
    """Rows known altogether, as many as the network was trained to be given; no guidance of the others."""
    config = replace(engine.config, horizon=replace(engine.config.horizon, given_steps=3))
    giving = TorchEngine(random_model(config), make_autoencoder(config), WordEncoder())
    future = giving.imagine(scene_of(giving, draws), draws["video"][:1], passes(1))
    weight = torch.zeros(16, 28)
    weight[:5, :14] = torch.tensor([1.0, 1.0, 0.9, 1.0, 1.0])[:, None]
    guidance = Guidance(draws["action"].flip(0), weight)
    value_noise = draws["value"][0, 0]
    _, actions = giving.act(future, draws["state"], value_noise, draws["action"], 2, 4, guidance)
    assert torch.equal(actions[:2, :14], guidance.target[:2, :14])
    assert not actions[:2, 14:].any()

    network, given = giving._model.action, torch.arange(16) < 2
    uncached = Uncached(giving, draws)
    features = uncached.features(draws["video"][0], 1)
    _, value_features = uncached.values(features, value_noise, 2)
    x_t = torch.where(given[:, None], guidance.target * (weight == 1.0), draws["action"])[None, None]
    with torch.no_grad():
        context = network.context(features, value_features)
        for i in range(4):
            time = torch.tensor([[i / 4]])
            velocity = network(x_t, time, draws["state"], context, given[None, None]).velocity
            assert not velocity[:, :, :2].any()
            x_t = x_t + velocity / 4
    torch.testing.assert_close(actions, x_t[0, 0], **TOLERANCE)
    _, free = giving.act(future, draws["state"], value_noise, draws["action"], 2, 4)
    assert (actions - free)[2:].abs().max() > 1e-3  # what is given reaches the rest


def test_more_steps_read_features_of_a_denoised_future(engine: TorchEngine, draws: dict[str, Tensor]) -> None:
    """S passes: the last one starts where S - 1 Euler steps of length 1 / S end."""
    scene, noise = scene_of(engine, draws), draws["video"][:1]
    with torch.inference_mode():
        half = noise + 0.5 * engine._model.video(noise, torch.zeros(1), scene.text, scene.memory).velocity
        expected = engine._model.video(half, torch.tensor([0.5]), scene.text, scene.memory).features
    features = engine.imagine(scene, noise, passes(2)).features
    torch.testing.assert_close(features.future[-1], expected.future[-1], **TOLERANCE)


def test_unequal_steps_lead_from_pass_to_pass(engine: TorchEngine, draws: dict[str, Tensor]) -> None:
    scene, noise = scene_of(engine, draws), draws["video"]
    with torch.inference_mode():
        x_t = noise + 0.25 * engine._model.video(noise, torch.zeros(1), scene.text, scene.memory).velocity
        x_t = x_t + 0.5 * engine._model.video(x_t, torch.tensor([0.25]), scene.text, scene.memory).velocity
        expected = engine._model.video(x_t, torch.tensor([0.75]), scene.text, scene.memory).features
    features = engine.imagine(scene, noise, (0.0, 0.25, 0.75)).features
    torch.testing.assert_close(features.future[-1], expected.future[-1], **TOLERANCE)


def test_a_shared_first_step_leads_every_future_to_one_mean(engine: TorchEngine, draws: dict[str, Tensor]) -> None:
    scene = engine.observe(draws["memory"], engine.encode_text("lift the bowl"), share_first_step=True)
    noise, video = draws["video"], engine._model.video
    with torch.inference_mode():
        mean = video(torch.zeros_like(noise[:1]), torch.zeros(1), scene.text, scene.memory).velocity
        x_t = 0.75 * noise + 0.25 * mean
        once = video(x_t, torch.tensor([0.25]), scene.text, scene.memory)
        twice = video(x_t + 0.5 * once.velocity, torch.tensor([0.75]), scene.text, scene.memory)
    assert mean.abs().max() > 0.1
    for times, expected in (((0.25,), once), ((0.25, 0.75), twice)):
        found = engine.imagine(scene, noise, times).features.future[-1]
        torch.testing.assert_close(found, expected.features.future[-1], **TOLERANCE)
    with pytest.raises(ValueError, match="no mean to lead to flow time 0.25: observe with share_first_step"):
        engine.imagine(scene_of(engine, draws), noise, (0.25,))


def test_repeated_instruction_is_looked_up(engine: TorchEngine) -> None:
    encoder = WordEncoder()
    fresh = TorchEngine(engine._model, engine._autoencoder, encoder)
    first = fresh.encode_text("lift the bowl")
    assert fresh.encode_text("lift the bowl") is first
    fresh.encode_text("drop the bowl")
    assert encoder.calls == 2


def test_frames_seen_before_are_not_encoded_again(monkeypatch: pytest.MonkeyPatch, engine: TorchEngine) -> None:
    encoded: list[int] = []
    encode = TorchEngine._encode_frame
    monkeypatch.setattr(TorchEngine, "_encode_frame", lambda *frame: encoded.append(1) or encode(*frame))
    fresh = TorchEngine(engine._model, engine._autoencoder, WordEncoder())
    frames = np.random.default_rng(0).integers(0, 255, (3, 3, 64, 64, 3), dtype=np.uint8)
    first, second = fresh.encode_images(frames[:, :2]), fresh.encode_images(frames[:, 1:])
    assert len(encoded) == 3
    assert first.shape == (1, 3, 2, 16, 32)
    assert torch.equal(first[:, :, 1], second[:, :, 0])
    with torch.inference_mode():
        expected = fresh._autoencoder.encode_memory(torch.from_numpy(frames[None, :, 1:]))
    torch.testing.assert_close(second, expected, **TOLERANCE)


def test_bfloat16_agrees_roughly_and_leaves_the_model_alone(engine: TorchEngine, draws: dict[str, Tensor]) -> None:
    half = TorchEngine(engine._model, engine._autoencoder, WordEncoder(), dtype="bf16")
    assert next(engine._model.parameters()).dtype == torch.float32
    values = [
        e.evaluate(e.imagine(scene_of(e, draws), draws["video"], passes(1)), draws["value"], 4) for e in (engine, half)
    ]
    assert values[1].dtype == torch.float32
    cosine = torch.cosine_similarity(values[0].flatten(), values[1].flatten(), dim=0)
    assert cosine > 0.999
    with pytest.raises(ValueError, match="dtype is 'fp4'; fp32, bf16, fp8 fit"):
        TorchEngine(engine._model, engine._autoencoder, WordEncoder(), dtype="fp4")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_full_memory_is_a_typed_error_with_a_remedy(
    engine: TorchEngine, draws: dict[str, Tensor], error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise error

    scene = scene_of(engine, draws)
    monkeypatch.setattr(engine._model.video, "forward", full)
    with pytest.raises(EngineError, match=r"memory is full \(.+\); use fewer video or value samples"):
        engine.imagine(scene, draws["video"], passes(1))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_networks_give_what_eager_ones_give(engine: TorchEngine, draws: dict[str, Tensor]) -> None:
    compiled = TorchEngine(engine._model, engine._autoencoder, WordEncoder(), compile=True)
    assert compiled.description == "torch fp32, compiled"
    values = [
        e.evaluate(e.imagine(scene_of(e, draws), draws["video"], passes(2)), draws["value"], 2)
        for e in (engine, compiled)
    ]
    torch.testing.assert_close(*values, atol=1e-4, rtol=1e-4)


def test_full_denoising_and_decoding_gives_frames(engine: TorchEngine, draws: dict[str, Tensor]) -> None:
    frames = engine.decode_images(engine.denoise(scene_of(engine, draws), draws["video"][:1], 3))
    assert frames.shape == (3, 2, 64, 64, 3)
    assert frames.dtype == np.uint8


def test_imagining_in_one_thread_leaves_planning_in_another_alone(
    engine: TorchEngine, draws: dict[str, Tensor]
) -> None:
    scene = scene_of(engine, draws)
    alone = engine.evaluate(engine.imagine(scene, draws["video"], passes(1)), draws["value"], 2)
    thread = threading.Thread(target=lambda: [engine.denoise(scene, draws["video"], 2) for _ in range(10)])
    thread.start()
    while thread.is_alive():
        assert torch.equal(alone, engine.evaluate(engine.imagine(scene, draws["video"], passes(1)), draws["value"], 2))
    thread.join()
