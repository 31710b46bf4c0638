"""Recorded work gives what running it gives, whoever replays meanwhile; the recorder of these tests runs it again."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from tests.wav_models.accelerator.fake_accelerator import Silent
from tests.wav_models.engines.test_torch_engine import SMALL, WordEncoder, random_model
from wav_models.engines.replay import NUM_RECORDINGS, WARM_UP, CudaRecorder, Replays
from wav_models.engines.torch_engine import TorchEngine
from wav_models.guidance import JACOBIANS, Guidance
from wav_models.networks.autoencoder import make_autoencoder


class Rerun:
    """Replays by running again and overwriting the first output, as a CUDA graph overwrites its own."""

    def __init__(self) -> None:
        self.recorded = 0

    def record(self, function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        self.recorded += 1
        with torch.inference_mode():
            output = pytree.tree_map_only(Tensor, lambda x: x, function())

        def again() -> None:
            with torch.inference_mode():
                for kept, new in zip(pytree.tree_leaves(output), pytree.tree_leaves(function()), strict=True):
                    if isinstance(kept, Tensor):
                        kept.copy_(new)

        return again, output


@pytest.fixture(scope="module", params=[True, False], ids=["causal", "bidirectional"])
def engines(request: pytest.FixtureRequest) -> tuple[TorchEngine, TorchEngine, Rerun]:
    """Without and with recordings, of the same weights."""
    config = replace(SMALL, video=replace(SMALL.video, causal_memory=request.param))
    parts, recorder = (random_model(config), make_autoencoder(config), WordEncoder()), Rerun()
    return TorchEngine(*parts), TorchEngine(*parts, recorder=recorder), recorder


def drawn(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"memory": (1, 3, 2, 16, 32), "video": (4, 3, 2, 16, 32), "value": (4, 3, 16, 17), "action": (16, 28)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def answers(engine: TorchEngine, seed: int, instruction: str = "lift the bowl") -> tuple[Tensor, ...]:
    """Two rounds and an action of a picked future and of one imagined alone."""
    draws = drawn(seed)
    state = draws["action"][None, :1]
    scene = engine.observe(draws["memory"], engine.encode_text(instruction))
    found, picked = [], None
    for noise in (draws["video"], draws["video"].flip(0)):
        futures = engine.imagine(scene, noise, (0.0,))
        found.append(engine.evaluate(futures, draws["value"], 2))
        picked = picked or engine.pick(futures, 1)
    for future in (picked, engine.imagine(scene, draws["video"][:1], (0.0,))):
        found += engine.act(future, state, draws["value"][0, 0], draws["action"], 2, 3)
    return tuple(found)


def test_recordings_are_reused_for_other_scenes_and_give_what_running_gives(
    engines: tuple[TorchEngine, TorchEngine, Rerun],
) -> None:
    plain, recorded, recorder = engines
    for seed, instruction in ((0, "lift the bowl"), (1, "lift the bowl"), (2, "drop the bowl")):
        torch.testing.assert_close(answers(recorded, seed, instruction), answers(plain, seed, instruction))
        if seed == 0:
            count = recorder.recorded
    assert count == 3  # imagine four and judge them; act on a picked future; imagine one and act on it
    assert recorder.recorded == count


def test_futures_whose_buffers_hold_others_are_imagined_again(engines: tuple[TorchEngine, TorchEngine, Rerun]) -> None:
    """Judged or not, by the recording that is there."""
    found, recorder = [], engines[2]
    for engine in engines[:2]:
        draws, others = drawn(3), drawn(4)
        scenes = [engine.observe(d["memory"], engine.encode_text("lift the bowl")) for d in (draws, others)]
        rounds = [engine.imagine(s, d["video"], (0.0,)) for s, d in zip(scenes, (draws, others), strict=True)]
        values = [engine.evaluate(futures, draws["value"], 2) for futures in rounds]
        recorded = recorder.recorded
        rounds.append(engine.imagine(scenes[0], others["video"], (0.0,)))
        picked = [engine.pick(futures, 2) for futures in rounds]
        assert recorder.recorded == recorded
        state = draws["action"][None, :1]
        for future in picked:
            values += engine.act(future, state, draws["value"][0, 0], draws["action"], 2, 3)
        found.append(values)
    torch.testing.assert_close(found[1], found[0])


@pytest.mark.parametrize("jacobian", JACOBIANS)
def test_guidance_is_an_input(engines: tuple[TorchEngine, TorchEngine, Rerun], jacobian: str) -> None:
    draws, found = drawn(5), []
    for engine in engines[:2]:
        scene = engine.observe(draws["memory"], engine.encode_text("lift the bowl"))
        future = engine.imagine(scene, draws["video"][:1], (0.0,))
        for target in (draws["action"].flip(0), draws["action"].flip(1)):
            guidance = Guidance(target, torch.full_like(target, 0.5), jacobian)
            state = draws["action"][None, :1]
            found.append(engine.act(future, state, draws["value"][0, 0], draws["action"], 2, 3, guidance)[1])
    torch.testing.assert_close(found[2:], found[:2])
    assert (found[0] - found[1]).abs().max() > 0.1


def test_threads_that_share_an_engine_get_their_own_answers(engines: tuple[TorchEngine, TorchEngine, Rerun]) -> None:
    plain, recorded, _ = engines
    expected = {seed: answers(plain, seed) for seed in (6, 7)}
    found: dict[int, list[tuple[Tensor, ...]]] = {6: [], 7: []}

    def plan(seed: int) -> None:
        for _ in range(6):
            found[seed].append(answers(recorded, seed))

    threads = [threading.Thread(target=plan, args=(seed,)) for seed in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, several in found.items():
        assert len(several) == 6
        for one in several:
            torch.testing.assert_close(one, expected[seed])


@pytest.mark.parametrize("recorder", [None, Silent()], ids=["eager", "recorded"])
def test_an_engine_goes_with_its_last_user(recorder: Silent | None) -> None:
    """At once: what Python must look for first keeps a GPU's memory until then, when another engine is loaded."""
    engine = TorchEngine(random_model(SMALL), make_autoencoder(SMALL), WordEncoder(), recorder=recorder)
    answers(engine, 8)
    engine.encode_images(np.zeros((3, 2, 64, 64, 3), np.uint8))
    model = weakref.ref(engine._model)
    gc.disable()
    try:
        del engine
        assert model() is None
    finally:
        gc.enable()


def test_what_one_recording_writes_another_reads_in_place() -> None:
    def double(x: Tensor) -> Tensor:
        return 2.0 * x

    replays = Replays(Rerun())
    with torch.inference_mode():
        first = replays.run(double, torch.ones(3))
        second = replays.run(double, first.output)
        assert second.recording._buffers[0].data_ptr() == first.output.data_ptr()
        assert second.output.tolist() == [4.0, 4.0, 4.0]
        given = torch.full((3,), 5.0)
        assert replays.run(double, given).output.data_ptr() == first.output.data_ptr()
    assert not first.is_current
    assert first.recording._buffers[0].data_ptr() != given.data_ptr()


def test_the_oldest_recordings_go_with_those_that_read_them() -> None:
    replays = Replays(Rerun())
    with torch.inference_mode():
        first = replays.run(torch.neg, torch.ones(1))
        replays.run(torch.neg, first.output)
        for size in range(2, NUM_RECORDINGS + 1):
            replays.run(torch.neg, torch.ones(size))
        assert len(replays._recordings) == NUM_RECORDINGS - 1
        assert first.output not in replays._fixed
        assert replays.run(torch.neg, torch.ones(1)).recording is not first.recording


def test_a_gpu_that_other_threads_use_meanwhile_may_be_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What can be seen without one: run before, on a stream of its own; recorded once, in no other thread's way."""
    happened: list[Any] = []

    class Stream:
        def wait_stream(self, other: Stream) -> None:
            happened.append("wait")

    class Graph:
        def replay(self) -> None:
            happened.append("replay")

    @contextmanager
    def recording(graph: Graph, stream: Stream, capture_error_mode: str) -> Iterator[None]:
        happened.append(capture_error_mode)
        yield

    everyones = Stream()
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: everyones)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    replay, output = CudaRecorder().record(lambda: happened.append("run") or "output")
    replay()
    assert output == "output"
    assert happened == ["wait", *["run"] * WARM_UP, "wait", "thread_local", "run", "replay"]
