"""Published peak rates of accelerators: dense bfloat16/float16 matrix products with float32 accumulation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Accelerator:
    """Peaks of a data sheet; `source` says which, and how the rate follows where it is not printed.

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
