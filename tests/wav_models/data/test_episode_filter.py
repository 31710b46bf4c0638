from __future__ import annotations

from pathlib import Path

import pytest

from wav_models.data.dataset import EpisodeInfo
from wav_models.data.episode_filter import EpisodeFilter


def episode(index: int, *, success: bool | None, quality: str = "skilled", length: int = 50) -> EpisodeInfo:
    extra = {"quality": quality}
    return EpisodeInfo(index, "fold the towel", length, 7, success, None, None, extra, Path("data.parquet"), {})


EPISODES = [
    episode(0, success=True),
    episode(1, success=True, quality="recovering", length=90),
    episode(2, success=False, quality="failing"),
    episode(3, success=None),
]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("success and not recovering", [0]),
        ("success or unmarked", [0, 1, 3]),
        ("failure", [2]),
        ("index % 2 == 0", [0, 2]),
        ("index in [1, 3]", [1, 3]),
        ("0 < index <= 2", [1, 2]),
        ("length > 60", [1]),
        ("'towel' in instruction and seed == 7", [0, 1, 2, 3]),
        ("'bowl' in instruction", []),
        ("seed > -1 and success", [0, 1]),
    ],
)
def test_conditions(text: str, kept: list[int]) -> None:
    assert [e.index for e in EPISODES if EpisodeFilter(text)(e)] == kept


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("succes", "unknown name 'succes'; did you mean 'success'"),
        ("success and", "is no condition"),
        ("success or __import__('os')", "unknown name '__import__'"),
        ("success or index.real", "'index.real' in"),
        ("success or length > 'a'", "length and 'a'"),
        ("success is True", "'success is True' in"),
    ],
)
def test_what_is_no_condition_is_refused_at_once(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        EpisodeFilter(text)
