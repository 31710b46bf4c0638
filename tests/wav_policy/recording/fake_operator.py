"""Episodes without a simulator, for tests of the recording machinery."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wav_policy.recording.episode_recorder import EpisodeRecorder
from wav_policy.recording.episode_writer import DatasetWriter

SIZES = {"head": (48, 64), "left_wrist": (32, 48), "right_wrist": (32, 48)}
FPS = 10
INSTRUCTION = "put the bowls together"


def make_images(frame: int, seed: int = 0) -> dict[str, NDArray[np.uint8]]:
    """Smooth images that differ by view, frame and seed."""
    images = {}
    for offset, (view, (height, width)) in enumerate(SIZES.items()):
        y, x = np.mgrid[0:height, 0:width]
        red, green = 60 + x, 40 + 2 * y
        blue = np.full((height, width), (30 * offset + 4 * frame + 11 * seed) % 200)
        images[view] = np.stack([red, green, blue], axis=-1).astype(np.uint8)
    return images


def make_rows(length: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """States and actions [length, 14], exactly representable in float32."""
    rng = np.random.default_rng(seed)
    states, actions = (0.04 * rng.normal(size=(2, length, 14))).astype(np.float32)
    return states, actions


def record(writer: DatasetWriter, length: int, seed: int = 0, **extra: object) -> int:
    """An episode of a demonstration; its number."""
    states, actions = make_rows(length, seed)
    writer.start_episode(INSTRUCTION, {"seed": seed, **extra})
    for frame in range(length):
        writer.add_frame(make_images(frame, seed), states[frame], actions[frame], 100.0 + frame / FPS)
    return writer.end_episode()


def open_writer(root: Path, **options: object) -> DatasetWriter:
    """Of a dataset with our cameras."""
    return DatasetWriter(root, **{"fps": FPS, "image_sizes": SIZES, **options})  # type: ignore[arg-type]


def demonstrate(task: str, seed: int, noise: float, start: Callable[[str], EpisodeRecorder]) -> bool:
    """Seeds divisible by 3 fail; odd ones are slow, so that workers finish out of order."""
    recorder = start(f"{task}: {INSTRUCTION}")
    states, actions = make_rows(5 + seed, seed)
    for frame in range(5 + seed):
        recorder.add_frame(make_images(frame, seed), states[frame], actions[frame], frame / FPS)
    time.sleep(0.15 * (seed % 2))
    return seed % 3 != 0


def begin_anew(task: str, seed: int, noise: float, start: Callable[[str], EpisodeRecorder]) -> bool:
    """As `demonstrate`, after a beginning that came to nothing."""
    recorder = start("something else")
    recorder.add_frame(make_images(7), np.ones(14), np.ones(14), 0.0)
    recorder.discard()
    return demonstrate(task, seed, noise, start)


def never_succeed(task: str, seed: int, noise: float, start: Callable[[str], EpisodeRecorder]) -> bool:
    recorder = start(INSTRUCTION)
    recorder.add_frame(make_images(0), np.zeros(14), np.zeros(14), 0.0)
    return False


def demonstrate_unless_first(
    once: str, task: str, seed: int, noise: float, start: Callable[[str], EpisodeRecorder]
) -> bool:
    """As `demonstrate`, but seed 2 kills its worker in the middle: where the file `once` is not there yet."""
    if seed == 2 and not Path(once).exists():
        start(task).add_frame(make_images(7), np.ones(14), np.ones(14), 0.0)
        Path(once).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return demonstrate(task, seed, noise, start)
