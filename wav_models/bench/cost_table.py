"""The cost table of any model: three ways to plan, and what peak rates bound them to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from wav_models.bench.accelerators import ACCELERATORS, lower_bound
from wav_models.bench.cost import Workload, plan_cost, total
from wav_models.bench.model_file import BenchmarkModel

FORMS: Final = {
    "published": "published code",
    "exact": "exact, with caches",
    "causal": "with caches and causal memory",
}
BYTES_PER_NUMBER: Final = 2


def cost_table(model: BenchmarkModel, plans: Sequence[tuple[int, int, int]]) -> dict[str, Any]:
    """Costs per plan, form and component, and lower bounds of the time per accelerator; plain data for JSON.

    Args:
        model: its own `causal_memory` does not matter: the forms decide.
        plans: K, M, N each.

    Raises:
        ValueError: a plan without futures or value samples, or with a negative count.
    """
    return {
        "model": model.config.name,
        "computed_not_measured": True,
        "bytes_per_number": BYTES_PER_NUMBER,
        "plans": [_plan(model, *counts) for counts in plans],
        "accelerators": [asdict(accelerator) for accelerator in ACCELERATORS],
    }


def _plan(model: BenchmarkModel, num_iterations: int, num_video_samples: int, num_value_samples: int) -> dict[str, Any]:
    if num_iterations < 0 or num_video_samples < 1 or num_value_samples < 1:
        counts = (num_iterations, num_video_samples, num_value_samples)
        raise ValueError(f"plan K, M, N is {counts}; K >= 0, M >= 1 and N >= 1 fit")
    work = Workload(num_iterations, num_video_samples, num_value_samples, model.denoise_steps, model.num_video_steps)
    forms = {}
    for form in FORMS:
        video = replace(model.config.video, causal_memory=form == "causal")
        config = replace(model.config, video=video)
        costs = plan_cost(config, work, cached=form != "published", bytes_per_number=BYTES_PER_NUMBER)
        whole = total(costs)
        forms[form] = {
            "components": {name: asdict(cost) for name, cost in costs.items()},
            "total": asdict(whole),
            "lower_bound_seconds": {a.name: lower_bound(a, whole.flops, whole.bytes) for a in ACCELERATORS},
        }
    return {"plan": asdict(work), "forms": forms}
