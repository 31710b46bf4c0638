"""Per-feature statistics of LeRobot datasets: of one episode, and combined over episodes."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

FeatureStats = dict[str, Any]
"""min, max, mean, std, q01..q99 (lists shaped like the feature) and count ([n])."""

NEEDED: Final = frozenset(("min", "max", "mean", "std", "count"))
"""Those that every writer has."""

QUANTILES: Final = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}

PIXEL_STRIDE: Final = 8
"""Image statistics look at every 8th pixel of every 8th row: enough for means, cheap at frame rate."""


def feature_stats(data: NDArray[Any]) -> FeatureStats:
    """Statistics over the first axis of data [n, ...]."""
    data = np.asarray(data, dtype=np.float64)
    stats: FeatureStats = {
        "min": data.min(axis=0).tolist(),
        "max": data.max(axis=0).tolist(),
        "mean": data.mean(axis=0).tolist(),
        "std": data.std(axis=0).tolist(),
        "count": [len(data)],
    }
    for name, value in zip(QUANTILES, np.quantile(data, list(QUANTILES.values()), axis=0), strict=True):
        stats[name] = value.tolist()
    return stats


class ImageSampler:
    """Collects a sample of a camera's pixels while an episode is recorded."""

    def __init__(self, frame_stride: int) -> None:
        self._frame_stride = frame_stride
        self._num_seen = 0
        self._samples: list[NDArray[np.uint8]] = []

    def add(self, rgb: NDArray[np.uint8]) -> None:
        """Offer one uint8 image [H, W, 3]; every `frame_stride`-th is looked at."""
        if self._num_seen % self._frame_stride == 0:
            self._samples.append(rgb[::PIXEL_STRIDE, ::PIXEL_STRIDE].reshape(-1, 3).copy())
        self._num_seen += 1

    def stats(self) -> FeatureStats:
        """Statistics per colour channel, shape [3, 1, 1] in 0..1; count is the number of sampled frames."""
        pixels = np.concatenate(self._samples).astype(np.float64)[:, :, None, None] / 255.0
        return {**feature_stats(pixels), "count": [len(self._samples)]}


def combine(first: FeatureStats, second: FeatureStats) -> FeatureStats:
    """Statistics of two samples together; quantiles are averaged by count, and left out where one has none, as LeRobot
    does: older writers and its converter from v2.1 write none."""
    n_1, n_2 = first["count"][0], second["count"][0]
    a = {name: np.asarray(value, dtype=np.float64) for name, value in first.items()}
    b = {name: np.asarray(value, dtype=np.float64) for name, value in second.items()}

    def average(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        return (n_1 * x + n_2 * y) / (n_1 + n_2)

    mean = average(a["mean"], b["mean"])
    variance = average(a["std"] ** 2 + (a["mean"] - mean) ** 2, b["std"] ** 2 + (b["mean"] - mean) ** 2)
    combined: FeatureStats = {
        "min": np.minimum(a["min"], b["min"]).tolist(),
        "max": np.maximum(a["max"], b["max"]).tolist(),
        "mean": mean.tolist(),
        "std": np.sqrt(variance).tolist(),
        "count": [n_1 + n_2],
    }
    for name in QUANTILES.keys() & a.keys() & b.keys():
        combined[name] = average(a[name], b[name]).tolist()
    return combined
