"""The two Piper arms, whose checkpoints and datasets most tests are about."""

from __future__ import annotations

from wav_models.embodiments import BIMANUAL_PIPER

VIEWS = BIMANUAL_PIPER.view_names
JOINT_NAMES = BIMANUAL_PIPER.state_names
JOINT_DIM = BIMANUAL_PIPER.state_dim
ANGLES = BIMANUAL_PIPER.arm_columns
VIDEO_KEYS = BIMANUAL_PIPER.view_keys
SOURCES = BIMANUAL_PIPER.sources
CHANNEL_NAMES = BIMANUAL_PIPER.value_names
