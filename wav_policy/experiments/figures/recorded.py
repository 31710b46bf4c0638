"""Figures of recorded episodes: value, imagined video, reward terms."""

from __future__ import annotations

from typing import Any

import numpy as np

from wav_policy.experiments.figures.inputs import Files, ReportInputs

NUM_EPISODES = 4
ROLLOUTS = 12
"""Starts that the quality of imagined video is averaged over."""
FUTURES = 2
"""Futures imagined one after the other."""


def measure_value(inputs: ReportInputs) -> Files:
    """Predicted and labelled return along held-out episodes, failures among them where there are any."""
    from wav_models.checkpoint import load_planner_config
    from wav_models.experiments.value_curve import value_curve
    from wav_policy.experiments.diagnose_command import make_reader

    dataset = inputs.dataset()
    reader = make_reader(inputs.checkpoint, load_planner_config(inputs.checkpoint))
    candidates, kind = inputs.split(dataset)
    failures = [i for i in candidates if dataset.episodes[i].success is False][: NUM_EPISODES // 2]
    others = [i for i in candidates if dataset.episodes[i].success is not False][: NUM_EPISODES - len(failures)]
    curves: list[dict[str, Any]] = []
    for i in (*others, *failures):
        inputs.tell(len(curves), len(others) + len(failures))
        curves.append(value_curve(reader, dataset.read_episode(i), inputs.seed))
    origin = {"seeds": [inputs.seed], "data": dataset.root.name, "episodes_were": kind}
    return {"value.json": {**origin, "curves": curves}}


def measure_rollout(inputs: ReportInputs) -> Files:
    """One example as pictures, and the quality over several starts."""
    from wav_models.checkpoint import load_planner_config
    from wav_models.experiments.rollout import roll_out
    from wav_policy.experiments.diagnose_command import make_reader

    dataset = inputs.dataset()
    reader = make_reader(inputs.checkpoint, load_planner_config(inputs.checkpoint))
    rng = np.random.default_rng(inputs.seed)
    episodes, kind = inputs.split(dataset)
    rollouts = []
    for i in range(ROLLOUTS):
        inputs.tell(i, ROLLOUTS)
        episode = dataset.read_episode(episodes[i % len(episodes)])
        start = int(rng.integers(len(episode) // 4, max(len(episode) // 2, len(episode) // 4 + 1)))
        rollouts.append(roll_out(reader, episode, start, FUTURES, inputs.seed + i))
    first = rollouts[0]
    mean = {n: np.mean([getattr(r, n) for r in rollouts], axis=0).tolist() for n in ("psnr", "ssim", "copy_psnr")}
    common = {"times": first.times.tolist(), "views": list(reader.engine.config.embodiment.view_names)}
    origin = {"seeds": [inputs.seed, inputs.seed + ROLLOUTS], "data": dataset.root.name, "episodes_were": kind}
    return {
        "rollout.npz": {**origin, **common, "true": first.true, "imagined": first.imagined},
        "rollout_quality.json": {**origin, **common, **mean, "rollouts": ROLLOUTS},
    }


def measure_rewards(inputs: ReportInputs) -> Files:
    """All reward terms of one labelled episode."""
    dataset = inputs.dataset()
    terms = dataset.robot.reward_terms
    candidates, kind = inputs.split(dataset)
    episode = dataset.read_episode(candidates[0])
    if episode.values is None:
        raise ValueError(f"{dataset.root} has no rewards; run `wav label` first")
    weighted = episode.values[:, :-1] * np.array([term.weight for term in terms])
    return {
        "rewards.json": {
            "seeds": [episode.info.seed],
            "data": dataset.root.name,
            "episodes_were": kind,
            "episode": episode.info.index,
            "names": [term.name for term in terms],
            "time": (np.arange(len(episode)) / episode.fps).tolist(),
            "weighted": weighted.tolist(),
            "reward": weighted.sum(axis=1).tolist(),
            "return": episode.values[:, -1].tolist(),
        }
    }
