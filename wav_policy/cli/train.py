"""`wav train`: the auto-encoder, the cached latents, the three stages, and the checkpoint."""

from __future__ import annotations

from wav_models.training.command import main

__all__ = ["main"]
