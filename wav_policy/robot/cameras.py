"""The cameras of the robot: their names and image sizes, and what a recorded frame is made of."""

from __future__ import annotations

from typing import Final

from wav_policy.robot.joints import ROBOT

VIEWS: Final = ROBOT.view_names

IMAGE_SIZES: Final = ROBOT.image_sizes
"""Height and width of every view [px]."""

SOURCES: Final = ROBOT.sources
"""Cameras, measured joints, and the command."""

TRANSPORTS: Final = ("auto", "raw", "compressed")
"""How pictures are taken from topics; auto: raw where it comes, else compressed."""
