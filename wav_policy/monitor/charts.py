"""The two charts of the page: value over the horizon, and scores per round of the planner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from wav_models.types import FloatArray

if TYPE_CHECKING:
    import viser

_HEIGHT: Final = 130
_COLOURS: Final = ("#2b8a3e", "#1971c2", "#c92a2a")
_NO_ROUNDS: Final = (np.zeros(1),) * 4


class ValueChart:
    """Predicted value of the chosen future against the time after its observation."""

    def __init__(self, gui: viser.GuiApi) -> None:
        self._plot = gui.add_uplot(
            (np.zeros(1), np.zeros(1)),
            ({"label": "t [s]"}, {"label": "value", "stroke": _COLOURS[1], "width": 2}),
            legend={"show": False},
            title="Value over the horizon",
            scales={"x": {"time": False}},
            height=_HEIGHT,
        )

    def show(self, times: FloatArray, values: FloatArray) -> None:
        """Both of shape [T]."""
        self._plot.data = (times, values)


class RoundsChart:
    """Best, mean and worst score of the futures of every round: how the planner concentrates."""

    def __init__(self, gui: viser.GuiApi, title: str) -> None:
        lines: list[viser.uplot.Series] = [
            {"label": label, "stroke": colour, "width": 2, "points": {"show": True}}
            for label, colour in zip(("best", "mean", "worst"), _COLOURS, strict=True)
        ]
        self._plot = gui.add_uplot(
            _NO_ROUNDS,
            ({"label": "round"}, *lines),
            title=title,
            scales={"x": {"time": False}},
            height=_HEIGHT,
        )

    def show(self, scores: FloatArray | None) -> None:
        """Scores of shape [K, M]; no lines where no round ran, or nothing is known: old ones would pass for new."""
        if scores is None or not len(scores):
            self._plot.data = _NO_ROUNDS
            return
        rounds = np.arange(1, len(scores) + 1, dtype=np.float64)
        self._plot.data = (rounds, scores.max(axis=1), scores.mean(axis=1), scores.min(axis=1))
