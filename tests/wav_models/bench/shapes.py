"""A model of a few thousand parameters, both as configuration and as benchmark file."""

from __future__ import annotations

from typing import Any

from wav_models.bench.model_file import ModelFile
from wav_models.configuration import from_dict


def small_file() -> dict[str, Any]:
    return {
        "about": "small",
        "video": {
            "num_layers": 4,
            "num_attention_heads": 2,
            "attention_head_dim": 16,
            "in_channels": 8,
            "out_channels": 8,
            "caption_channels": 12,
            "cross_attention_dim": 32,
            "max_view": 3,
        },
        "value": {"num_attention_heads": 2, "attention_head_dim": 8, "in_channels": 17},
        "action": {"num_attention_heads": 2, "attention_head_dim": 8, "in_channels": 28},
        "views": 3,
        "memory_frames": 2,
        "future_frames": 3,
        "tokens_per_frame": [2, 3],
        "text_tokens": 6,
        "action_horizon": 5,
        "value_horizon": 7,
        "denoise_steps": 3,
        "num_video_steps": 1,
        "plans": [[1, 2, 3]],
    }


SMALL = from_dict(ModelFile, small_file()).model("small").config
