"""Choice of the backend that runs a checkpoint."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from wav_models.engines.base import Engine, EngineError
from wav_models.presets import did_you_mean

if TYPE_CHECKING:
    from wav_models.checkpoint import Checkpoint

ENGINES = ("auto", "torch", "onnxruntime", "tensorrt")
_RUNTIMES = {"onnxruntime": ("onnxruntime",), "tensorrt": ("tensorrt", "tensorrt_rtx")}


def make_engine(
    name: str,
    checkpoint: Checkpoint,
    *,
    dtype: str = "fp32",
    text_encoder_directory: Path | None = None,
) -> Engine:
    """The backend of that name over a loaded checkpoint; "auto" is the best that works, which is torch.

    Args:
        name: one of `ENGINES`.
        checkpoint: networks and auto-encoder; torch runs them on the device they were loaded to.
        dtype: "fp32" or "bf16".
        text_encoder_directory: of T5 (`text.encoder` "t5"); unused otherwise.

    Raises:
        EngineError: the backend is unknown or cannot run here.
    """
    if name not in ENGINES:
        raise EngineError(f"unknown engine {name!r}{did_you_mean(name, ENGINES)}")
    if name in _RUNTIMES:
        raise EngineError(_why_not(name))
    from wav_models.engines.torch_engine import TorchEngine
    from wav_models.networks.text_encoder import make_text_encoder

    return TorchEngine(
        checkpoint.model,
        checkpoint.autoencoder,
        make_text_encoder(checkpoint.config, text_encoder_directory),
        dtype=dtype,
    )


def _why_not(name: str) -> str:
    runtimes = _RUNTIMES[name]
    if not any(importlib.util.find_spec(runtime) for runtime in runtimes):
        return f"engine {name!r} needs the Python package {' or '.join(runtimes)}, which is not installed; use 'torch'"
    return f"engine {name!r} is not implemented yet: checkpoints cannot be exported to it; use 'torch' or 'auto'"
