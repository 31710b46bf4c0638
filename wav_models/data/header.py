"""What a complete `meta/info.json` of a LeRobot dataset says: rate, features, paths, and of which robot it is."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from string import Formatter
from typing import Any, Final

from wav_models.data.joint_names import spelled_as_ours
from wav_models.data.layout import ACTION_KEY, CODEBASE_VERSION, DATA_PATH, STATE_KEY, VIDEO_PATH
from wav_models.embodiment import Embodiment
from wav_models.embodiments import EMBODIMENTS

PATH_FIELDS: Final = ("chunk_index", "file_index", "video_key")
"""Of the patterns in `meta/info.json`."""


def rate_of(info: dict[str, Any]) -> float | None:
    """Frames per second of `meta/info.json` [Hz]; None where what it says is no rate."""
    fps = info["fps"]
    is_rate = isinstance(fps, (int, float)) and not isinstance(fps, bool) and 0 < fps < math.inf
    return float(fps) if is_rate else None


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


def is_pattern(pattern: Any, names: Collection[str]) -> bool:
    """Whether it is a pattern of paths with fields of these names, of no other form than LeRobot's: a wide field takes
    all memory."""
    try:
        fields = list(Formatter().parse(pattern))
    except (TypeError, ValueError):
        return False
    return all(
        name is None or (name in names and re.fullmatch(r"(0?\d)?d?", form or "") and not conversion)
        for _, name, form, conversion in fields
    )


def robot_of(info: dict[str, Any]) -> Embodiment:
    """The robot of a complete `meta/info.json`: of its `robot_type`, or, where that is no known one, of its columns.

    Where neither fits, the first there is, whose `header_faults` say what is wrong.
    """
    robots = list(EMBODIMENTS.values())
    named = [robot for robot in robots if robot.robot_type == info.get("robot_type")]
    fitting = (robot for robot in named or robots if next(header_faults(info, robot), None) is None)
    return next(fitting, (named or robots)[0])


def header_faults(info: dict[str, Any], robot: Embodiment) -> Iterator[str]:
    """What keeps a complete `meta/info.json` from describing a robot."""
    rate, features, cameras = rate_of(info), info["features"], robot.view_keys.values()
    columns = {STATE_KEY: robot.state, ACTION_KEY: robot.actions}
    if rate is None or rate != int(rate):
        yield f"fps is {info['fps']!r}; it must be a positive whole number"
    for key in (*columns, *cameras):
        if key not in features:
            yield f"feature {key!r} of {robot.name} is missing; there are {', '.join(features)}"
            continue
        if not isinstance(features[key], dict):
            yield f"feature {key!r} is {features[key]!r}, not a description"
            continue
        if key in cameras:
            if features[key].get("dtype") != "video":
                yield f"{key} has dtype {features[key].get('dtype')!r}; ours are videos"
            try:
                image_size(features[key])
            except ValueError as error:
                yield f"{key} has {error}"
            continue
        shape, expected = shape_of(features[key]), [channel.name for channel in columns[key]]
        if shape != [len(expected)]:
            yield f"{key} has shape {shape}; {robot.name} has [{len(expected)}]"
        names = flat_names(features[key].get("names"))
        if shape == [len(expected)] and names and spelled_as_ours(names, columns[key]) != expected:
            yield f"{key} has the joints {', '.join(map(str, names))}; {robot.name} has {', '.join(expected)}"
    for name, pattern in {"data_path": DATA_PATH, "video_path": VIDEO_PATH}.items():
        if info["codebase_version"] == CODEBASE_VERSION and not is_pattern(info.get(name), PATH_FIELDS):
            yield f"{name} is {info.get(name)!r}; LeRobot's is {pattern!r}"
