"""What `meta/info.json` of a LeRobot dataset says of its features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def feature_of(info: Mapping[str, Any], key: str) -> dict[str, Any]:
    """What a complete `meta/info.json` says of a feature; ValueError, with those there are, where it has none."""
    feature = info["features"].get(key)
    if not isinstance(feature, dict):
        raise ValueError(f"there is no feature {key!r}; there are {', '.join(info['features'])}")
    return feature


def shape_of(feature: dict[str, Any]) -> list[Any]:
    """Of a feature of `meta/info.json`; empty where it says none."""
    shape = feature.get("shape")
    return shape if isinstance(shape, list) else []


def image_size(feature: dict[str, Any]) -> tuple[int, int]:
    """(height, width) [px] of a camera whose shape is [height, width, 3] or [3, height, width].

    Raises:
        ValueError: it is neither.
    """
    shape = shape_of(feature)
    if len(shape) != 3 or 3 not in (shape[0], shape[2]) or not all(isinstance(s, int) and s > 0 for s in shape):
        raise ValueError(f"shape {shape}; an RGB camera has [height, width, 3] or [3, height, width]")
    return (shape[0], shape[1]) if shape[2] == 3 else (shape[1], shape[2])


def flat_names(names: Any) -> list[Any]:
    """Names of the axes; written as a list, lists by kind: {"motors": [...]}, or columns by name: {"gripper": 6}."""
    if isinstance(names, dict) and names and all(isinstance(column, int) for column in names.values()):
        return sorted(names, key=lambda name: int(names[name]))
    groups = names.values() if isinstance(names, dict) else names if isinstance(names, list) else ()
    return [name for group in groups for name in (flat_names(group) if isinstance(group, (dict, list)) else [group])]
