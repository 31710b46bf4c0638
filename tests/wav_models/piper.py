"""The two Piper arms, whose checkpoints and datasets most tests are about."""

from __future__ import annotations

from dataclasses import replace

from wav_models.embodiment import Embodiment
from wav_models.embodiments import BIMANUAL_PIPER

VIEWS = BIMANUAL_PIPER.view_names
JOINT_NAMES = BIMANUAL_PIPER.state_names
JOINT_DIM = BIMANUAL_PIPER.state_dim
ANGLES = BIMANUAL_PIPER.arm_columns
VIDEO_KEYS = BIMANUAL_PIPER.view_keys
SOURCES = BIMANUAL_PIPER.sources
CHANNEL_NAMES = BIMANUAL_PIPER.value_names


def with_views(*names: str) -> Embodiment:
    """The same robot with some of its cameras only; what the value expert predicts stays the same."""
    return replace(BIMANUAL_PIPER, views=tuple(view for view in BIMANUAL_PIPER.views if view.name in names))
