"""The cameras of the robot: their names and image sizes."""

from __future__ import annotations

from typing import Final

from wav_models.types import VIEWS

__all__ = ["IMAGE_SIZES", "VIEWS"]

IMAGE_SIZES: Final = dict(zip(VIEWS, ((240, 424), (240, 320), (240, 320)), strict=True))
"""Height and width of every view [px]."""
