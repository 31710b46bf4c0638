"""What an episode is, wherever it lies and whatever its dataset is called."""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np

from wav_models.data.dataset import Episode

DIGITS: Final = 16


def episode_identity(episode: Episode) -> str:
    """Hash of its states [T, S] and actions [T, A] in single precision.

    Copying, renaming, labelling, and LeRobot's delete, split and merge do not change it; two recordings never share it.
    """
    digest = hashlib.sha256()
    for rows in (episode.states, episode.actions):
        digest.update(np.ascontiguousarray(rows, dtype="<f4").tobytes())
    return digest.hexdigest()[:DIGITS]
