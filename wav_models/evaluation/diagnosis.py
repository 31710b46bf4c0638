"""Where planning loses: the links between imagining a good future, recognising it, acting on it, and gaining by it.

Each number below is one link; planning cannot pay where one is broken.

    value_spread_futures / value_spread_samples   do futures differ in value by more than value samples of one do?
    action_spread_futures                         do chunks differ between futures (same value and action noise)?
    following                                     cosine of imagined and true differences between futures: 1 = acting on
                                                  a future brings about what distinguishes it, 0 = it does not
    concordance                                   of two futures, how often the one that promises more turns out better,
                                                  as the value expert judges true outcomes (AUC; 0.5 = chance)
    gain_promised, gain_realised                  best future against the average one: promised, and after acting it out
    gain_replanned                                the same one re-plan later: what the model expects from there
    auc_true, auc_own, auc_imagined               value against the success of recorded episodes: reading their true
                                                  future; the model's own, denoised from the noised true one; imagined
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wav_models.evaluation.branching import Moment
from wav_models.types import ARM_DOF, JOINT_DIM, FloatArray

ANGLES = [i for i in range(JOINT_DIM) if i % ARM_DOF != ARM_DOF - 1]
"""Joints measured in radians: all but the grippers."""


def summarise_moments(moments: Sequence[Moment]) -> dict[str, float]:
    """The links that the simulator shows, averaged over moments; see the module for their meaning."""
    if not moments:
        raise ValueError("no moments to summarise: episodes ended before the first one")
    spread_futures = _mean(moments, lambda m: m.promised.mean(axis=1).std())
    spread_samples = _mean(moments, lambda m: m.promised.std(axis=1).mean())
    promised = _mean(moments, lambda m: _gain(m, m.promised.mean(axis=1)))
    realised = _mean(moments, lambda m: _gain(m, m.realised))
    replanned = _mean(moments, lambda m: _gain(m, m.replanned))
    return {
        "moments": float(len(moments)),
        "value_spread_futures": spread_futures,
        "value_spread_samples": spread_samples,
        "value_spread_ratio": spread_futures / max(spread_samples, 1e-12),
        "value_spread_outcomes": _mean(moments, lambda m: m.realised.std()),
        "action_spread_futures_rad": _mean(moments, lambda m: action_spread(m.actions)),
        "action_spread_value_noise_rad": _mean(moments, lambda m: action_spread(m.actions_by_value)),
        "action_spread_action_noise_rad": _mean(moments, lambda m: action_spread(m.actions_by_noise)),
        "following": _mean(moments, lambda m: following(m.imagined, m.outcome)),
        "concordance": _mean(moments, lambda m: concordance(m.promised.mean(axis=1), m.realised)),
        "concordance_replanned": _mean(moments, lambda m: concordance(m.promised.mean(axis=1), m.replanned)),
        "gain_promised": promised,
        "gain_realised": realised,
        "gain_realised_standard_error": _standard_error([_gain(m, m.realised) for m in moments]),
        "gain_replanned": replanned,
        "gain_replanned_standard_error": _standard_error([_gain(m, m.replanned) for m in moments]),
        "realised_over_promised": realised / max(promised, 1e-12),
        "replanned_over_promised": replanned / max(promised, 1e-12),
    }


def action_spread(chunks: FloatArray) -> float:
    """Standard deviation of joint angles over the first axis of chunks [M, H, 14], mean over steps and joints [rad]."""
    return float(chunks[..., ANGLES].std(axis=0).mean())


def following(imagined: FloatArray, outcome: FloatArray) -> float:
    """Mean cosine between what distinguishes each imagined future [M, D] and what distinguishes its outcome [M, D]."""
    first, second = imagined - imagined.mean(axis=0), outcome - outcome.mean(axis=0)
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return float(np.mean((first * second).sum(axis=1) / np.maximum(norms, 1e-12)))


def concordance(promised: FloatArray, realised: FloatArray) -> float:
    """Share of pairs that are ordered alike, ties counting half."""
    i, j = np.triu_indices(len(promised), 1)
    agreement = np.sign(promised[i] - promised[j]) * np.sign(realised[i] - realised[j])
    return float((1.0 + agreement.mean()) / 2.0)


def area_under_curve(scores: FloatArray, positive: Sequence[bool]) -> float | None:
    """Probability that a positive scores above a negative, ties counting half; None where one of them is missing."""
    mask = np.asarray(positive, dtype=bool)
    if mask.all() or not mask.any():
        return None
    differences = np.asarray(scores)[mask][:, None] - np.asarray(scores)[~mask][None, :]
    return float(np.mean((differences > 0) + 0.5 * (differences == 0)))


def describe(result: dict[str, Any]) -> str:
    """One line per number."""
    rows = {**result["simulated"], **(result.get("recorded") or {})}
    width = max(map(len, rows))
    return "\n".join(
        f"  {name:<{width}}  {'not measured' if value is None else format(value, '.4g')}"
        for name, value in rows.items()
    )


def _gain(moment: Moment, values: FloatArray) -> float:
    """How much more than the average future the most promising one has, in `values` [M]."""
    return float(values[int(moment.promised.mean(axis=1).argmax())] - values.mean())


def _mean(moments: Sequence[Moment], quantity: Any) -> float:
    return float(np.mean([quantity(moment) for moment in moments]))


def _standard_error(numbers: Sequence[float]) -> float:
    return float(np.std(numbers) / np.sqrt(len(numbers)))
