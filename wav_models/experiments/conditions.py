"""What planning is compared with: the same search, less of it, or its opposite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from wav_models.configuration import did_you_mean
from wav_models.planner.config import PlannerConfig

_SEARCH: Final = (
    "num_iterations",
    "mean_update_rate",
    "std_update_rate",
    "min_std",
    "score",
    "snr_eps",
    "shared_value_noise",
    "action_noise_std",
    "selection",
    "warm_start",
)
"""Whose defaults are the paper's; how a checkpoint's networks are read, and how many futures, stays its own."""
NAMED_CONDITIONS: Final[dict[str, dict[str, Any]]] = {
    "k0": {"num_iterations": 0, "selection": "sample"},
    "k0-zero": {"num_iterations": 0, "selection": "mean"},
    "shrunk": {"num_iterations": 3, "score": "random", "selection": "sample"},
    "best": {"num_iterations": 1, "selection": "best"},
    "worst": {"num_iterations": 1, "selection": "worst"},
    "k1": {"num_iterations": 1},
    "k3": {"num_iterations": 3},
    "k5": {"num_iterations": 5},
    "fresh": {"num_iterations": 3, "mean_update_rate": 0.0, "std_update_rate": 0.0, "selection": "best"},
    "paper": {name: getattr(PlannerConfig(), name) for name in _SEARCH},
}
"""Condition -> what it changes in a planner; docs/planning.md says what each is for."""


def named_conditions(base: PlannerConfig, names: Sequence[str] = tuple(NAMED_CONDITIONS)) -> dict[str, PlannerConfig]:
    """The planners of these conditions, by name.

    Raises:
        ValueError: an unknown condition.
    """
    for name in names:
        if name not in NAMED_CONDITIONS:
            raise ValueError(f"no condition {name!r}{did_you_mean(name, NAMED_CONDITIONS)}")
    return {name: replace(base, **NAMED_CONDITIONS[name]) for name in names}
