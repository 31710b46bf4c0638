"""The experts on recorded moments: with the true future, the model's own, an imagined and a wrong one.

"Own" futures are the recorded ones noised to `OWN_START` and denoised by the model: its handwriting, their
content. Without a dataset of mixed success there is no AUC, and the answer says so by None.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from wav_models.data.dataset import Dataset, Episode
from wav_models.data.samples import frames_per_step, window
from wav_models.experiments.diagnosis import area_under_curve
from wav_models.experiments.reader import FutureReader, Reading
from wav_models.flow import interpolate
from wav_models.types import FloatArray, Observation

OWN_START = 0.4
"""Flow time from which own futures are denoised: late enough that they keep what was recorded."""
NUM_IMAGINED = 4
NUM_VALUE_SAMPLES = 2


@dataclass(frozen=True)
class RecordedMoment:
    """Predicted returns and action errors of one recorded moment, by kind of future."""

    success: bool | None
    true_return: float | None
    values: dict[str, float]
    errors: dict[str, float]


def measure_recorded(
    reader: FutureReader, dataset: Dataset, episodes: Sequence[int], moments_per_episode: int, seed: int
) -> dict[str, float | None]:
    """AUC of success, R² of the return and action error [rad] per kind of future; keys end in the kind."""
    rng = np.random.default_rng(seed)
    moments = [m for index in episodes for m in _moments(reader, dataset.read_episode(index), moments_per_episode, rng)]
    if not moments:
        raise ValueError(f"{dataset.root}: no episodes to look at; record some, or give another --data")
    kinds = moments[0].values
    known = [m for m in moments if m.success is not None]
    result: dict[str, float | None] = {"recorded_moments": float(len(moments))}
    for kind in kinds:
        scores = np.array([m.values[kind] for m in known])
        result[f"auc_{kind}"] = area_under_curve(scores, [bool(m.success) for m in known])
        result[f"return_r2_{kind}"] = _r_squared(moments, kind)
    for kind in moments[0].errors:
        result[f"action_error_{kind}_rad"] = float(np.mean([m.errors[kind] for m in moments]))
    return result


def _moments(reader: FutureReader, episode: Episode, count: int, rng: np.random.Generator) -> Iterator[RecordedMoment]:
    horizon = reader.engine.config.horizon
    stride = frames_per_step(episode.fps, horizon.step_hz)
    chosen = np.sort(rng.choice(len(episode), min(count, len(episode)), replace=False))
    windows = [window(len(episode), int(t), horizon, stride) for t in chosen]
    size, columns = reader.engine.config.latent.image_size, reader.engine.config.embodiment.arm_columns
    needed = sorted({int(i) for w in windows for i in (*w.memory, *w.future)})
    images = np.stack([episode.images(view, needed, size) for view in reader.engine.config.embodiment.view_names])
    row = {frame: i for i, frame in enumerate(needed)}
    latents = {frame: reader.encode_frames(images[:, row[frame]][:, None]) for frame in needed}
    futures = torch.stack([torch.cat([latents[int(i)] for i in w.future], dim=1) for w in windows])
    for k, w in enumerate(windows):
        observation = Observation(
            images[:, [row[int(i)] for i in w.memory]], episode.states[w.now], episode.instruction, 0.0
        )
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        noise = reader.video_noise(NUM_IMAGINED, generator)
        value_noise = reader.value_noise(NUM_VALUE_SAMPLES, generator)
        action_noise = reader.action_noise(1, generator)[0]
        scene = reader.observe(observation)
        wrong = futures[(k + len(windows) // 2) % len(windows)]
        readings = {
            "true": reader.noised(scene, futures[k][None], noise[:1]),
            "own": reader.imagined(
                scene, interpolate(noise[:1], futures[k][None], torch.full((1,), OWN_START)), OWN_START
            ),
            "imagined": reader.imagined(scene, noise),
            "wrong": reader.noised(scene, wrong[None], noise[:1]),
        }

        def error(reading: Reading) -> float:
            chunks = reader.actions(reading, observation.joint_state, value_noise[0], action_noise)  # noqa: B023
            return _error(chunks, episode.actions[w.actions], columns)  # noqa: B023

        yield RecordedMoment(
            episode.info.success,
            None if episode.values is None else float(episode.values[w.values, -1].mean()),
            {kind: float(reader.values(reading, value_noise).mean()) for kind, reading in readings.items()},
            {kind: error(reading) for kind, reading in readings.items()},
        )


def _r_squared(moments: Sequence[RecordedMoment], kind: str) -> float | None:
    """None where the dataset is not labelled."""
    labelled = [(m.values[kind], m.true_return) for m in moments if m.true_return is not None]
    if not labelled:
        return None
    predicted, true = np.array(labelled).T
    return float(1 - np.mean((predicted - true) ** 2) / max(true.var(), 1e-12))


def _error(chunks: FloatArray, targets: FloatArray, columns: Sequence[int]) -> float:
    return float(np.abs(chunks - targets)[..., columns].mean())
