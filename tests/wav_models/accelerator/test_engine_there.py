"""The torch engine on an accelerator: nothing is on the wrong device, and no more is launched than must be."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.wav_models.accelerator.fake_accelerator import (
    DEVICE,
    Launches,
    Memory,
    Silent,
    fake_accelerator,
    fake_model,
)
from tests.wav_models.engines.test_torch_engine import SMALL, WordEncoder, random_model
from wav_models.bench.subject import elites_in_common, identity_normalization
from wav_models.checkpoint import load_checkpoint
from wav_models.engines.base import EngineError, EngineOptions
from wav_models.engines.observed_trajectories import ObservedTrajectories
from wav_models.engines.select import loaded_format, make_engine
from wav_models.engines.torch_engine import TorchEngine, TorchFutures
from wav_models.engines.weights import copied, with_weights_in
from wav_models.guidance import JACOBIANS, Guidance, _unchecked
from wav_models.networks.fp8 import Fp8Linear, quantize_linears
from wav_models.networks.wav_model import WAVModel, blocks_of, compile_blocks
from wav_models.planner import latent_planner
from wav_models.planner.config import PlannerConfig
from wav_models.planner.latent_planner import plan
from wav_models.planner.timing import Deadline
from wav_models.presets import WAV_2B, ModelConfig
from wav_models.types import PlanRound

NUM_FUTURES, NUM_DRAWS = 30, 5
MOST_LAUNCHES = {"imagine": 109, "evaluate": 455}
"""Of two layers; with norms as a CPU computes them 189 and 785."""
MOST_OF_A_PLAN = {False: 3026, True: 169}
"""Of two layers, eager and beside the replays; with norms as a CPU computes them 5094."""
MOST_BESIDE_REPLAY = 53
"""Launches of a round of the planner's own, and to fill buffers."""


def wav_2b(causal: bool) -> ModelConfig:
    """Of full width, with the two kinds of video block."""
    return replace(WAV_2B, video=replace(WAV_2B.video, num_layers=2, causal_memory=causal))


class NoImages:
    def encode_memory(self, images: Tensor) -> Tensor:
        raise NotImplementedError

    encode_future = decode_future = encode_memory


def engine_of(config: ModelConfig, dtype: str, recorder: Silent | None = None) -> TorchEngine:
    words = torch.randn(1, config.text.max_tokens, config.video.caption_channels)
    mask = torch.ones(1, config.text.max_tokens, dtype=torch.bool)
    parts = fake_model(config).eval(), NoImages(), lambda _: (words, mask)
    engine = TorchEngine(*parts, dtype=dtype, recorder=recorder)
    engine._padded_text = True  # nothing fake can be counted
    return engine


def observed(engine: TorchEngine) -> Any:
    config = engine.config
    shape = (config.video.max_view, config.num_memory_frames, config.num_tokens_per_frame, config.video.in_channels)
    return engine.observe(torch.randn(1, *shape), engine.encode_text("x"))


def video_noise(config: ModelConfig, count: int) -> Tensor:
    frames = config.video.max_view, config.num_future_frames, config.num_tokens_per_frame
    return torch.randn(count, *frames, config.video.in_channels)


def value_noise(config: ModelConfig, *leading: int) -> Tensor:
    return torch.randn(*leading, config.horizon.value_horizon, config.value.in_channels)


@pytest.mark.parametrize(("causal", "dtype"), [(True, "bf16"), (False, "bf16"), (True, "fp32"), (True, "fp8")])
def test_every_call_of_a_plan_stays_there(causal: bool, dtype: str) -> None:
    config = wav_2b(causal)
    with fake_accelerator():
        engine = engine_of(config, dtype)
        scene = observed(engine)
        futures = engine.imagine(scene, video_noise(config, NUM_FUTURES), (0.0,))
        values = engine.evaluate(futures, value_noise(config, NUM_FUTURES, NUM_DRAWS), 2)
        assert values.shape == (NUM_FUTURES, NUM_DRAWS, config.horizon.value_horizon, config.value.in_channels)
        chunk = torch.randn(config.horizon.action_horizon, config.action.in_channels)
        jacobians = ("unit",) if dtype == "fp8" else JACOBIANS
        guidances = [_unchecked((chunk, chunk), jacobian) for jacobian in jacobians]  # nothing fake can be checked
        for future in (engine.pick(futures, 1), engine.imagine(scene, video_noise(config, 1), (0.0, 0.5))):
            for guidance in (None, *guidances):
                acted = engine.act(future, torch.randn(1, 1, 28), value_noise(config), chunk, 2, 2, guidance)
                assert acted[1].shape == chunk.shape
                assert acted[1].device.type == "cpu"
        assert engine.denoise(scene, video_noise(config, 1), 2).device.type == "cpu"


def counted_plan(planner: PlannerConfig, recorded: bool, monkeypatch: pytest.MonkeyPatch) -> tuple[Launches, int]:
    """What a plan of two layers launches, and how many recordings it replays."""
    for check in ("_require_finite", "_require_finite_decision"):  # nothing fake can be checked
        monkeypatch.setattr(latent_planner, check, lambda *_: None)
    report = PlanRound(*(np.zeros(1) for _ in range(3)), seconds=0.0)
    monkeypatch.setattr(latent_planner, "_round_report", lambda *_: report)
    config, recorder = wav_2b(True), Silent() if recorded else None
    with fake_accelerator():
        engine = engine_of(config, "bf16", recorder)
        scene = observed(engine)
        state = torch.randn(1, 1, config.action.in_channels)
        model = ObservedTrajectories(engine, scene, state, identity_normalization(config), planner)
        if recorder is not None:
            plan(model, planner, 0)  # records
            recorder.replays = 0
        with Launches() as launched:
            found = plan(model, planner, 0, deadline=Deadline(1e6))
    assert found.video_noise.device.type == found.state.video.mean.device.type == "cpu"
    return launched, 0 if recorder is None else recorder.replays


@pytest.mark.parametrize(
    ("selection", "score", "recorded"), [("sample", "snr", False), ("sample", "gain", False), ("mean", "snr", True)]
)
def test_a_round_waits_for_the_accelerator_once(
    selection: str, score: str, recorded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Noise, scores, refit and elites stay there: a round sends one tensor and fetches one. Recorded, all its network
    passes are one replay, and so is the action with the future that it is for."""
    num_rounds, counted, replays = 3, [], []
    for rounds in (1, 1 + num_rounds):
        planner = PlannerConfig(rounds, score=score, selection=selection, num_value_steps=2, num_action_steps=2)
        launched, replayed = counted_plan(planner, recorded, monkeypatch)
        counted.append(launched)
        replays.append(replayed)
    once, more = counted
    for direction in ("to host", "to accelerator"):
        assert more.copies[direction] - once.copies[direction] == num_rounds
    assert more.waited == once.waited
    assert replays == ([2, 2 + num_rounds] if recorded else [0, 0])
    if recorded:
        assert (more.total - once.total) / num_rounds <= MOST_BESIDE_REPLAY


@pytest.mark.parametrize("recorded", [False, True])
def test_a_plan_launches_no_more_than_it_does(recorded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three rounds, with five steps of each expert."""
    planner = PlannerConfig(3, NUM_FUTURES, NUM_DRAWS, selection="sample", num_value_steps=5, num_action_steps=5)
    launched, _ = counted_plan(planner, recorded, monkeypatch)
    assert launched.total <= MOST_OF_A_PLAN[recorded]


def test_text_without_padding_gives_the_same_numbers() -> None:
    """As encoded on an accelerator: no padding, so that no mask shuts out the fastest attention."""
    model, found = random_model(SMALL), []
    for padded in (True, False):
        engine = TorchEngine(model, NoImages(), WordEncoder())
        engine._padded_text = padded
        text = engine.encode_text("lift the bowl")
        assert (text.bias is None) != padded
        scene = engine.observe(torch.ones(1, 3, 2, 16, 32), text)
        noise = torch.randn(2, 3, 2, 16, 32, generator=torch.Generator().manual_seed(0))
        futures = engine.imagine(scene, noise, (0.0,))
        assert isinstance(futures, TorchFutures)
        found.append(futures.features.future[-1])
    torch.testing.assert_close(found[1], found[0], atol=1e-5, rtol=1e-5)


def test_a_norm_is_one_kernel_there() -> None:
    """Eager launches of imagining and judging, whose number does not depend on M and N."""
    config = wav_2b(True)
    with fake_accelerator():
        engine = engine_of(config, "bf16")
        scene = observed(engine)
        with Launches() as imagining:
            futures = engine.imagine(scene, video_noise(config, 4), (0.0,))
        with Launches() as judging:
            engine.evaluate(futures, value_noise(config, 4, 2), 5)
    assert imagining.kernels["rms_norm"] == 2 * 6  # a layer: five of a video block, one of the value expert's keys
    assert "linalg_vector_norm" not in imagining.kernels
    assert imagining.total <= MOST_LAUNCHES["imagine"]
    assert judging.total <= MOST_LAUNCHES["evaluate"]


@pytest.mark.parametrize(
    ("engine", "dtype", "device", "expected"),
    [
        ("torch", "bf16", "cuda", torch.bfloat16),
        ("auto", "fp8", "cuda", torch.bfloat16),
        ("torch", "fp32", "cuda", torch.float32),
        ("onnxruntime", "bf16", "cuda", torch.float32),
        ("torch", "bf16", "cpu", torch.float32),
    ],
)
def test_weights_are_loaded_in_what_they_run_in(engine: str, dtype: str, device: str, expected: torch.dtype) -> None:
    assert loaded_format(engine, dtype, device) == expected


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_loading_takes_no_more_memory_there_than_what_stays(dtype: str, repository: Path) -> None:
    """Once its weights in their format, and tables; no copy of them on the way."""
    weights = loaded_format("torch", dtype, "cuda")
    with Memory() as memory:
        checkpoint = load_checkpoint(repository / "checkpoints/wav-tiny", DEVICE, dtype=weights)
        engine = make_engine("torch", checkpoint, options=EngineOptions(dtype=dtype))
        networks = checkpoint.model, checkpoint.autoencoder
        needed = sum(x.nbytes for n in networks for x in (*n.parameters(), *n.buffers()))
        assert memory.held == needed
    assert engine.precision == dtype
    assert {p.dtype for p in checkpoint.model.parameters()} == {weights}
    assert memory.peak <= 1.01 * needed


def test_an_engine_keeps_no_second_copy_of_weights_in_its_format() -> None:
    """Neither of a model in that format nor, compiled, of any; rotary tables stay in float32."""
    model = with_weights_in(random_model(SMALL), torch.bfloat16)
    assert TorchEngine(model, NoImages(), WordEncoder(), dtype="bf16")._model is model
    shared = copied(model, lambda weight: weight)
    for one, other in zip(shared.parameters(), model.parameters(), strict=True):
        assert one.data_ptr() == other.data_ptr()
    assert shared is not model
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert {b.dtype for b in model.buffers()} == {torch.float32}


def test_fp8_keeps_the_elites_of_a_plan() -> None:
    """As imitated on a CPU, against float32; weights of linear layers take a byte."""
    model = random_model(SMALL)
    exact, coarse = (TorchEngine(model, NoImages(), WordEncoder(), dtype=dtype) for dtype in ("fp32", "fp8"))
    planner = PlannerConfig(num_iterations=1, num_video_samples=6, num_value_samples=2, num_video_elites=4)
    plans = []
    for engine in (exact, coarse):
        scene = engine.observe(torch.ones(1, 3, 2, 16, 32), engine.encode_text("lift the bowl"))
        view = ObservedTrajectories(engine, scene, torch.zeros(1, 1, 28), identity_normalization(SMALL), planner)
        plans.append(plan(view, planner, 0))
    scores = [found.rounds[0].video_score for found in plans]
    assert elites_in_common(scores[1], scores[0], planner.num_video_elites) >= 0.75
    difference = (plans[1].actions - plans[0].actions).norm() / plans[0].actions.norm()
    assert 0.0 < difference < 0.2
    assert coarse._model.video.transformer_blocks[0].ff.proj_in.weight.element_size() == 1


def test_fp8_products_are_laid_out_as_a_gpu_wants_them() -> None:
    """As torch's own checks for a GPU say, which hold for tensors without numbers too: rows times columns, sizes, a
    scale for each of both."""
    with torch.device("meta"):
        model = WAVModel(wav_2b(True)).to(torch.bfloat16)
    for block in blocks_of(model):
        quantize_linears(block)
    layers = [module for module in model.modules() if isinstance(module, Fp8Linear)]
    with Launches() as launched:
        for layer in layers:
            fan_out, fan_in = layer.weight.shape
            output = layer(torch.empty(2, 7, fan_in, dtype=torch.bfloat16, device=DEVICE))
            assert (tuple(output.shape), output.dtype) == ((2, 7, fan_out), torch.bfloat16)
    assert launched.kernels["_scaled_mm"] == len(layers) > 0
    assert not any(isinstance(module, nn.Linear) for block in blocks_of(model) for module in block.modules())


def test_fp8_refuses_what_needs_a_backward_pass() -> None:
    engine = TorchEngine(random_model(SMALL), NoImages(), WordEncoder(), dtype="fp8")
    scene = engine.observe(torch.ones(1, 3, 2, 16, 32), engine.encode_text("lift the bowl"))
    future = engine.imagine(scene, torch.ones(1, 3, 2, 16, 32), (0.0,))
    chunk = torch.ones(16, 28)
    with pytest.raises(EngineError, match="'network' needs a backward pass, fp8 has none; use 'unit'"):
        engine.act(future, torch.zeros(1, 1, 28), torch.ones(16, 17), chunk, 2, 2, Guidance(chunk, chunk, "network"))


def call_in_every_form(engine: TorchEngine) -> None:
    """As plans do, of M futures and of one."""
    scene = engine.observe(torch.ones(1, 3, 2, 16, 32), engine.encode_text("lift the bowl"))
    for _ in range(2):
        futures = engine.imagine(scene, torch.ones(4, 3, 2, 16, 32), (0.0,))
        engine.evaluate(futures, torch.ones(4, 2, 16, 17), 3)
    one = engine.imagine(scene, torch.ones(1, 3, 2, 16, 32), (0.0,))
    engine.act(one, torch.zeros(1, 1, 28), torch.ones(16, 17), torch.ones(16, 28), 3, 3)


def test_a_kind_of_block_is_one_graph_whatever_the_number_of_layers() -> None:
    """Two kinds of video block over memory, M futures and one; the value expert's over M and one; the action one's."""
    config = replace(SMALL, video=replace(SMALL.video, num_layers=5))
    engine, graphs = TorchEngine(random_model(config), NoImages(), WordEncoder()), []

    def note(graph: Any, inputs: list[Tensor]) -> Any:
        graphs.append(len(inputs))
        return graph.forward

    torch._dynamo.reset()
    compile_blocks(engine._model, dynamic=False, backend=note, fullgraph=True)
    call_in_every_form(engine)
    assert len(graphs) == 2 * 3 + 2 + 1
    torch._dynamo.reset()


def test_blocks_of_a_second_model_are_compiled_too() -> None:
    """Full memory, then causal memory, in the thread that plans: 4 and 6 forms of a video block, more than the 8 that
    torch compiles unless it is told otherwise; the experts' are the same."""
    graphs: list[int] = []

    def note(graph: Any, inputs: list[Tensor]) -> Any:
        graphs.append(len(inputs))
        return graph.forward

    torch._dynamo.reset()
    for causal in (False, True):
        config = replace(SMALL, video=replace(SMALL.video, causal_memory=causal, num_layers=5))
        engine = TorchEngine(random_model(config), NoImages(), WordEncoder())
        compile_blocks(engine._model, dynamic=False, backend=note, fullgraph=True)
        with ThreadPoolExecutor(1) as planning:
            planning.submit(call_in_every_form, engine).result()
    assert len(graphs) == 4 + 3 + 6
    torch._dynamo.reset()
