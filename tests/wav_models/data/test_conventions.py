"""Numbers in other conventions are found; sound ones are not blamed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.wav_models.piper import ANGLES, JOINT_DIM
from wav_models.data.conventions import Conventions, action_lag, missing_names
from wav_models.data.dataset import Episode, EpisodeInfo
from wav_models.embodiments import BIMANUAL_PIPER
from wav_models.types import FloatArray

GRIPPERS = [joint for joint in range(JOINT_DIM) if joint not in ANGLES]
LOWER, UPPER = np.array([(joint.lower, joint.upper) for joint in BIMANUAL_PIPER.state]).T
LAG = 2


def motion(length: int = 80) -> tuple[FloatArray, FloatArray]:
    """States and the actions they follow two steps later; all joints inside their limits."""
    t = np.arange(length + LAG)[:, None] / 10.0
    path = LOWER + (UPPER - LOWER) * (0.5 + 0.3 * np.sin(0.6 * t + np.arange(JOINT_DIM)))
    return path[:length], path[LAG:]


def episode(states: FloatArray, actions: FloatArray) -> Episode:
    info = EpisodeInfo(0, "go", len(states), None, None, None, None, {}, Path("data.parquet"), {})
    return Episode(info, 10, states, actions, np.arange(len(states)) / 10.0, None)


def findings(states: FloatArray, actions: FloatArray) -> list[str]:
    conventions = Conventions(BIMANUAL_PIPER, limited=True)
    for part in (slice(None, 40), slice(40, None)):
        conventions.add(episode(states[part], actions[part]))
    return [finding.message for finding in conventions.findings()]


def columns(joints: list[int], change: Callable[[FloatArray], FloatArray]) -> Callable[[FloatArray], FloatArray]:
    def apply(rows: FloatArray) -> FloatArray:
        rows = rows.copy()
        rows[:, joints] = change(rows[:, joints])
        return rows

    return apply


def test_sound_recordings_are_not_blamed() -> None:
    states, actions = motion()
    assert findings(states, actions) == []
    assert action_lag(states, actions, ANGLES) == LAG


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (columns(GRIPPERS, lambda x: -x), "left_gripper runs from -0.0"),
        (columns(GRIPPERS, lambda x: x / 0.07), "right_gripper runs from"),
        (columns(GRIPPERS, lambda x: 1.7 * x), "left_gripper runs from"),
        (columns([2], lambda x: -x), "left_joint3 runs from"),
        (columns([8], np.degrees), "right_joint2 runs from"),
        (columns(ANGLES, lambda x: 0.01 * x), "no joint moves more than"),
    ],
)
def test_other_units_and_signs_are_found(change: Callable[[FloatArray], FloatArray], message: str) -> None:
    states, actions = motion()
    assert any(message in found for found in findings(change(states), change(actions)))


def test_relative_actions_are_found() -> None:
    states, actions = motion()
    assert any("relative actions" in found for found in findings(states, actions - states))


def test_actions_that_are_the_state_are_found() -> None:
    states, _ = motion()
    assert any("every action equals the state" in found for found in findings(states, states))


def test_an_empty_dataset_has_no_conventions() -> None:
    assert list(Conventions(BIMANUAL_PIPER, limited=True).findings()) == []


def test_missing_names_are_named() -> None:
    features: dict[str, object] = {"action": {"names": None}, "observation.state": {"names": ["a"]}}
    assert missing_names(features, ("observation.state", "action")) == ["action"]


def test_rests_are_told() -> None:
    states, actions = motion()
    resting = np.concatenate([states, np.repeat(states[-1:], 60, axis=0)])
    told = np.concatenate([actions, np.repeat(states[-1:], 60, axis=0)])
    conventions = Conventions(BIMANUAL_PIPER, limited=True)
    conventions.add(episode(resting, told))
    assert any("of the frames ask for no motion, up to 6." in finding.message for finding in conventions.findings())


def test_targets_that_were_clipped_are_found() -> None:
    states, actions = motion()
    clipped = columns([1], lambda x: np.minimum(x, np.quantile(x, 0.6)))
    assert any("left_joint2 is told" in found and "clipped?" in found for found in findings(states, clipped(actions)))


def test_actions_that_are_late_are_found() -> None:
    _, actions = motion()
    assert any("actions are where the joints are" in found for found in findings(actions, actions + 1e-4))
