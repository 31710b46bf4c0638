"""The scripted operator of LIBERO takes over from wherever a policy has got to; geometry alone, without the suite."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from wav_policy.experiments.suites.catalogue import PROCESSES

sys.path.insert(0, str(PROCESSES))  # as in the suite's process
from libero_operator import POSITION_SCALE, PickAndPlace  # type: ignore[import-not-found]

ITEM, BASKET = np.array([0.1, 0.0, 0.0]), np.array([0.0, 0.3, 0.0])
TOP = 0.1
DOWN = np.array([1.0, 0.0, 0.0, 0.0])


class _Scene(PickAndPlace):
    """An object 10 cm high, and a basket; the tool goes where it is told to."""

    held = False

    def _cloud(self, name: str) -> np.ndarray:
        corners = np.array(list(np.ndindex(2, 2, 2))) - [0.5, 0.5, 0.0]
        return (ITEM + corners * [0.04, 0.06, TOP]) if name == "item" else (BASKET + corners * [0.2, 0.2, 0.12])

    def _holds(self, name: str) -> bool:
        return self.held

    def play(self, position: np.ndarray, rotation: np.ndarray = DOWN) -> tuple[np.ndarray, np.ndarray]:
        """Where the tool goes [N, 3] and what the gripper is told [N], until it has finished."""
        places, grips = [], []
        for _ in range(400):
            action = self.act({"robot0_eef_pos": position, "robot0_eef_quat": rotation})
            if self.phases.finished:
                return np.array(places), np.array(grips)
            position = position + POSITION_SCALE * action[:3] / 4
            places.append(position)
            grips.append(action[6])
        raise AssertionError("never finished")


def _operator() -> Any:
    return _Scene(None, "item", "basket", "skilled", np.random.default_rng(0))


@pytest.mark.parametrize("beside", [(0.06, 0.0), (-0.05, 0.05), (0.0, -0.07)])
def test_low_beside_the_object_it_opens_and_rises_before_it_comes_again(beside: tuple[float, float]) -> None:
    start = ITEM + np.array([*beside, 0.03])
    places, grips = _operator().play(start)
    low = places[: int(np.argmax(places[:, 2] > TOP))]
    np.testing.assert_allclose(low[:, :2], np.broadcast_to(start[:2], (len(low), 2)), atol=1e-9)
    assert len(low) > 1
    assert (grips[: len(low)] < 0).all()
    assert np.abs(places[np.argmax(grips > 0), :2] - ITEM[:2]).max() < 0.02, "it closes at the object"


def test_what_it_holds_already_it_carries_on() -> None:
    operator = _operator()
    operator.held = True
    places, grips = operator.play(ITEM + np.array([0.0, 0.0, 0.05]))
    released = int(np.argmax(grips < 0))
    assert (grips[:released] > 0).all()
    assert np.abs(places[released, :2] - BASKET[:2]).max() < 0.04


def test_from_above_it_goes_straight_to_the_object() -> None:
    start = ITEM + np.array([0.15, -0.1, 0.3])
    places, _ = _operator().play(start)
    assert np.linalg.norm(places[8, :2] - ITEM[:2]) < np.linalg.norm(start[:2] - ITEM[:2]) - 0.05


def test_a_hand_that_leans_is_put_upright() -> None:
    leaning = np.array([np.cos(0.15), 0.0, np.sin(0.15), 0.0])
    tilts = {name: _operator().act(_seen(rotation))[3:5] for name, rotation in (("down", DOWN), ("lean", leaning))}
    assert np.abs(tilts["down"]).max() < 1e-6, "it turns about the vertical only"
    assert np.abs(tilts["lean"]).max() > 0.2


def _seen(rotation: np.ndarray) -> dict[str, np.ndarray]:
    return {"robot0_eef_pos": ITEM + np.array([0.0, 0.0, 0.3]), "robot0_eef_quat": rotation}
