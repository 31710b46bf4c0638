"""Choice of the backend that runs a checkpoint."""

from __future__ import annotations

import importlib.util
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from wav_models.engines.base import Engine, EngineError
from wav_models.engines.manifest import PlanShape, fingerprint, read_manifest
from wav_models.planner.config import PlannerConfig
from wav_models.presets import did_you_mean

if TYPE_CHECKING:
    from wav_models.checkpoint import Checkpoint
    from wav_models.networks.text_encoder import TextEncoder

logger = logging.getLogger(__name__)

ENGINES = ("auto", "torch", "onnxruntime", "tensorrt")
_TENSORRT = ("tensorrt", "tensorrt_rtx")
_EXPORTER = ("onnxruntime", "onnx", "onnxscript")
TRIAL_REPEATS = 3


def make_engine(
    name: str,
    checkpoint: Checkpoint,
    *,
    dtype: str = "fp32",
    text_encoder_directory: Path | None = None,
    planner: PlannerConfig | None = None,
    num_threads: int | None = None,
) -> Engine:
    """The backend of that name over a loaded checkpoint.

    "auto" is torch, unless graphs for ONNX Runtime were exported for this checkpoint and planner and are measured to
    be faster here at equal results. The log says which was chosen and why; a fall-back is a warning.

    Args:
        name: one of `ENGINES`.
        checkpoint: networks and auto-encoder; torch runs them on the device they were loaded to.
        dtype: "fp32" or "bf16".
        text_encoder_directory: of T5 (`text.encoder` "t5"); unused otherwise.
        planner: sizes and steps that compiled graphs are made for; None = the defaults.
        num_threads: of ONNX Runtime; None = as many as torch uses.

    Raises:
        EngineError: the backend is unknown or cannot run here.
    """
    if name not in ENGINES:
        raise EngineError(f"unknown engine {name!r}{did_you_mean(name, ENGINES)}")
    if name in ("onnxruntime", "tensorrt"):
        require_exporter(name)
    from wav_models.networks.text_encoder import make_text_encoder

    text_encoder = make_text_encoder(checkpoint.config, text_encoder_directory)
    planner = planner or PlannerConfig()
    if name == "onnxruntime":
        directory = _find_or_make_graphs(checkpoint, PlanShape.of(planner), dtype)
        return _onnx_engine(directory, checkpoint, text_encoder, num_threads)
    from wav_models.engines.torch_engine import TorchEngine

    engine = TorchEngine(checkpoint.model, checkpoint.autoencoder, text_encoder, dtype=dtype)
    if name == "torch":
        return engine
    return _best(engine, checkpoint, text_encoder, planner, dtype, num_threads)


def _best(
    torch_engine: Engine,
    checkpoint: Checkpoint,
    text_encoder: TextEncoder,
    planner: PlannerConfig,
    dtype: str,
    num_threads: int | None,
) -> Engine:
    """ONNX Runtime if its graphs exist, give what torch gives, and are faster."""
    missing = _missing(_EXPORTER)
    if missing or dtype != "fp32" or next(checkpoint.model.parameters()).device.type != "cpu":
        why = f"{', '.join(missing)} is not installed" if missing else "graphs exist for fp32 on the CPU only"
        logger.info("engine auto: torch (%s)", why)
        return torch_engine
    from wav_models.engines.onnx_export import find_export
    from wav_models.engines.parity import Trial, agreement, measure, stages

    try:
        directory = find_export(checkpoint, PlanShape.of(planner), dtype)
        if directory is None:
            logger.info("engine auto: torch (no graphs for ONNX Runtime yet; `wav export` makes them)")
            return torch_engine
        engine = _onnx_engine(directory, checkpoint, text_encoder, num_threads)
        trial = Trial.draw(engine, checkpoint.normalization, planner)
        values = [stages(e, trial)["value_dit"](0).flatten() for e in (torch_engine, engine)]
        times = measure((torch_engine, engine), trial, TRIAL_REPEATS, ("video_dit", "value_dit"))
    except EngineError as error:
        logger.warning("engine auto: torch, because ONNX Runtime cannot be used: %s", error)
        return torch_engine
    found = agreement(*values)
    ours, theirs = (sum(its_times.values()) for its_times in times)
    why = f"a planning round takes {1e3 * theirs:.0f} ms with onnxruntime, {1e3 * ours:.0f} ms with torch"
    if not found.equal:
        logger.warning(
            "engine auto: torch, because ONNX Runtime's values differ by %.1e; export again", found.max_error
        )
        return torch_engine
    if theirs >= ours:
        logger.info("engine auto: torch (%s)", why)
        return torch_engine
    logger.info("engine auto: onnxruntime (%s)", why)
    return engine


def _find_or_make_graphs(checkpoint: Checkpoint, shape: PlanShape, precision: str) -> Path:
    """Directory of the export for this checkpoint and shape; made in the cache if there is none."""
    from wav_models.engines.onnx_export import cache_directory, export, find_export

    directory = find_export(checkpoint, shape, precision)
    if directory is not None:
        return directory
    directory = cache_directory(fingerprint(checkpoint.directory), shape, precision)
    began = time.perf_counter()
    export(checkpoint, shape, directory, precision=precision)
    logger.info("graphs for ONNX Runtime made in %.0f s: %s", time.perf_counter() - began, directory)
    return directory


def _onnx_engine(directory: Path, checkpoint: Checkpoint, text_encoder: TextEncoder, num_threads: int | None) -> Engine:
    import torch

    from wav_models.engines.onnx_engine import OnnxEngine

    threads = num_threads or torch.get_num_threads()
    return OnnxEngine(directory, read_manifest(directory), checkpoint.config, text_encoder, num_threads=threads)


def require_exporter(engine: str) -> None:
    """EngineError unless checkpoints can be exported to `engine` here."""
    if engine == "tensorrt":
        raise EngineError(_why_not_tensorrt())
    if engine != "onnxruntime":
        raise EngineError(f"no graphs can be exported for engine {engine!r}; 'onnxruntime' fits")
    missing = _missing(_EXPORTER)
    if missing:
        raise EngineError(
            f"engine 'onnxruntime' needs the Python package {' and '.join(missing)}, which is not installed; "
            "use 'torch'"
        )


def _missing(packages: tuple[str, ...]) -> list[str]:
    return [package for package in packages if importlib.util.find_spec(package) is None]


def _why_not_tensorrt() -> str:
    if len(_missing(_TENSORRT)) == len(_TENSORRT):
        return (
            f"engine 'tensorrt' needs the Python package {' or '.join(_TENSORRT)}, which is not installed; use 'torch'"
        )
    return "engine 'tensorrt' is not implemented yet: checkpoints cannot be exported to it; use 'torch' or 'auto'"
