"""Proposes a mapping for another lab's dataset from its names and numbers, and says what cannot be told from them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from wav_models.configuration import check_choice, from_dict
from wav_models.data.dataset import DatasetError, read_info
from wav_models.data.episode_filter import EpisodeFilter
from wav_models.data.header import rate_of, shape_of
from wav_models.data.joint_names import is_gripper, joints_meant, of_joints, of_poses, side_of, spelled_as_ours
from wav_models.data.layout import INFO_PATH, NEXT_SUCCESS_KEY, SUCCESS_KEY
from wav_models.data.mapped_dataset import ROLES, MappedDataset
from wav_models.data.mapping import GROUPS, DataMapping, Role, group, joint_features
from wav_models.data.marks import numbers_of_frames, tells_success
from wav_models.data.suggestion_numbers import (
    Suggestion,
    action_units,
    kind_of_actions,
    outside,
    read_ranges,
    unit_of,
)
from wav_models.embodiment import Embodiment
from wav_models.types import FloatArray
from wav_models.words import counted

REWARD_KEY: Final = "next.reward"

_OVERVIEW: Final = re.compile("top|head|high|overhead|front|main|ego|third|center|base|global")
"""Words for a camera that is on no arm."""
_SHOWN: Final = 5
_NUMBERS: Final = re.compile("float|u?int")
_ROLE: Final[dict[Role, re.Pattern[str]]] = {
    "state": re.compile(r"(observations?|states?|obs|qpos|joints?)(?![a-z])"),
    "action": re.compile(r"actions?(?![a-z])"),
}
"""What the names of features begin with."""
_ON_AN_ARM: Final = re.compile("wrist|hand|gripper|arm")


def suggest(
    root: Path, given: Mapping[str, Any], robot: Embodiment, episodes: EpisodeFilter | None = None
) -> Suggestion:
    """A mapping of the dataset in `root`.

    Args:
        given: fields of `DataMapping` that are known already.
        robot: that is to run a policy of the data.
        episodes: which of them are used; all when None.

    Raises:
        DatasetError: it cannot be read, whatever it is taken for.
        ConfigurationError: what was given is no mapping.
    """
    info = read_info(root)
    known = dict(given)
    suggestion = Suggestion(_mapping(known))
    known["cameras"] = _cameras(info, suggestion.mapping.cameras, robot, suggestion)
    for role in ROLES:
        if role not in known:
            known[role] = _features(info, role, robot, suggestion)
    if "joints" not in known:
        known["joints"] = _joints(info, _mapping(known), robot, suggestion)
    if "action_joints" not in known and not suggestion.undecided:
        known["action_joints"] = _action_joints(info, _mapping(known), robot, suggestion)
    if suggestion.undecided:
        return suggestion
    mapping = _mapping(known)
    mapping_at_a_rate = replace(mapping, fps=mapping.fps or max(1, round(rate_of(info) or 1)))
    dataset = MappedDataset(root, mapping_at_a_rate, robot)
    suggestion.assumed += _paths(info, dataset)
    if "success" not in known and (key := _success(dataset, suggestion)) is not None:
        mapping, mapping_at_a_rate = replace(mapping, success=key), replace(mapping_at_a_rate, success=key)
    dataset = MappedDataset(root, mapping_at_a_rate, robot, episodes)
    if not len(dataset):
        raise DatasetError(f"{root}: there are no episodes")
    if mapping.fps is None and info["fps"] != int(info["fps"]):
        suggestion.undecided.append(f"it was recorded at {info['fps']:g} Hz; say which rate it should have: `fps: 10`")
    suggestion.before, (turning, sliding) = read_ranges(dataset)
    scale = dict(mapping.scale)
    for name in GROUPS:
        columns = group(name, robot.state)
        if columns and not any(joint in scale for joint in (name, *(robot.state_names[column] for column in columns))):
            scale |= unit_of(name, columns, suggestion, robot)
    mapping = replace(mapping, scale=scale)
    if "actions" not in given:
        mapping = replace(mapping, actions=kind_of_actions(turning, sliding, suggestion) or "absolute")
    if not suggestion.undecided:
        mapping = replace(mapping, action_scale=action_units(mapping, suggestion, robot))
    suggestion.mapping = mapping
    dataset = MappedDataset(root, replace(mapping, fps=dataset.fps), robot, episodes)
    suggestion.after, _ = read_ranges(dataset, mapped=True)
    if not suggestion.undecided:
        suggestion.undecided += outside(suggestion.after, robot)
    suggestion.assumed += _of_episodes(dataset)
    if not (mapping.instruction or all(episode.instruction for episode in dataset.episodes)):
        suggestion.undecided.append('some episodes have no instruction; say it: `instruction: "put the cup away"`')
    return suggestion


def _mapping(known: Mapping[str, Any]) -> DataMapping:
    return from_dict(DataMapping, {name: value for name, value in known.items() if value is not None})


def _paths(info: dict[str, Any], dataset: MappedDataset) -> Iterator[str]:
    """Locations that are LeRobot's own because nothing is said of them."""
    for name, is_used in {"data_path": True, "video_path": dataset.has_videos}.items():
        if is_used and info.get(name) is None:
            yield f"files are where LeRobot puts them, {dataset.info[name]}: {INFO_PATH} has no {name}"


def _success(dataset: MappedDataset, suggestion: Suggestion) -> str | None:
    """What tells which episodes succeeded, by its name, where nothing does that is read anyway."""
    if any(episode.success is not None for episode in dataset.episodes):
        return None
    told: dict[str, list[bool | None]] = {}
    for key in filter(tells_success, dict.fromkeys((*dataset.info["features"], *sorted(dataset.noted)))):
        try:
            marks = _marks(dataset, key)
        except DatasetError as error:
            suggestion.undecided.append(f"{error}; say another column, `success: ...`, or none, `success: null`")
            continue
        if any(mark is not None for mark in marks):
            told[key] = marks
    if not told and set(_rewards(dataset).tolist()) == {0.0, 1.0}:
        told[REWARD_KEY] = _marks(dataset, REWARD_KEY)
    if not told:
        return None
    key, first = next(iter(told.items()))
    if any(marks != first for marks in told.values()):
        suggestion.undecided.append(f"which of {', '.join(told)} says whether an episode succeeded? `success: ...`")
    return key


def _marks(dataset: MappedDataset, key: str) -> list[bool | None]:
    """Of all episodes, as a column tells them."""
    mapping = replace(dataset.mapping, success=key)
    return [episode.success for episode in MappedDataset(dataset.root, mapping, dataset.robot).episodes]


def _rewards(dataset: MappedDataset) -> FloatArray:
    """The different ones there are, none where nothing tells any."""
    files = dict.fromkeys(episode.data_file for episode in dataset.episodes)
    return np.unique(np.concatenate([np.array([]), *(numbers_of_frames(path, REWARD_KEY) for path in files)]))


def _cameras(
    info: dict[str, Any], given: Mapping[str, str], robot: Embodiment, suggestion: Suggestion
) -> dict[str, str]:
    """Every view's feature: as it is given, by its name as ours or by the words in it."""
    videos = [k for k, feature in info["features"].items() if _is_colour(k, feature) and k not in given.values()]
    words = {key: re.findall(r"[a-z]+", key.lower()) for key in videos}
    for view in given:
        check_choice("view", view, robot.view_names)
    cameras = dict(given)
    for view, ours in robot.view_keys.items():
        if view in given:
            continue
        side = side_of(view)
        matching = [key for key in videos if side_of(key) == side]
        if len(matching) > 1:
            telling = _OVERVIEW if side is None else _ON_AN_ARM
            matching = [key for key in matching if any(map(telling.fullmatch, words[key]))] or matching
        matching = [ours] if ours in videos else matching
        if len(matching) == 1:
            cameras[view] = matching[0]
            suggestion.assumed.append(f"camera {view} is {matching[0]}, by its name")
        else:
            there = ", ".join(videos) or "no videos"
            suggestion.undecided.append(f"which camera is {view}? `cameras: {{{view}: ...}}`; there are {there}")
    return cameras


def _is_colour(key: str, feature: Any) -> bool:
    """Whether a feature holds videos of a camera, and not of depth."""
    if not isinstance(feature, dict) or feature.get("dtype") not in ("video", "image"):
        return False
    about = next((x for x in (feature.get("info"), feature.get("video_info")) if isinstance(x, dict)), {})
    return not about.get("video.is_depth_map") and "depth" not in key.lower() and 1 not in shape_of(feature)


def _of_episodes(dataset: MappedDataset) -> Iterator[str]:
    """What is taken for granted about them."""
    marks = [episode.success for episode in dataset.episodes]
    if (key := dataset.mapping.success) is not None:
        failed = f"{marks.count(True)} of {counted(len(marks), 'episode')} succeeded, {marks.count(False)} failed"
        yield f"success is told by {key}: {failed}"
    if None in marks:
        yield (
            f"neither success nor failure is marked in {marks.count(None)} of {counted(len(marks), 'episode')}; "
            f"`wav label` takes them for successes ({SUCCESS_KEY}, {NEXT_SUCCESS_KEY} are read; "
            "others are said, `success: ...`)"
        )
        rewards = _rewards(dataset)
        if len(rewards):
            yield (
                f"{REWARD_KEY} is from {rewards[0]:g} to {rewards[-1]:g}: where reaching a number means success, say "
                f"`success: {REWARD_KEY}` and `success_from: {rewards[-1]:g}`"
            )
    if dataset.ambiguous:
        numbers = ", ".join(map(str, dataset.ambiguous[:_SHOWN])) + ", ..." * (len(dataset.ambiguous) > _SHOWN)
        several = f"{counted(len(dataset.ambiguous), 'episode')} ({numbers}) with several instructions"
        yield f"{several}; the first counts throughout"


def _features(info: dict[str, Any], role: Role, robot: Embodiment, suggestion: Suggestion) -> str | list[str]:
    """The feature that holds the joints; the several that do, where the usual one does not and their names say all."""
    usual = DataMapping().features(role)
    parts = tuple(key for key in info["features"] if key in usual or (_ROLE[role].match(key) and of_joints(key)))
    for keys in (usual, tuple(key for key in parts if _is_row(info["features"][key]))):
        try:
            names, widths = joint_features(info, keys)
        except ValueError:
            continue
        columns = _columns(names, sum(widths), robot)
        if columns is None or not keys:
            continue
        feature_of_column = np.repeat(np.arange(len(keys)), widths)
        used = [keys[number] for number in sorted({int(feature_of_column[column]) for column in columns})]
        if keys != usual:
            suggestion.assumed.append(f"joints of the {role} are in {', '.join(used)}, by the names")
        return used if len(used) > 1 else used[0]
    return usual[0]


def _is_row(feature: Any) -> bool:
    """Whether a feature is a row of numbers."""
    return isinstance(feature, dict) and bool(_NUMBERS.match(str(feature.get("dtype")))) and len(shape_of(feature)) == 1


def _columns(names: list[Any], width: int, robot: Embodiment) -> list[int] | None:
    """The column of each of our joints, by the names or, where they do not say otherwise, in order; else None."""
    told = _told(names, width, robot)
    return told if told is not None else _in_order(names, width, robot)


def _in_order(names: list[Any], width: int, robot: Embodiment) -> list[int] | None:
    """Of as many columns as we have joints, whose names do not say which is which but, at most, which are grippers."""
    if width != robot.state_dim or any(joints_meant(names, robot.state)) or of_poses(names):
        return None
    grippers = [column for column, name in enumerate(names) if is_gripper(name)] if len(names) == width else []
    angles = [column for column in range(width) if column not in grippers]
    if not grippers:
        return angles
    ours = {name: group(name, robot.state) for name in GROUPS}
    if len(grippers) != len(ours["grippers"]):
        return None
    found = dict(zip([*ours["angles"], *ours["grippers"]], [*angles, *grippers], strict=True))
    return [found[column] for column in range(width)]


def _joints(
    info: dict[str, Any], mapping: DataMapping, robot: Embodiment, suggestion: Suggestion
) -> list[str | int] | None:
    """Which of the state's joints is which of ours; None where they are named as ours, or nobody can tell."""
    keys = mapping.features("state")
    names, widths = _described(info, "state", keys, suggestion)
    width = sum(widths)
    if not width or _spelled(names, width, robot):
        return None
    if (told := _told(names, width, robot)) is not None:
        suggestion.assumed.append(f"joints by their names: {_in_words(names, told, robot)}")
        return [str(names[column]) for column in told]
    if (columns := _in_order(names, width, robot)) is not None:
        suggestion.assumed.append(_ordered(names, columns, robot))
        return list(columns)
    suggestion.undecided.append(_which_joints("joints", keys, names, width, robot))
    return None


def _ordered(names: list[Any], columns: list[int], robot: Embodiment) -> str:
    """What is taken for what without names of joints, in words."""
    ours, said = robot.state_names, f"the names {', '.join(map(str, names))} do not say otherwise"
    if not names:
        said = "there are no names that say otherwise"
    elif columns != sorted(columns):
        said = f"{said} but which are grippers: columns {', '.join(map(str, columns))}"
    return f"the {len(columns)} joints are {ours[0]} .. {ours[-1]}, {_order(robot)}: {said}"


def _action_joints(
    info: dict[str, Any], mapping: DataMapping, robot: Embodiment, suggestion: Suggestion
) -> list[str | int] | None:
    """Which of the actions' joints is which of ours; None where what is said of the state's fits them, or nobody can
    tell."""
    keys = mapping.features("action")
    names, widths = _described(info, "action", keys, suggestion)
    of_state, state_widths = _described(info, "state", mapping.features("state"), suggestion)
    width = sum(widths)
    if not widths or not state_widths:
        return None
    try:
        usual = mapping.columns("action", ", ".join(keys), width, names, robot)
    except ValueError:
        usual = None
    told = _told(names, width, robot)
    if told is not None and told != usual:
        suggestion.assumed.append(f"joints of the actions by their names: {_in_words(names, told, robot)}")
        return [str(names[column]) for column in told]
    by_name = all(isinstance(joint, str) for joint in mapping.joints or ())
    if told is not None or (usual is not None and (by_name or names == of_state)):
        return None
    columns = _in_order(names, width, robot)
    if columns is not None and (widths != state_widths or any(map(is_gripper, names))):
        suggestion.assumed.append(f"of the actions, {_ordered(names, columns, robot)}")
        return list(columns)
    if state_widths == widths and not of_poses(names) and not any(joints_meant(names, robot.state)):
        suggestion.assumed.append(f"{', '.join(keys)} has its joints in the order of the state: its names do not say")
        return list(mapping.columns("state", ", ".join(mapping.features("state")), width, of_state, robot))
    suggestion.undecided.append(_which_joints("action_joints", keys, names, width, robot))
    return None


def _described(
    info: dict[str, Any], role: Role, keys: tuple[str, ...], suggestion: Suggestion
) -> tuple[list[Any], list[int]]:
    """Names of the columns of joints, and how many every feature has; undecided, and none, where they are nowhere."""
    try:
        return joint_features(info, keys)
    except ValueError as error:
        where = f"`{role}: FEATURE`, or several, `{role}: [FEATURE, FEATURE]`"
        suggestion.undecided.append(f"which feature holds the joints of the {role}? {where}; {error}")
        return [], []


def _spelled(names: list[Any], width: int, robot: Embodiment) -> bool:
    """Whether they are our names, but for the spelling, and no others."""
    return len(names) == width and sorted(map(str, spelled_as_ours(names, robot.state))) == sorted(robot.state_names)


def _told(names: list[Any], width: int, robot: Embodiment) -> list[int] | None:
    """The column of each of our joints, where the names say all of them."""
    for meant in (spelled_as_ours(names, robot.state), joints_meant(names, robot.state)):
        if len(names) == width and all(meant.count(joint) == 1 for joint in robot.state_names):
            return [meant.index(joint) for joint in robot.state_names]
    return None


def _in_words(names: list[Any], columns: list[int], robot: Embodiment) -> str:
    return ", ".join(f"{names[column]} is {joint}" for column, joint in zip(columns, robot.state_names, strict=True))


def _which_joints(said: str, keys: tuple[str, ...], names: list[Any], width: int, robot: Embodiment) -> str:
    """The question which columns are our joints, with the columns that there are."""
    there = ", ".join(map(str, names)) if names else f"{counted(width, 'column')} without names"
    poses = ": poses, where joints are needed" if of_poses(names) else ""
    few = f"; all {robot.state_dim} are needed, of several features if need be" if width < robot.state_dim else ""
    question = f"which joints are {', '.join(keys)}? `{said}: [{robot.state_dim} names or columns, {_order(robot)}]`"
    return f"{question}; it has {there}{poses}{few}"


def _order(robot: Embodiment) -> str:
    """In which order our joints are."""
    side = side_of(robot.state_names[0])
    return f"{side} arm first" if side else "from the base on"
