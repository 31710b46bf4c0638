"""The loop: it learns, resumes to the last digit, freezes what it must, and keeps its state through failures."""

from __future__ import annotations

import atexit
import itertools
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wav_models.networks.wav_model import WAVModel
from wav_models.presets import ModelConfig
from wav_models.training import loop
from wav_models.training.config import LoopConfig, TrainConfig
from wav_models.training.data.batches import Batches
from wav_models.training.loop import BEST, Budget, averaged_weights, learning_rate, train, weights_path
from wav_models.training.parallel import TrainingWorker, run_workers, stop_on_signals
from wav_models.training.randomness import RngStreams, streams_at
from wav_models.training.stage_table import make_stage
from wav_models.training.state import StateError, TrainState, load_progress, load_tensors


class Watched:
    """A stage that writes down its losses and may be interrupted at a step."""

    def __init__(self, stage, signal_at: int | None = None, number: signal.Signals = signal.SIGTERM) -> None:
        self.stage, self.name, self.signal_at, self.number = stage, stage.name, signal_at, number
        self.seen: list[float] = []

    def named_parameters(self) -> dict[str, nn.Parameter]:
        return self.stage.named_parameters()

    def lr_scale(self, name: str) -> float:
        return self.stage.lr_scale(name)

    @property
    def seconds_waited(self) -> float:
        return self.stage.seconds_waited

    def losses(self, batch_size: int, streams: RngStreams) -> dict[str, Tensor]:
        losses = self.stage.losses(batch_size, streams)
        self.seen.append(losses["loss"].item())
        if len(self.seen) == self.signal_at:
            os.kill(os.getpid(), self.number)
        return losses

    def evaluate(self) -> dict[str, float]:
        return {}


def watched(name: str, model: WAVModel, batches: Batches, signal_at: int | None = None) -> Watched:
    return Watched(make_stage(name, model, batches, TrainConfig(), dict), signal_at)


def fresh_model(config: ModelConfig) -> WAVModel:
    torch.manual_seed(0)
    return WAVModel(config)


@pytest.mark.parametrize("name", ["video", "value", "action"])
def test_loss_decreases(name: str, model: WAVModel, batches: Batches, loop_config: LoopConfig, tmp_path: Path) -> None:
    stage = watched(name, model, batches)
    state = train(stage, loop_config, Budget(steps=80), 0, tmp_path / "state.safetensors", report=lambda _: None)
    assert np.mean(stage.seen[-10:]) < 0.8 * np.mean(stage.seen[:5])
    assert state.progress.complete
    assert state.progress.samples == 80 * loop_config.batch_size


def test_the_first_step_is_not_waited_for_in_silence(
    model: WAVModel,
    batches: Batches,
    loop_config: LoopConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("wav_models.progress._SILENCE", 0.001)
    stage = watched("video", model, batches)
    train(stage, loop_config, Budget(steps=2), 0, tmp_path / "state.safetensors", report=lambda _: None)
    assert "[video] the first step ... 0 s" in capsys.readouterr().err


@pytest.mark.parametrize("formats", [{torch.float32}, {torch.float32, torch.bfloat16}])
def test_bfloat16_is_for_processors_that_multiply_it(
    formats: set[torch.dtype],
    batches: Batches,
    loop_config: LoopConfig,
    model: WAVModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "onednn_formats", lambda: formats)
    stage, halved, said = watched("video", model, batches), [], []

    def losses(batch_size: int, streams: RngStreams) -> dict[str, Tensor]:
        halved.append(torch.is_autocast_enabled("cpu"))
        return Watched.losses(stage, batch_size, streams)

    monkeypatch.setattr(stage, "losses", losses)
    train(
        stage, replace(loop_config, bf16=True), Budget(steps=1), 0, tmp_path / "state.safetensors", report=said.append
    )
    assert halved == [torch.bfloat16 in formats]
    assert any("training in float32" in line for line in said) == (torch.bfloat16 not in formats)


def test_interrupted_and_resumed_run_is_the_uninterrupted_one(
    model_config: ModelConfig, batches: Batches, loop_config: LoopConfig, tmp_path: Path
) -> None:
    def run(path: Path, signal_at: int | None, resume: bool) -> tuple[Watched, TrainState]:
        stage = watched("action", fresh_model(model_config), batches, signal_at)
        plan = Budget(steps=9)
        return stage, train(stage, loop_config, plan, 3, path, resume=resume, report=lambda _: None)

    whole, whole_state = run(tmp_path / "whole.safetensors", None, False)
    first, stopped = run(tmp_path / "parts.safetensors", 4, False)
    assert stopped.progress.step == 4
    assert not stopped.progress.complete
    second, parts_state = run(tmp_path / "parts.safetensors", None, True)
    assert first.seen + second.seen == whole.seen
    for name, average in whole_state.average.items():
        assert torch.equal(average, parts_state.average[name]), name
        assert torch.equal(whole_state.parameters[name], parts_state.parameters[name]), name


def test_an_unfinished_state_is_not_overwritten(
    model_config: ModelConfig, batches: Batches, loop_config: LoopConfig, tmp_path: Path
) -> None:
    path, quiet = tmp_path / "state.safetensors", {"report": lambda _: None}
    train(watched("video", fresh_model(model_config), batches, 2), loop_config, Budget(steps=9), 0, path, **quiet)
    saved = path.read_bytes()
    with pytest.raises(StateError, match="holds an unfinished training of 2 steps; go on with --resume, or remove"):
        train(watched("video", fresh_model(model_config), batches), loop_config, Budget(steps=9), 0, path, **quiet)
    assert path.read_bytes() == saved


def test_metrics_that_fail_at_the_end_lose_no_training(
    model_config: ModelConfig, batches: Batches, loop_config: LoopConfig, tmp_path: Path
) -> None:
    stage, path = watched("video", fresh_model(model_config), batches), tmp_path / "state.safetensors"
    stage.evaluate = lambda: 1 / 0  # type: ignore[assignment,return-value]
    with pytest.raises(ZeroDivisionError):
        train(stage, loop_config, Budget(steps=2), 0, path, report=lambda _: None)
    assert load_progress(path, "").complete


def _train_until_killed(model: ModelConfig, batches: Batches, config: LoopConfig, path: Path) -> None:
    stage = Watched(make_stage("action", fresh_model(model), batches, TrainConfig(), dict), 6, signal.SIGKILL)
    train(stage, config, Budget(steps=9), 3, path, report=lambda _: None)


def test_a_run_killed_without_warning_goes_on_to_the_same_end(
    model_config: ModelConfig, batches: Batches, loop_config: LoopConfig, tmp_path: Path
) -> None:
    """SIGKILL in the middle of the sixth step, with a state saved after every step."""
    config, path = replace(loop_config, save_seconds=0.0), tmp_path / "killed.safetensors"
    arguments = (model_config, batches, config, path)
    process = multiprocessing.get_context("spawn").Process(target=_train_until_killed, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    ends = []
    for resumed in (path, tmp_path / "whole.safetensors"):
        stage = watched("action", fresh_model(model_config), batches)
        ends.append(train(stage, config, Budget(steps=9), 3, resumed, resume=True, report=lambda _: None))
        assert len(stage.seen) == (4 if resumed == path else 9)
    for name, parameter in ends[1].parameters.items():
        assert torch.equal(parameter, ends[0].parameters[name]), name


def _train_on_a_full_disk(model: ModelConfig, batches: Batches, config: LoopConfig, path: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size // 2,) * 2)  # the file system says no midway
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with pytest.raises(StateError, match="could not be written.*--resume"):
        train(watched("video", fresh_model(model), batches), config, Budget(steps=4), 0, path, resume=True)


def test_a_full_disk_loses_no_state(
    model_config: ModelConfig, batches: Batches, loop_config: LoopConfig, tmp_path: Path
) -> None:
    path = tmp_path / "state.safetensors"
    quiet = {"report": lambda _: None}
    train(watched("video", fresh_model(model_config), batches), loop_config, Budget(steps=2), 0, path, **quiet)
    saved = path.read_bytes()
    arguments = (model_config, batches, loop_config, path)
    process = multiprocessing.get_context("spawn").Process(target=_train_on_a_full_disk, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0
    assert path.read_bytes() == saved
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    state = train(
        watched("video", fresh_model(model_config), batches),
        loop_config,
        Budget(steps=4),
        0,
        path,
        resume=True,
        **quiet,
    )
    assert state.progress.step == 4


@pytest.mark.parametrize(
    ("name", "trained"), [("video", {"video"}), ("value", {"value"}), ("action", {"video", "value", "action"})]
)
def test_a_stage_changes_only_what_it_trains(
    name: str, trained: set[str], model: WAVModel, batches: Batches, loop_config: LoopConfig, tmp_path: Path
) -> None:
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    stage = watched(name, model, batches)
    train(stage, loop_config, Budget(steps=3), 0, tmp_path / "state.safetensors", report=lambda _: None)
    changed = {n.split(".")[0] for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert changed == trained


def _train_on_worker(
    worker: TrainingWorker, model: ModelConfig, batches: Batches, config: LoopConfig, path: Path
) -> None:
    stage = watched("video", fresh_model(model), batches)
    train(stage, config, Budget(steps=3), 0, path, worker=worker, report=lambda _: None)


def test_two_workers_equal_one_that_accumulates(
    model_config: ModelConfig, batches: Batches, loop_config: LoopConfig, tmp_path: Path
) -> None:
    """The same draws, averaged over two processes or over two parts of a step."""
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    accumulating = replace(loop_config, accumulation=2)
    run_workers(_train_on_worker, (model_config, batches, accumulating, one), 1)
    run_workers(_train_on_worker, (model_config, batches, loop_config, two), 2)
    states = []
    for path in (one, two):
        stage = watched("video", fresh_model(model_config), batches)
        states.append(train(stage, loop_config, Budget(steps=3), 0, path, resume=True, report=lambda _: None))
    for name, parameter in states[0].parameters.items():
        torch.testing.assert_close(parameter, states[1].parameters[name], rtol=1e-4, atol=1e-5)


def _abort_in_finalisation(worker: TrainingWorker) -> None:
    print(f"worker {worker.rank} is done")
    atexit.register(os.abort)


def test_workers_end_without_pythons_finalisation(capfd: pytest.CaptureFixture[str]) -> None:
    """In which threads of gloo that drop a tensor abort the process; what was printed is not lost."""
    run_workers(_abort_in_finalisation, (), 2)
    printed = capfd.readouterr().out  # by both at once: line ends may come in any order
    assert [printed.count(f"worker {rank} is done") for rank in range(2)] == [1, 1]


def _await(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _outlive_the_other(worker: TrainingWorker, notes: Path) -> None:
    """The second worker ends at once. Then the first interrupts who started both, and notes that it is told to end."""
    ready, other, told = (notes / name for name in ("ready", "other", "told"))
    if not worker.is_main:
        other.symlink_to(f"/proc/{os.getpid()}")
        _await(ready.exists)
        return
    with stop_on_signals() as request:
        _await(other.is_symlink)
        ready.touch()
        _await(lambda: not other.exists())
        os.kill(os.getppid(), signal.SIGINT)
        _await(lambda: bool(request))
    told.touch()


def test_an_interrupt_after_one_worker_has_ended_reaches_the_other(tmp_path: Path) -> None:
    run_workers(_outlive_the_other, (tmp_path,), 2)
    assert (tmp_path / "told").exists()


def test_not_finite_loss_keeps_the_last_state(
    model: WAVModel, batches: Batches, loop_config: LoopConfig, tmp_path: Path
) -> None:
    path = tmp_path / "state.safetensors"
    train(watched("video", model, batches), loop_config, Budget(steps=2), 0, path, report=lambda _: None)
    saved = path.read_bytes()
    with torch.no_grad():
        model.video.proj_out.bias.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="stage video.*step 0"):
        train(watched("video", model, batches), loop_config, Budget(steps=2), 0, path, report=lambda _: None)
    assert path.read_bytes() == saved


def test_damaged_and_foreign_states_are_named(
    model: WAVModel, batches: Batches, loop_config: LoopConfig, tmp_path: Path
) -> None:
    path = tmp_path / "state.safetensors"
    train(watched("value", model, batches), loop_config, Budget(steps=1), 0, path, report=lambda _: None)
    with pytest.raises(StateError, match=r"do not fit.*value\."):
        train(watched("video", model, batches), loop_config, Budget(steps=1), 0, path, resume=True)
    whole = path.read_bytes()
    for damaged in (whole[:-100], whole.replace(rb"\"step\"", rb"\"step\x", 1)):
        path.write_bytes(damaged)
        with pytest.raises(StateError, match="state.safetensors: damaged"):
            train(watched("value", model, batches), loop_config, Budget(steps=1), 0, path, resume=True)


def test_learning_rate_warms_up_and_falls_to_its_end() -> None:
    config = LoopConfig(learning_rate=1.0, final_rate=0.1, warmup_steps=10)
    assert learning_rate(config, 0, 0.0) == pytest.approx(0.1)
    assert learning_rate(config, 9, 0.0) == pytest.approx(1.0)
    assert learning_rate(config, 500, 0.5) == pytest.approx(0.55)
    assert learning_rate(config, 999, 1.0) == pytest.approx(0.1)


def test_averaged_weights_are_lent_and_taken_back(
    model: WAVModel, batches: Batches, loop_config: LoopConfig, tmp_path: Path
) -> None:
    stage = watched("value", model, batches)
    state = train(stage, loop_config, Budget(steps=5), 0, tmp_path / "s.safetensors", report=lambda _: None)
    live = model.value.proj_out.weight.detach().clone()
    with averaged_weights(state):
        inside = model.value.proj_out.weight.detach().clone()
    assert torch.equal(inside, state.average["value.proj_out.weight"])
    assert not torch.equal(inside, live)
    assert torch.equal(model.value.proj_out.weight, live)


def test_batch_that_does_not_divide_is_refused(model: WAVModel, batches: Batches, tmp_path: Path) -> None:
    config = LoopConfig(batch_size=9, accumulation=2)
    with pytest.raises(ValueError, match="batch_size 9 does not divide"):
        train(watched("video", model, batches), config, Budget(steps=1), 0, tmp_path / "s.safetensors")


class Slope:
    """A stage whose losses have the gradients it is told, of two weights of which one learns slowly."""

    name, judged_by, seconds_waited = "slope", "-score", 0.0

    def __init__(self, gradients: Sequence[float], scores: Sequence[float] = ()) -> None:
        self.fast, self.slow = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))
        self.gradients, self.scores = itertools.cycle(gradients), iter(scores)
        self.drawn: list[float] = []
        self.began: list[Tensor] = []
        self.judged: list[Tensor] = []

    def named_parameters(self) -> dict[str, nn.Parameter]:
        return {"fast": self.fast, "slow": self.slow}

    def lr_scale(self, name: str) -> float:
        return 0.1 if name == "slow" else 1.0

    def losses(self, batch_size: int, streams: RngStreams) -> dict[str, Tensor]:
        self.drawn.append(streams.numpy.random())
        self.began.append(self.fast.detach().clone())
        return {"loss": next(self.gradients) * (self.fast.sum() + self.slow.sum())}

    def evaluate(self) -> dict[str, float]:
        self.judged.append(self.fast.detach().clone())
        score = next(self.scores, None)
        return {} if score is None else {"score": score}


def descend(stage: Slope, path: Path, steps: int, seed: int = 0, **config: Any) -> TrainState:
    plain = {"warmup_steps": 0, "weight_decay": 0.0, "log_seconds": 1e9, "evaluate_seconds": 1e9, "bf16": False}
    return train(
        stage,
        LoopConfig(**{"learning_rate": 0.1, "final_rate": 1.0, "batch_size": 4, **plain, **config}),
        Budget(steps=steps),
        seed,
        path,
        report=lambda _: None,
    )


def test_compiling_in_the_first_step_of_a_call_is_not_on_the_clock(tmp_path: Path) -> None:
    class Compiled(Slope):
        def losses(self, batch_size: int, streams: RngStreams) -> dict[str, Tensor]:
            if not self.drawn:
                time.sleep(0.5)
            return super().losses(batch_size, streams)

    config, path = LoopConfig(batch_size=4, evaluate_seconds=1e9, bf16=False), tmp_path / "slope.state.safetensors"
    for seconds in (0.3, 0.6):
        state = train(Compiled([1.0]), config, Budget(seconds=seconds), 0, path, resume=True, report=lambda _: None)
        assert state.progress.seconds >= 0.3
        assert state.progress.complete
    *_, second = (call["step"] for call in state.progress.calls)
    assert 1 < second < state.progress.step - 1, "half of the time for each call"


@pytest.mark.parametrize("ema_decay", [0.2, 0.999])
def test_the_average_follows_the_weights_at_the_decay_that_is_asked_for_or_reached_yet(
    ema_decay: float, tmp_path: Path
) -> None:
    """(1 + step) / (10 + step) at first, so that the weights of the beginning are forgotten."""
    stage = Slope([1.0])
    state = descend(stage, tmp_path / "s.safetensors", 6, ema_decay=ema_decay)
    average, weights = torch.zeros(3), [*stage.began[1:], stage.fast.detach()]
    for step, weight in enumerate(weights):
        decay = min(ema_decay, (1 + step) / (10 + step))
        average = decay * average + (1.0 - decay) * weight
    torch.testing.assert_close(state.average["fast"], average)


def test_a_step_follows_the_mean_of_its_parts_clipped_at_the_rate_of_each_weight(tmp_path: Path) -> None:
    for clip_norm, expected in ((1e3, 2.0), (0.5, 0.5 / 6**0.5)):
        stage = Slope([1.0, 3.0])
        descend(stage, tmp_path / f"{clip_norm}.safetensors", 1, accumulation=2, clip_norm=clip_norm)
        assert stage.fast.grad is not None
        torch.testing.assert_close(stage.fast.grad, torch.full((3,), expected))
        torch.testing.assert_close(stage.fast.detach(), torch.full((3,), -0.1))  # as far as AdamW goes at first
        torch.testing.assert_close(stage.slow.detach(), torch.full((3,), -0.01))


def test_every_part_of_every_step_draws_by_its_place_and_the_seed(tmp_path: Path) -> None:
    for seed in (0, 7):
        stage = Slope([1.0])
        descend(stage, tmp_path / f"{seed}.safetensors", 3, seed, accumulation=2)
        expected = [streams_at(seed, "slope", step, part).numpy.random() for step in range(3) for part in range(2)]
        assert stage.drawn == expected


def test_the_best_averages_and_those_of_the_last_evaluations_are_kept(tmp_path: Path) -> None:
    stage, path = Slope([1.0], scores=[1.0, 3.0, 2.0, 2.5, 2.5]), tmp_path / "slope.state.safetensors"
    state = descend(stage, path, 4, evaluate_seconds=0.0, keep=2)
    assert len(stage.judged) == 5, "after every step, and at the end"
    assert not torch.equal(stage.judged[-1], stage.fast), "averages are judged"
    assert state.progress.best == -3.0
    for label, number in ((BEST, 1), ("00000003", 2), ("00000004", 3)):
        tensors, _ = load_tensors(weights_path(tmp_path, "slope", label), remedy="")
        torch.testing.assert_close(tensors["average.fast"], stage.judged[number], rtol=0.0, atol=0.0)
    assert len(list(tmp_path.glob("slope.0*.safetensors"))) == 2
    descend(Slope([1.0]), path, 1)
    assert not weights_path(tmp_path, "slope", BEST).exists(), "it is of the training before"
