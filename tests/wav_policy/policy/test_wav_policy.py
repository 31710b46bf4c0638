"""The policy over a real checkpoint directory with random weights."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.wav_models.engines.test_replay import Rerun
from wav_models.checkpoint import CheckpointError, save_checkpoint
from wav_models.data.normalization import Normalization
from wav_models.embodiments import BIMANUAL_PIPER
from wav_models.engines.base import EngineError
from wav_models.engines.torch_engine import TorchEngine
from wav_models.guidance import Guidance
from wav_models.networks.autoencoder import make_autoencoder
from wav_models.networks.wav_model import WAVModel
from wav_models.planner import PlannerConfig, PlannerError
from wav_models.planner.timing import Deadline
from wav_models.presets import WAV_TINY
from wav_models.types import Observation
from wav_policy.policy.chunk_continuation import CommittedMotion
from wav_policy.policy.wav_policy import ImaginedFuture, WAVPolicy

QUICK = PlannerConfig(
    num_iterations=2,
    num_video_samples=3,
    num_value_samples=2,
    num_video_elites=2,
    num_value_elites=3,
    num_value_steps=2,
)


def normalization() -> Normalization:
    rng = np.random.default_rng(0)
    return Normalization.fit(
        rng.normal(size=(50, 14)),
        rng.normal(size=(50, 16, 14)),
        rng.normal(size=(50, 16, 14)),
        rng.normal(size=(50, 17)),
        BIMANUAL_PIPER,
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("policy") / "checkpoint"
    torch.manual_seed(0)
    model = WAVModel(replace(WAV_TINY, video=replace(WAV_TINY.video, num_layers=2)))
    for parameter in model.parameters():  # initial weights predict zero whatever they see
        parameter.data += 0.1 * torch.randn(parameter.shape)
    save_checkpoint(
        directory,
        model=model,
        autoencoder=make_autoencoder(WAV_TINY),
        normalization=normalization(),
        training_record={},
    )
    return directory


@pytest.fixture(scope="module")
def policy(checkpoint: Path) -> WAVPolicy:
    return WAVPolicy.load(checkpoint, planner=QUICK)


@pytest.fixture
def observation() -> Observation:
    rng = np.random.default_rng(4)
    images = rng.integers(0, 255, (3, 2, 64, 64, 3), dtype=np.uint8)
    return Observation(images, rng.normal(size=14), "put the bowl on the plate", stamp=12.5)


def test_plan_is_a_chunk_of_absolute_positions(policy: WAVPolicy, observation: Observation) -> None:
    plan = policy.plan(observation, seed=3)
    assert plan.chunk.positions.shape == (16, 14)
    assert plan.chunk.positions.dtype == np.float64
    assert plan.chunk.stamp == 12.5
    assert plan.chunk.times[0] == pytest.approx(12.6)
    assert (plan.stop_reason, len(plan.rounds), plan.seed) == ("completed", 2, 3)
    assert plan.values.shape == (16,)
    assert plan.rounds[0].pair_score.shape == (3, 2)
    assert set(plan.seconds) == {"text", "images", "memory", "video", "value", "action", "total"}
    assert sum(s for name, s in plan.seconds.items() if name != "total") <= plan.seconds["total"]


def test_positions_are_differences_to_the_measured_state(policy: WAVPolicy, observation: Observation) -> None:
    """The same normalised actions from another state are the same motion, up to what the state token changes."""
    engine_act = policy.engine.act
    noise = torch.randn(16, 28)
    policy.engine.act = lambda *_: (torch.zeros(16, 17), noise)  # type: ignore[method-assign]
    try:
        plan = policy.plan(observation)
    finally:
        policy.engine.act = engine_act  # type: ignore[method-assign]
    statistics = normalization()
    expected = (
        noise.numpy()[:, :14] * statistics.action_diff_std + statistics.action_diff_mean + observation.joint_state
    )
    np.testing.assert_allclose(plan.chunk.positions, expected, atol=1e-6)


def test_a_plan_continues_committed_motion(policy: WAVPolicy, observation: Observation) -> None:
    """Known rows are hit to a hair in absolute positions, wherever the robot is; rows of weight 0 may be anything."""
    weight = np.concatenate([np.ones(5), np.linspace(0.8, 0.1, 4), np.zeros(7)])
    free = policy.plan(observation, seed=3).chunk.positions
    wanted = free[::-1] + 0.2
    chunk = policy.plan(observation, seed=3, committed=CommittedMotion(wanted, weight)).chunk
    np.testing.assert_allclose(chunk.positions[:5], wanted[:5], atol=1e-5)
    gap = np.abs(chunk.positions - wanted).mean(axis=1) / np.abs(free - wanted).mean(axis=1)
    assert (gap[5:9] < 1.0).all()
    elsewhere = replace(observation, joint_state=observation.joint_state + 0.3)
    chunk = policy.plan(elsewhere, seed=3, committed=CommittedMotion(wanted, weight)).chunk
    np.testing.assert_allclose(chunk.positions[:5], wanted[:5], atol=1e-5)
    nothing = CommittedMotion(wanted, np.zeros(16))
    np.testing.assert_allclose(policy.plan(observation, seed=3, committed=nothing).chunk.positions, free, atol=1e-9)


def test_plan_depends_on_everything_it_should(policy: WAVPolicy, observation: Observation) -> None:
    """Same inputs, same plan to the bit; another seed, image, state or instruction, another plan."""
    first = policy.plan(observation).chunk.positions
    np.testing.assert_array_equal(policy.plan(observation).chunk.positions, first)
    others = {
        "seed": policy.plan(observation, seed=1),
        "image": policy.plan(replace(observation, images=255 - observation.images)),
        "state": policy.plan(replace(observation, joint_state=observation.joint_state + 0.1)),
        "instruction": policy.plan(replace(observation, instruction="open the drawer")),
    }
    for name, plan in others.items():
        difference = np.abs(plan.chunk.positions - first - (0.1 if name == "state" else 0.0)).max()
        assert difference > 1e-6, name


def test_views_and_memory_frames_are_not_interchangeable(policy: WAVPolicy, observation: Observation) -> None:
    first = policy.plan(observation).chunk.positions
    for images in (observation.images[::-1], observation.images[:, ::-1]):
        other = policy.plan(replace(observation, images=images)).chunk.positions
        assert np.abs(other - first).max() > 1e-6


def test_imagine_shows_the_chosen_future_while_another_plan_runs(policy: WAVPolicy, observation: Observation) -> None:
    plan = policy.plan(observation)
    alone = policy.imagine(plan)
    assert alone.shape == (3, 2, 64, 64, 3)
    assert alone.dtype == np.uint8
    frames: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: frames.extend(policy.imagine(plan) for _ in range(3)))
    thread.start()
    beside = policy.plan(observation)
    thread.join()
    np.testing.assert_array_equal(beside.chunk.positions, plan.chunk.positions)
    assert len(frames) == 3
    for frame in frames:
        np.testing.assert_array_equal(frame, alone)
    with pytest.raises(ValueError, match=r"plan\.future is missing"):
        policy.imagine(replace(plan, future=None))


def test_all_futures_of_the_round_that_was_acted_on_can_be_shown(policy: WAVPolicy, observation: Observation) -> None:
    best = WAVPolicy(policy.engine, normalization(), replace(QUICK, selection="best"))
    plan = best.plan(observation, seed=3)
    assert plan.chosen is not None
    scores = np.stack([entry.video_score for entry in plan.rounds])
    assert plan.chosen == np.unravel_index(scores.argmax(), scores.shape)
    shown = best.futures(plan)
    assert shown is not None
    number, taken = plan.chosen
    assert shown.taken == taken
    np.testing.assert_array_equal(shown.scores, scores[number])
    assert shown.images.shape == (QUICK.num_video_samples, 64, 64, 3)
    chosen = best.engine.decode_images(best.engine.denoise(plan.future.model.scene, plan.future.video_noise[None], 4))
    np.testing.assert_array_equal(shown.images[taken], chosen[0, -1])
    plan = policy.plan(observation)
    sampled = policy.futures(plan)
    assert sampled is not None
    assert sampled.taken is None, "a sample of the refitted noise is none of them"
    np.testing.assert_array_equal(sampled.scores, plan.rounds[-1].video_score)
    last = policy.engine.denoise(plan.future.model.scene, plan.future.sampled[-1][2:], 4)
    np.testing.assert_array_equal(sampled.images[2], policy.engine.decode_images(last)[0, -1])
    assert best.futures(best.plan(observation, deadline=1e-9)) is None


def test_the_other_elites_can_be_shown(policy: WAVPolicy, observation: Observation) -> None:
    """Best first, each with the motion that its own noise leads to; the chosen future is not among them."""
    plan = policy.plan(observation, seed=3)
    future = plan.future
    assert isinstance(future, ImaginedFuture)
    assert len(future.video_elites) == QUICK.num_video_elites
    others = policy.alternatives(plan, 3)
    assert len(others) == 2
    assert np.abs(others[0].chunk.positions - others[1].chunk.positions).max() > 1e-6
    assert others[0].chunk.stamp == plan.chunk.stamp
    assert len(policy.alternatives(plan, 1)) == 1
    chosen = replace(future, video_elites=future.video_elites[1:], video_noise=future.video_elites[0])
    (second,) = policy.alternatives(replace(plan, future=chosen), 3)
    np.testing.assert_array_equal(second.chunk.positions, others[1].chunk.positions)
    itself = replace(future, video_noise=future.video_elites[1])
    (first,) = policy.alternatives(replace(plan, future=itself), 3)
    np.testing.assert_array_equal(first.chunk.positions, others[0].chunk.positions)
    unplanned = WAVPolicy(policy.engine, normalization(), replace(QUICK, num_iterations=0)).plan(observation)
    assert policy.alternatives(unplanned, 3) == ()


def test_a_deadline_picks_the_rounds_and_always_leaves_a_plan(
    policy: WAVPolicy, observation: Observation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a clock that moves by 10 ms whenever it is read, so that the machine's load does not matter."""
    ticks = itertools.count(0.0, 0.01)
    monkeypatch.setattr("wav_policy.policy.wav_policy.Deadline", partial(Deadline, clock=lambda: next(ticks)))
    hurried = WAVPolicy(policy.engine, normalization(), replace(QUICK, num_iterations=500))
    none = hurried.plan(observation, deadline=0.001)
    assert (len(none.rounds), none.stop_reason) == (0, "deadline")
    assert np.isfinite(none.chunk.positions).all()
    some = hurried.plan(observation, deadline=0.2)
    assert some.stop_reason == "deadline"
    assert 1 <= len(some.rounds) < 10
    same = WAVPolicy(policy.engine, normalization(), replace(QUICK, num_iterations=len(some.rounds))).plan(observation)
    np.testing.assert_array_equal(same.chunk.positions, some.chunk.positions)


def test_warm_start_uses_the_last_plan_until_reset(policy: WAVPolicy, observation: Observation) -> None:
    warm = WAVPolicy(policy.engine, normalization(), replace(QUICK, warm_start=True))
    later = replace(observation, stamp=observation.stamp + 0.4)
    warm.plan(observation)
    second = warm.plan(later).chunk.positions
    cold = policy.plan(later).chunk.positions
    assert np.abs(second - cold).max() > 1e-6
    for forget in ("reset", "instruction", "time"):
        warm.reset()
        before = observation
        if forget == "instruction":
            before = replace(observation, instruction="open the drawer")
        if forget == "time":
            before = replace(observation, stamp=observation.stamp - 60.0)
        if forget != "reset":
            warm.plan(before)
        np.testing.assert_array_equal(warm.plan(later).chunk.positions, cold)


@pytest.mark.parametrize(("seconds", "steps"), [(0.0, 0.0), (0.4, 4.0), (0.65, 6.5), (1.5, 15.0)])
def test_a_warm_start_is_the_last_noise_moved_by_the_time_between(
    policy: WAVPolicy, observation: Observation, seconds: float, steps: float
) -> None:
    """Future frames lie eight steps apart, values one; wide enough to leave the old optimum."""
    warm = WAVPolicy(policy.engine, normalization(), replace(QUICK, warm_start=True, warm_start_min_std=0.3))
    state = warm.plan(observation).future.state
    found = warm._warm_start(replace(observation, stamp=observation.stamp + seconds))
    assert found is not None
    expected = state.video.shifted(steps / 8, axis=1, min_std=0.3), state.value.shifted(steps, axis=0, min_std=0.3)
    for of_time, noise in zip((found.video, found.value), expected, strict=True):
        torch.testing.assert_close(of_time.mean, noise.mean)
        torch.testing.assert_close(of_time.std, noise.std)
    for too_far in (-0.1, 1.7, 60.0):
        assert warm._warm_start(replace(observation, stamp=observation.stamp + too_far)) is None


def test_what_the_joints_did_is_not_guided(
    policy: WAVPolicy, observation: Observation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Committed motion is of commands, in the units of the action expert; what older plans foresaw is not measured."""
    guided: list[Guidance] = []
    act = policy.engine.act
    monkeypatch.setattr(policy.engine, "act", lambda *inputs: guided.append(inputs[-1]) or act(*inputs))
    weight = np.linspace(1.0, 0.0, 16)
    wanted = observation.joint_state + 0.1 * np.arange(16)[:, None]
    policy.plan(observation, committed=CommittedMotion(wanted, weight))
    (guidance,) = guided
    np.testing.assert_allclose(guidance.weight[:, :14], np.tile(weight[:, None], 14), atol=1e-6)
    assert not guidance.weight[:, 14:].any()
    decoded = normalization().decode_actions(guidance.target.double().numpy(), observation.joint_state)
    np.testing.assert_allclose(decoded, wanted, atol=1e-5)


def test_observations_that_do_not_fit_are_named(policy: WAVPolicy, observation: Observation) -> None:
    with pytest.raises(ValueError, match=r"images is uint8 \[3, 1, 64, 64, 3\]; uint8 \[3, 2, 64, 64, 3\] fits"):
        policy.plan(replace(observation, images=observation.images[:, :1]))
    with pytest.raises(ValueError, match="images is float32"):
        policy.plan(replace(observation, images=observation.images.astype(np.float32)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"joint_state has shape \[7\]; \[14\] fits"):
        policy.plan(replace(observation, joint_state=observation.joint_state[:7]))
    state = observation.joint_state.copy()
    state[5] = np.nan
    with pytest.raises(PlannerError, match=r"joint_state is not finite at index \[5\]"):
        policy.plan(replace(observation, joint_state=state))


def test_planner_parameters_come_from_the_checkpoint(checkpoint: Path) -> None:
    path = checkpoint / "planner.json"
    try:
        path.write_text(json.dumps({"num_iterations": 1, "score": "mean"}))
        assert WAVPolicy.load(checkpoint).planner == PlannerConfig(num_iterations=1, score="mean")
        path.write_text(json.dumps({"num_iteration": 1}))
        with pytest.raises(
            CheckpointError, match=r"planner\.json.*unknown key 'num_iteration'; did you mean 'num_iterations'"
        ):
            WAVPolicy.load(checkpoint)
    finally:
        path.unlink()


def test_missing_checkpoint_and_engine_are_named(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere"):
        WAVPolicy.load(tmp_path / "nowhere")
    with pytest.raises(EngineError, match="unknown engine 'torsch'; did you mean 'torch'"):
        WAVPolicy.load(checkpoint, engine="torsch")


def test_warm_up_makes_a_plan_and_forgets_it(policy: WAVPolicy) -> None:
    cost = policy.warm_up()
    full = (QUICK.num_video_samples, QUICK.num_value_samples)
    assert next(iter(cost.rounds)) == full
    assert cost.total == pytest.approx(cost.beside_rounds + QUICK.num_iterations * cost.rounds[full])
    assert 0.0 < cost.beside_rounds < cost.total
    assert policy._last is None


@pytest.mark.parametrize("selection", ["sample", "best"])
def test_nothing_is_recorded_after_the_warm_up(selection: str, policy: WAVPolicy, observation: Observation) -> None:
    """Recording takes as long as several plans; the first chunk that continues another would be late for it."""
    engine, recorder = policy.engine, Rerun()
    assert isinstance(engine, TorchEngine)
    parts = engine._model, engine._autoencoder, engine._text_encoder
    recording = TorchEngine(*parts, dtype=engine.precision, recorder=recorder)
    recorded = WAVPolicy(recording, normalization(), replace(QUICK, selection=selection))
    recorded.warm_up(observation.instruction)
    count = recorder.recorded
    motion = CommittedMotion(np.ones((16, 14)), np.ones(16))
    for committed in (None, motion):
        recorded.alternatives(recorded.plan(observation, committed=committed), 1)
    assert recorder.recorded == count > 0


def test_warm_up_runs_every_network_however_long_it_takes(
    policy: WAVPolicy, observation: Observation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline that a slow first call exceeds is for plans; rounds of the first real plan are not given up for it.

    Every reading of the clock takes 10 ms; compiling at the first call of each network takes a second.
    """
    now = 0.0
    called: list[str] = []

    def clock() -> float:
        nonlocal now
        now += 0.01
        return now

    def slow_at_first(name: str, call: Callable[..., object]) -> Callable[..., object]:
        def run(*arguments: object) -> object:
            nonlocal now
            now += 0.0 if name in called else 1.0
            called.append(name)
            return call(*arguments)

        return run

    monkeypatch.setattr("wav_policy.policy.wav_policy.Deadline", partial(Deadline, clock=clock))
    for name in ("encode_text", "encode_images", "observe", "imagine", "evaluate", "act"):
        monkeypatch.setattr(policy.engine, name, slow_at_first(name, getattr(policy.engine, name)))
    hurried = WAVPolicy(policy.engine, normalization(), replace(QUICK, deadline=0.9))
    hurried.warm_up(observation.instruction)
    assert set(called) == {"encode_text", "encode_images", "observe", "imagine", "evaluate", "act"}
    assert len(hurried.plan(observation).rounds) == QUICK.num_iterations
