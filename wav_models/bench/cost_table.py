"""The cost table of any model: three ways to plan, and what published peak rates of accelerators bound them to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from wav_models.bench.cost import Workload, plan_cost, total
from wav_models.bench.model_file import BenchmarkModel

FORMS: Final = {
    "published": "published code",
    "exact": "exact, with caches",
    "causal": "with caches and causal memory",
}
BYTES_PER_NUMBER: Final = 2


@dataclass(frozen=True)
class Accelerator:
    """Peaks of a data sheet, of dense bfloat16/float16 matrix products with float32 accumulation; `source` says which
    sheet, and how the rate follows where it is not printed.

    Attributes:
        flops: operations per second.
        bandwidth: of its memory [B/s].
    """

    name: str
    flops: float
    bandwidth: float
    source: str


ACCELERATORS = (
    Accelerator("RTX 4090", 165.2e12, 1008e9, "NVIDIA Ada GPU Architecture whitepaper"),
    Accelerator("RTX 5090", 209.5e12, 1792e9, "NVIDIA RTX Blackwell GPU Architecture whitepaper"),
    Accelerator("A100 SXM 80 GB", 312e12, 2039e9, "NVIDIA A100 Tensor Core GPU data sheet"),
    Accelerator("H100 SXM", 989.4e12, 3350e9, "NVIDIA H100 Tensor Core GPU data sheet, half of the rate with sparsity"),
    Accelerator(
        "Jetson AGX Orin 64 GB",
        42.5e12,
        204.8e9,
        "NVIDIA Jetson AGX Orin Series technical brief: 170 sparse INT8 TOPS of the GPU, a quarter of it",
    ),
    Accelerator(
        "Jetson Thor T5000",
        258.75e12,
        273e9,
        "NVIDIA Jetson Thor Series data sheet: 2070 sparse FP4 TFLOPS, an eighth of it",
    ),
)


def lower_bound(accelerator: Accelerator, flops: int, moved_bytes: int) -> float:
    """No run can be shorter [s]: all operations at the peak rate, or all bytes at the peak bandwidth."""
    return max(flops / accelerator.flops, moved_bytes / accelerator.bandwidth)


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
