"""Charts show what the newest plan found, and nothing where it found nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from wav_models.types import FloatArray
from wav_policy.monitor.charts import RoundsChart


@pytest.mark.parametrize("nothing", [None, np.zeros((0, 0))])
def test_scores_of_an_older_plan_do_not_stay(nothing: FloatArray | None) -> None:
    plots: list[Any] = []

    def add_uplot(data: Any, *_: Any, **__: Any) -> Any:
        plots.append(SimpleNamespace(data=data))
        return plots[-1]

    chart = RoundsChart(SimpleNamespace(add_uplot=add_uplot), "score")  # type: ignore[arg-type]
    (plot,) = plots
    blank = plot.data
    chart.show(np.array([[0.1, 0.5], [0.3, 0.7]]))
    np.testing.assert_allclose(plot.data, [[1.0, 2.0], [0.5, 0.7], [0.3, 0.5], [0.1, 0.3]])
    chart.show(nothing)
    assert plot.data is blank
