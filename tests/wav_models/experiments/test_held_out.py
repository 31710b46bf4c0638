"""What a checkpoint's own record says about recorded episodes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wav_models.experiments.held_out import announced_split, recorded_split

SEVERAL = {"names": ["drawer", "towel"], "held_out_of": {"drawer": [1, 3], "towel": []}}


@pytest.mark.parametrize(
    ("data", "name", "episodes", "kind"),
    [
        (SEVERAL, "drawer", [1, 3], "held out"),
        (SEVERAL, "towel", [0, 1, 2, 3], "trained on"),
        (SEVERAL, "towel_fresh", [0, 1, 2, 3], "unknown"),
        ("none: random weights", "drawer", [0, 1, 2, 3], "unknown"),
    ],
)
def test_episodes_to_measure_on(
    data: Any, name: str, episodes: list[int], kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert announced_split({"data": data}, dataset(name, 4)) == (episodes, kind)
    assert (f"{name}: the checkpoint was trained on" in capsys.readouterr().err) == (kind == "trained on")


def test_indices_beyond_the_dataset_are_of_another_one() -> None:
    assert recorded_split({"data": SEVERAL}, dataset("drawer", 2)) == ([1], "held out")
    assert recorded_split({"data": SEVERAL}, dataset("drawer", 1)) == ([0], "trained on")


def dataset(name: str, length: int) -> Any:
    class Recorded(SimpleNamespace):
        def __len__(self) -> int:
            return length

    return Recorded(root=Path("datasets") / name, episodes=[])
