"""Which recorded episodes a fault has cost."""

from __future__ import annotations

from pathlib import Path


def num_episodes(dataset: Path) -> int:
    """Episodes that load, with every frame."""
    from wav_models.data.dataset import Dataset

    loaded = Dataset(dataset)
    return sum(len(loaded.read_episode(index)) > 0 for index in range(len(loaded)))


def lost_episodes(dataset: Path, saved: int) -> str:
    """In words, where `saved` episodes had been saved before and another was in progress."""
    try:
        left = num_episodes(dataset)
    except (OSError, ValueError) as error:
        return f"the dataset does not load: {error}"
    if left > saved:
        return "nothing"
    return f"{saved - left} saved episodes" if left < saved else "the episode in progress"
