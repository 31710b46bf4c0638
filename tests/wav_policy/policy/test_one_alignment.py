"""Training, evaluation, replay and robot show the model the same frames and the same state of the same stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wav_models.data.dataset import Dataset
from wav_models.data.images import resize_image
from wav_models.data.samples import window
from wav_models.evaluation.closed_loop import ObservationHistory
from wav_models.presets import WAV_TINY
from wav_models.types import Observation
from wav_policy.policy.observation import ObservationBuffer
from wav_policy.recording.episode_recording import EpisodeRecording
from wav_policy.recording.episode_writer import DatasetWriter
from wav_policy.recording.sources import Sources
from wav_policy.robot.cameras import SOURCES, VIEWS

FPS, START, SECONDS = 10, 1_800_000_000.0, 3.0
SIZES = dict.fromkeys(VIEWS, (64, 64))
RATES = {"head": 30.0, "left_wrist": 25.0, "right_wrist": 17.0, "joint_states": 200.0, "action": 50.0}


def captures(phases: np.ndarray) -> list[tuple[float, str, int]]:
    """Stamps and numbers of all messages in the order of their arrival, pictures later than joints; the head's are of
    the ticks of the dataset, for an observation is made at the newest image."""
    found = []
    for (source, rate), phase in zip(RATES.items(), phases, strict=True):
        times = START + (0.0 if source == "head" else phase / rate) + np.arange(round(SECONDS * rate)) / rate
        found += [(float(time), source, number) for number, time in enumerate(times)]
    return sorted(found, key=lambda capture: arrival(capture[0], capture[1]))


def arrival(stamp: float, source: str) -> float:
    return stamp + (0.02 if source in VIEWS else 0.0)


def image(number: int) -> np.ndarray:
    return np.full((64, 64, 3), number, np.uint8)


def joints(number: int) -> np.ndarray:
    return np.linspace(0.0, 0.1, 14) + 0.001 * number


def live(messages: list[tuple[float, str, int]], ticks: np.ndarray) -> dict[float, Observation]:
    """What the robot plans from, whenever the head's frame of a tick has come."""
    now = [START]
    buffer = ObservationBuffer(WAV_TINY.horizon, SIZES["head"], clock=lambda: now[0])
    seen = {}
    for stamp, source, number in messages:
        now[0] = arrival(stamp, source)
        if source in VIEWS:
            buffer.add_image(source, image(number), stamp)
        elif source == "joint_states":
            buffer.add_joint_state(joints(number), stamp)
        if source == "head" and (tick := ticks[np.abs(ticks - stamp).argmin()]) == pytest.approx(stamp, abs=1e-4):
            seen[float(tick)] = buffer.assemble(now[0], "go")
    return seen


def record(messages: list[tuple[float, str, int]], root: Path) -> Any:
    """The same stream as a dataset."""
    now = [START]
    sources = Sources({source: source for source in SOURCES}, clock=lambda: now[0])
    with DatasetWriter(root, fps=FPS, image_sizes=SIZES, source_times=True) as writer:
        writer.start_episode("go")
        recording = EpisodeRecording(writer, sources, START + 0.1)
        for stamp, source, number in messages:
            now[0] = arrival(stamp, source)
            if source in VIEWS:
                sources.add_image(source, image(number), stamp)
            else:
                sources.add_joints(source, joints(number), stamp)
            assert now[0] < START + 0.1 or recording.advance(now[0]) is None
        recording.finish(None)
    return Dataset(root).read_episode(0)


@pytest.mark.parametrize("seed", range(3))
def test_all_pick_the_same_frames_and_state(seed: int, tmp_path: Path) -> None:
    messages = captures(np.random.default_rng(seed).uniform(0.01, 0.99, len(RATES)))
    episode = record(messages, tmp_path)
    ticks, horizon = episode.capture_times, WAV_TINY.horizon
    robot = live(messages, ticks)
    shown = {view: dict(zip(ticks, episode.source_times[:, i], strict=True)) for i, view in enumerate(VIEWS)}
    number_at = {(source, round(stamp, 4)): number for stamp, source, number in messages}
    history = ObservationHistory(WAV_TINY)
    assert len(ticks) > 20
    for t, tick in enumerate(ticks):
        memory = window(len(ticks), t, horizon).memory
        trained = [[number_at[view, round(shown[view][ticks[row]], 4)] for row in memory] for view in VIEWS]
        history.add({view: image(number_at[view, round(shown[view][tick], 4)]) for view in VIEWS})
        evaluated = history.assemble({"joint_state": episode.states[t]}, "go", float(tick))
        served = robot[float(tick)]
        np.testing.assert_allclose(served.joint_state, episode.states[t], atol=1e-7)
        if t < -min(horizon.memory_offsets):
            continue  # the live stream began before the episode, and remembers it
        assert served.images[:, :, 0, 0, 0].tolist() == trained, "robot and training"
        np.testing.assert_array_equal(served.images, evaluated.images, "robot and evaluation")


def test_an_episode_begins_alike() -> None:
    """Before its first frame all repeat that one."""
    times = START + np.arange(12) / FPS
    buffer, history = ObservationBuffer(WAV_TINY.horizon, SIZES["head"]), ObservationHistory(WAV_TINY)
    for t, time in enumerate(times):
        buffer.add_joint_state(joints(t), float(time))
        for view in VIEWS:
            buffer.add_image(view, image(t), float(time))
        history.add({view: image(t) for view in VIEWS})
        served = buffer.assemble(float(time), "go")
        memory = window(len(times), t, WAV_TINY.horizon).memory
        assert served.images[0, :, 0, 0, 0].tolist() == memory.tolist()
        np.testing.assert_array_equal(served.images, history.assemble({"joint_state": joints(t)}, "go", 0.0).images)
    assert resize_image(image(1), SIZES["head"]).shape == served.images.shape[2:]
