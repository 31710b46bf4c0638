"""What a student keeps of its teacher's choices, on recorded moments and with noises that neither was trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import torch

from wav_models.checkpoint import Checkpoint
from wav_models.data.dataset import Dataset, Episode
from wav_models.data.samples import frames_per_step, window
from wav_models.experiments.reader import FutureReader, Reading, action_spread
from wav_models.planner.scoring import make_score
from wav_models.training.agreement import Judged, agreement
from wav_models.types import FloatArray, Observation

CHOICES: Final = 0.2
"""Share of the moments, those at which the teacher's futures ask for the most different motions, that are choices."""


@dataclass(frozen=True)
class TaughtMoment:
    """M futures of one recorded moment.

    Attributes:
        student, teacher: of the same noises.
        again: the teacher's opinion by other value noises.
        spread: of the teacher's actions over futures, mean over steps and joints [rad].
        error: of the student's actions against the teacher's, likewise [rad].
    """

    student: Judged
    teacher: Judged
    again: Judged
    spread: float
    error: float


def measure_taught(
    student: FutureReader,
    teacher: FutureReader,
    dataset: Dataset,
    episodes: Sequence[int],
    moments_per_episode: int,
    seed: int,
) -> dict[str, dict[str, float]]:
    """Agreement at all moments ("regular") and at choices; the ceiling is "..._by_other_values".

    Returns:
        As `agreement`; what the teacher makes of the student's best of M futures, and of its own, above the average one
        (`gain_of_choice`, `gain_of_best`); error and spread of actions [rad].

    Raises:
        ValueError: there is no episode.
    """
    rng = np.random.default_rng(seed)
    moments = [
        moment
        for index in episodes
        for moment in _moments(student, teacher, dataset.read_episode(index), moments_per_episode, rng)
    ]
    if not moments:
        raise ValueError(f"{dataset.root}: no episodes to look at; record some, or give another --data")
    widest = sorted(moments, key=lambda moment: -moment.spread)[: max(1, round(CHOICES * len(moments)))]
    return {"regular": _summary(moments), "choices": _summary(widest)}


def require_comparable(student: Checkpoint, teacher: Checkpoint) -> None:
    """ValueError where the two see, imagine or act otherwise, so that they share no noise."""
    both = student, teacher
    for name in ("embodiment", "latent", "horizon"):
        ours, theirs = (_without_given_steps(getattr(each.config, name)) for each in both)
        if ours != theirs:
            raise ValueError(f"the teacher's {name} is another than the student's: they cannot be compared")
    weights = (cast(torch.nn.Module, each.autoencoder).state_dict().values() for each in both)
    if not all(torch.equal(*pair) for pair in zip(*weights, strict=True)):
        raise ValueError("the teacher's auto-encoder is another than the student's: they cannot be compared")


def _without_given_steps(part: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(part).items() if name != "given_steps"}


def _moments(
    student: FutureReader, teacher: FutureReader, episode: Episode, count: int, rng: np.random.Generator
) -> Iterator[TaughtMoment]:
    config, planner = student.engine.config, student.planner
    stride = frames_per_step(episode.fps, config.horizon.step_hz)
    for step in np.sort(rng.choice(len(episode), min(count, len(episode)), replace=False)):
        part = window(len(episode), int(step), config.horizon, stride)
        frames, places = np.unique(part.memory, return_inverse=True)
        views, size = config.embodiment.view_names, config.latent.image_size
        images = np.stack([episode.images(view, frames.tolist(), size) for view in views])[:, places]
        observation = Observation(images, episode.states[part.now], episode.instruction, 0.0)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        noise = student.video_noise(planner.num_video_samples, generator)
        value_noise, other = (student.value_noise(planner.num_value_samples, generator) for _ in range(2))
        action_noise = student.action_noise(1, generator)[0]
        readings = [reader.imagined(reader.observe(observation), noise) for reader in (student, teacher)]

        def chunks(reader: FutureReader, reading: Reading) -> FloatArray:
            return reader.actions(reading, observation.joint_state, value_noise[0], action_noise)  # noqa: B023

        done, wanted = (chunks(*pair) for pair in zip((student, teacher), readings, strict=True))
        joints = config.embodiment.arm_columns
        yield TaughtMoment(
            _judged(readings[0], student, value_noise, done),
            _judged(readings[1], teacher, value_noise, wanted),
            _judged(readings[1], teacher, other, wanted),
            action_spread(wanted, joints),
            float(np.abs(done - wanted)[..., joints].mean()),
        )


def _judged(reading: Reading, reader: FutureReader, value_noise: torch.Tensor, chunks: FloatArray) -> Judged:
    score = make_score(reader.planner.score, reader.planner.snr_eps)
    values = torch.from_numpy(reader.values(reading, value_noise))
    return Judged.of(reading.latents[None], score.futures(score.pairs(values))[None], torch.from_numpy(chunks)[None])


def _summary(moments: Sequence[TaughtMoment]) -> dict[str, float]:
    student, teacher, again = (
        Judged.joined([getattr(m, name) for m in moments]) for name in ("student", "teacher", "again")
    )
    above = teacher.scores - teacher.scores.mean(axis=1, keepdims=True)
    chosen = student.scores.argmax(axis=1)
    ceiling = agreement(again, teacher)
    return {
        "moments": float(len(moments)),
        **agreement(student, teacher),
        **{f"{name}_by_other_values": ceiling[name] for name in ("score_rank", "same_best", "captured")},
        "gain_of_choice": float(above[np.arange(len(chosen)), chosen].mean()),
        "gain_of_best": float(above.max(axis=1).mean()),
        "action_error_rad": float(np.mean([moment.error for moment in moments])),
        "action_spread_rad": float(np.mean([moment.spread for moment in moments])),
    }
