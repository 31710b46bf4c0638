"""The graphs of wav-tiny compiled and run by TensorRT, against torch."""

from __future__ import annotations

import importlib.util
import tempfile
import time
from pathlib import Path

from wav_models.bench.gpu.session import Session, relative_error
from wav_models.bench.subject import Subject, model_of, published_planner
from wav_models.engines.base import EngineError, EngineOptions

SIZES = (3, 8, 4, 5)
"""K, M, N, and steps of the experts."""
PRECISION = "fp16"
TOLERANCE = 5e-2


def tensorrt(session: Session) -> None:
    """Left out, with the reason, where a package is missing or the GPU is none that the installed one serves."""
    if (why := _why_not(session)) is not None:
        session.say("left out", phase="tensorrt", why=why)
        return
    from wav_models.engines.compiled_engine import CompiledEngine
    from wav_models.engines.export import ExportTarget, export_model
    from wav_models.engines.manifest import PlanShape
    from wav_models.engines.runtimes import get_runtime
    from wav_models.networks.autoencoder import make_autoencoder

    subject = Subject(model_of("wav-tiny", causal=True, device=session.device), published_planner(*SIZES))
    expected = subject.answers()
    runtime = get_runtime("tensorrt")
    model = model_of("wav-tiny", causal=True, device=session.device).cpu()
    with tempfile.TemporaryDirectory() as directory:
        target = ExportTarget("tensorrt", PRECISION, PlanShape.of(subject.planner))
        began = time.monotonic()
        manifest = export_model(model, make_autoencoder(model.config), "random", target, Path(directory))
        exported = time.monotonic() - began
        for recorded in (False, True):
            options = EngineOptions(cuda_graphs=recorded)
            graphs = runtime.load(Path(directory), manifest, options, session.device.type)
            subject.engine = CompiledEngine(manifest, graphs, model.config, subject.encode_words)
            subject.answers()
            found = subject.answers()  # of what was recorded
            plan = session.time(subject.plan, 10, 1).p50
            errors = {name: relative_error(x, getattr(expected, name)) for name, x in vars(found).items()}
            agrees = all(error < TOLERANCE for error in errors.values())
            values = {
                "version": runtime.version(),
                "recorded": recorded,
                "export_s": exported,
                "plan_ms": plan,
                **errors,
            }
            session.judge(agrees, "tensorrt", "tensorrt differs from torch", **values)


def _why_not(session: Session) -> str | None:
    if not session.on_gpu:
        return "TensorRT needs a GPU"
    if importlib.util.find_spec("onnxscript") is None:
        return "not installed: onnxscript"
    from wav_models.engines.runtimes import get_runtime

    try:
        get_runtime("tensorrt").target_gpu()
    except EngineError as error:
        return str(error)
    return None
