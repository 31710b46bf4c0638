"""Where planning loses: the links between imagining a good future, recognising it, acting on it, and gaining by it.

Each number below is one link; planning cannot pay where one is broken. Scores are of the planner's kind,
by as many value samples, with noises that all futures share.

    score_spread_futures / score_spread_samples   do futures differ more than value samples disagree about them? What a
                                                  sample adds to all futures alike is left out: it orders nothing
    score_spread_outcomes                         do the true outcomes of acting on them differ?
    action_spread_futures                         do chunks differ between futures (same value and action noise)?
    following                                     cosine of imagined and true differences between futures: 1 = acting on
                                                  a future brings about what distinguishes it, 0 = it does not
    concordance                                   of two futures, how often the one that promises more turns out better
                                                  by the score of its true outcome (AUC; 0.5 = chance)
    gain_promised, gain_realised                  best future against the average one: promised, and after acting it out
    concordance_replanned, gain_replanned         the same one re-plan later, by the mean value expected from there
    gain_promised_NAME, gain_realised_NAME        of what a planner NAME chose, where searches are compared
    auc_true, auc_own, auc_imagined               value against the success of recorded episodes: reading their true
                                                  future; the model's own, denoised from the noised true one; imagined
    taught                                        what a student keeps of its teacher's choices (`taught`)
    return_r2_*, action_error_*                   predicted return and decoded chunk against the recorded ones, with the
                                                  same futures, and with a wrong one: of another moment of the episode

Standard errors take the moments of one episode as one: they are not independent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from wav_models.experiments.reader import action_spread
from wav_models.types import FloatArray

if TYPE_CHECKING:
    from wav_models.experiments.branching import Moment


def summarise_moments(moments: Sequence[Moment], joints: Sequence[int]) -> dict[str, float | None]:
    """The links that the simulator shows, averaged over moments; see the module for their meaning.

    Args:
        joints: columns of an action whose spread is measured [rad].
    """
    if not moments:
        raise ValueError("no moments to summarise: episodes ended before the first one")
    spread_futures = _mean(moments, lambda m: m.promised.std())
    spread_samples = _mean(moments, lambda m: (m.pairs - m.pairs.mean(axis=0)).std(axis=1).mean())
    promised = _mean(moments, lambda m: _gain(m, m.promised))
    realised = _mean(moments, lambda m: _gain(m, m.realised))
    return {
        "moments": float(len(moments)),
        "score_spread_futures": spread_futures,
        "score_spread_samples": spread_samples,
        "score_spread_ratio": spread_futures / max(spread_samples, 1e-12),
        "score_spread_outcomes": _mean(moments, lambda m: m.realised.std()),
        "action_spread_futures_rad": _mean(moments, lambda m: action_spread(m.actions, joints)),
        "action_spread_value_noise_rad": _mean(moments, lambda m: action_spread(m.actions_by_value, joints)),
        "action_spread_action_noise_rad": _mean(moments, lambda m: action_spread(m.actions_by_noise, joints)),
        "following": _mean(moments, lambda m: following(m.imagined, m.outcome)),
        "concordance": _mean(moments, lambda m: concordance(m.promised, m.realised)),
        "concordance_replanned": _mean(moments, lambda m: concordance(m.promised, m.replanned)),
        "gain_promised": promised,
        "gain_realised": realised,
        "gain_realised_standard_error": _standard_error(moments, lambda m: _gain(m, m.realised)),
        "gain_replanned": _mean(moments, lambda m: _gain(m, m.replanned)),
        "gain_replanned_standard_error": _standard_error(moments, lambda m: _gain(m, m.replanned)),
        "realised_over_promised": realised / max(promised, 1e-12),
        **{key: number for name in moments[0].searched for key, number in _of_search(moments, name).items()},
    }


def _of_search(moments: Sequence[Moment], name: str) -> dict[str, float | None]:
    """What a planner chose against the average of the M futures: promised, and after acting it out."""

    def promised(moment: Moment) -> float:
        return moment.searched[name][0] - float(moment.promised.mean())

    def realised(moment: Moment) -> float:
        return moment.searched[name][1] - float(moment.realised.mean())

    return {
        f"gain_promised_{name}": _mean(moments, promised),
        f"gain_realised_{name}": _mean(moments, realised),
        f"gain_realised_{name}_standard_error": _standard_error(moments, realised),
    }


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
    """One line per number: at regular moments, where futures differ most, and on recorded episodes."""
    regular, choices = result["simulated"], result["choices"]
    recorded, taught = result.get("recorded") or {}, result.get("taught") or {}
    origin = [f"  recorded episodes: {result['data']} ({result['episodes_were']})"] if recorded else []
    width = max(map(len, (*regular, *recorded, *taught.get("regular", ()))))
    return "\n".join(
        [
            f"  {'':<{width}}  {'regular':>12} {'choices':>12}",
            *(f"  {name:<{width}}  {_number(regular[name])} {_number(choices[name])}" for name in regular),
            *origin,
            *(f"  {name:<{width}}  {_number(value)}" for name, value in recorded.items()),
            *(["  against the teacher, on the same episodes"] if taught else []),
            *(
                f"  {name:<{width}}  {_number(value)} {_number(taught['choices'][name])}"
                for name, value in taught.get("regular", {}).items()
            ),
        ]
    )


def _number(value: float | None) -> str:
    return f"{'not measured' if value is None else format(value, '.4g'):>12}"


def _gain(moment: Moment, values: FloatArray) -> float:
    """How much more than the average future the most promising one has, in `values` [M]."""
    return float(values[int(moment.promised.argmax())] - values.mean())


def _mean(moments: Sequence[Moment], quantity: Any) -> float:
    return float(np.mean([quantity(moment) for moment in moments]))


def _standard_error(moments: Sequence[Moment], quantity: Any) -> float | None:
    """Of the mean over moments, with the moments of an episode as one cluster; None with a single episode."""
    mean = _mean(moments, quantity)
    clusters: defaultdict[int, float] = defaultdict(float)
    for moment in moments:
        clusters[moment.seed] += quantity(moment) - mean
    count = len(clusters)
    if count < 2:
        return None
    return float(np.sqrt(count / (count - 1) * np.sum(np.square(list(clusters.values())))) / len(moments))
