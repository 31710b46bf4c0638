"""Choice of the backend that runs a checkpoint."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wav_models.configuration import did_you_mean
from wav_models.engines.base import Engine, EngineError, full_memory_is_named
from wav_models.engines.precision import choose_dtype
from wav_models.planner.config import PlannerConfig

if TYPE_CHECKING:
    from wav_models.checkpoint import Checkpoint
    from wav_models.engines.manifest import PlanShape
    from wav_models.engines.onnx.export import ExportTarget
    from wav_models.networks.text_encoder import TextEncoder

logger = logging.getLogger(__name__)

ENGINES: Final = ("auto", "torch", "onnxruntime", "tensorrt")
_EXPORTER: Final = ("onnxruntime", "onnx", "onnxscript")
TRIAL_REPEATS: Final = 3
BEST_FIRST: Final = {"onnxruntime": ("int8", "fp16", "fp32"), "tensorrt": ("bf16", "fp16", "fp32")}
"""Per engine, the precisions that "auto" looks for."""


@dataclass(frozen=True)
class EngineOptions:
    """What an engine is made with.

    Attributes:
        dtype: number format, "auto" for the best.
        num_threads: of ONNX Runtime; None = as many as torch uses.
        providers: execution providers of ONNX Runtime, best first; () = CUDA's where the networks are on a GPU and
            onnxruntime-gpu is installed, else the CPU's.
        compile: torch only: compile the networks (needs a C++ compiler); slow to start.
        cuda_graphs: record GPU work once and replay it; TensorRT, and torch with `compile`.
    """

    dtype: str = "auto"
    num_threads: int | None = None
    providers: tuple[str, ...] = ()
    compile: bool = False
    cuda_graphs: bool = False


def make_engine(
    name: str,
    checkpoint: Checkpoint,
    *,
    options: EngineOptions | None = None,
    text_encoder_directory: Path | None = None,
    planner: PlannerConfig | None = None,
) -> Engine:
    """The backend of that name over a loaded checkpoint.

    "auto" is torch, unless there is an export for this checkpoint and planner that gives what torch gives, within the
    tolerance of its precision, and is measured to be faster here. Its `description` says which was chosen and why,
    and so does the log; a fall-back is a warning.

    Args:
        name: one of `ENGINES`.
        checkpoint: networks and auto-encoder; torch runs them on the device they were loaded to.
        options: see there.
        text_encoder_directory: of T5 (`text.encoder` "t5"); unused otherwise.
        planner: sizes and steps that compiled graphs are made for; None = the defaults.

    Raises:
        EngineError: the backend is unknown or cannot run here.
    """
    if name not in ENGINES:
        raise EngineError(f"unknown engine {name!r}{did_you_mean(name, ENGINES)}")
    if name in ("onnxruntime", "tensorrt"):
        require_runtime(name)
    from wav_models.networks.text_encoder import make_text_encoder

    began = time.perf_counter()
    maker = _Maker(
        checkpoint,
        make_text_encoder(checkpoint.config, text_encoder_directory),
        planner or PlannerConfig(),
        options or EngineOptions(),
    )
    with full_memory_is_named():
        engine = maker.best() if name == "auto" else maker.torch() if name == "torch" else maker.compiled(name)
    engine.description += f"; loaded in {time.perf_counter() - began:.1f} s, {_memory_in_use()}"
    logger.info("engine %s: %s", name, engine.description)
    return engine


@dataclass(frozen=True)
class _Maker:
    checkpoint: Checkpoint
    text_encoder: TextEncoder
    planner: PlannerConfig
    options: EngineOptions

    def torch(self) -> Engine:
        from wav_models.engines.torch_engine import TorchEngine

        return TorchEngine(
            self.checkpoint.model,
            self.checkpoint.autoencoder,
            self.text_encoder,
            dtype=choose_dtype(self.options.dtype, self._device),
            compile=self.options.compile,
            cuda_graphs=self.options.cuda_graphs,
        )

    def compiled(self, name: str) -> Engine:
        """The engine of that name: its best export, or one made now.

        Raises:
            EngineError: it cannot run here, or has no such precision.
        """
        if name == "tensorrt":
            from wav_models.engines.tensorrt_runtime import present_gpu

            present_gpu()  # not only after minutes of compiling
        targets = self._targets(name)
        for target in targets:
            directory = self._find(target)
            if directory is not None:
                return self._load(directory)
        self._warn_of_other_sizes(name)
        return self._load(self._make(targets[-1]))

    def best(self) -> Engine:
        """The fastest that gives what torch gives, in the number format that was asked for.

        Raises:
            EngineError: nothing runs in that format here.
        """
        from wav_models.engines.torch_engine import DTYPES

        wanted = self.options.dtype
        choose_dtype(wanted, self._device)  # an unknown name is not "nothing runs"
        engine = self.torch() if wanted in ("auto", *DTYPES) else None
        reasons: list[str] = []
        for name, precisions in BEST_FIRST.items():
            if wanted in ("auto", *precisions):
                engine = self._best_of(name, engine, reasons)
        if engine is None:
            raise EngineError(
                f"engine 'auto': nothing runs in {wanted!r} here ({'; '.join(reasons)}); `wav export --precision "
                f"{wanted}` makes graphs, dtype 'auto' takes what there is"
            )
        if reasons:
            engine.description += f" ({'; '.join(reasons)})"
        return engine

    def _best_of(self, name: str, engine: Engine | None, reasons: list[str]) -> Engine | None:
        """`engine`, or what is faster among the exports for `name`; one that fails does not keep the others out."""
        unusable = RuntimeError, ImportError, OSError, MemoryError  # EngineError and what GPU libraries raise
        try:
            require_runtime(name)
        except unusable as error:
            (logger.warning if self._was_exported(name) else logger.info)("engine auto: not %s: %s", name, error)
            reasons.append(f"{name} cannot be used")
            return engine
        num_known = len(reasons)
        for target in self._targets(name):
            try:
                directory = self._find(target)
                if directory is None:
                    continue
                engine, reason = self._faster(engine, self._load(directory))
            except unusable as error:
                logger.warning("engine auto: not %s %s: %s", name, target.precision, error)
                reason = f"{name} {target.precision} cannot be used"
            reasons.append(reason)
        if len(reasons) == num_known:
            others = self._warn_of_other_sizes(name)
            reasons.append(
                f"graphs for {name} have other sizes than {self._shape.label}"
                if others
                else f"no graphs for {name} yet, `wav export` makes them"
            )
        return engine

    def _warn_of_other_sizes(self, name: str) -> bool:
        """Somebody who exported for another search will wonder why it is not used; whether somebody did."""
        from wav_models.engines.onnx.export import exports_beside

        others = [label for label in exports_beside(self.checkpoint, name) if not label.endswith(self._shape.label)]
        if others:
            logger.warning(
                "%s: exported as %s, but the planner needs %s (futures x value samples, steps); `wav export` makes it",
                name,
                ", ".join(others),
                self._shape.label,
            )
        return bool(others)

    def _faster(self, engine: Engine | None, candidate: Engine) -> tuple[Engine | None, str]:
        """The better of two, and why; both run a planning round on the same numbers."""
        from wav_models.engines.parity import TOLERANCES, Trial, agreement, measure, stages
        from wav_models.engines.torch_engine import TorchEngine

        exact = TorchEngine(self.checkpoint.model, self.checkpoint.autoencoder, self.text_encoder)
        trial = Trial.draw(exact, self.checkpoint.normalization, self.planner)
        expected, found = (stages(e, trial)["value_dit"](0).flatten() for e in (exact, candidate))
        stages(candidate, trial)["action_dit"](0)  # a partial export may lack it
        difference = agreement(expected, found)
        if not difference.within(TOLERANCES[candidate.precision]):
            logger.warning(
                "engine auto: not %s, because its values differ by %.1e (cosine %.5f); export again",
                candidate.description,
                difference.max_error,
                difference.cosine,
            )
            return engine, f"{candidate.description} differs"
        if engine is None:
            return candidate, "torch has no such number format"
        times = measure((engine, candidate), trial, TRIAL_REPEATS, ("video_dit", "value_dit"))
        ours, theirs = (sum(its_times.values()) for its_times in times)
        names = engine.description, candidate.description
        reason = f"a planning round takes {1e3 * theirs:.0f} ms with {names[1]}, {1e3 * ours:.0f} ms with {names[0]}"
        return (candidate if theirs < ours else engine), reason

    def _targets(self, name: str) -> list[ExportTarget]:
        """Exports that may serve, best first; of the precision that was asked for, if one was."""
        from wav_models.engines.onnx.export import ExportTarget

        if self.options.dtype != "auto":
            return [ExportTarget(name, self.options.dtype, self._shape)]
        without = self._ill_suited if name == "onnxruntime" else ""
        return [ExportTarget(name, precision, self._shape) for precision in BEST_FIRST[name] if precision != without]

    @property
    def _shape(self) -> PlanShape:
        from wav_models.engines.manifest import PlanShape

        return PlanShape.of(self.planner)

    @property
    def _ill_suited(self) -> str:
        """What ONNX Runtime has no kernels for, that pay: 8 bits on a GPU, half precision on a CPU."""
        from wav_models.engines.onnx.runner import CPU, default_providers

        providers = self.options.providers or default_providers(self._device)
        return "fp16" if providers[0] == CPU else "int8"

    def _find(self, target: ExportTarget) -> Path | None:
        from wav_models.engines.onnx.export import find_export

        return find_export(self.checkpoint, target)

    def _was_exported(self, name: str) -> bool:
        """Whether somebody exported for this engine, and will wonder why it is not used."""
        from wav_models.engines.onnx.export import export_directory

        return any(export_directory(self.checkpoint.directory, target).exists() for target in self._targets(name))

    def _make(self, target: ExportTarget) -> Path:
        from wav_models.engines.manifest import fingerprint
        from wav_models.engines.onnx.export import cache_directory, export
        from wav_models.engines.torch_engine import on_cpu

        began = time.perf_counter()
        logger.info("making graphs for %s in %s; this takes from half a minute on", target.engine, target.precision)
        directory = cache_directory(fingerprint(self.checkpoint), target)
        model, autoencoder = (on_cpu(network) for network in (self.checkpoint.model, self.checkpoint.autoencoder))
        export(replace(self.checkpoint, model=model, autoencoder=autoencoder), target, directory)
        logger.info("graphs for %s made in %.0f s: %s", target.engine, time.perf_counter() - began, directory)
        return directory

    def _load(self, directory: Path) -> Engine:
        return load_engine(directory, self.checkpoint, self.text_encoder, self.options)

    @property
    def _device(self) -> str:
        return next(self.checkpoint.model.parameters()).device.type


def load_engine(
    directory: Path, checkpoint: Checkpoint, text_encoder: TextEncoder, options: EngineOptions | None = None
) -> Engine:
    """The engine over a checked export.

    Raises:
        EngineError: the runtime is missing or refuses a graph.
    """
    import torch

    from wav_models.engines import tensorrt_runtime
    from wav_models.engines.compiled_engine import CompiledEngine
    from wav_models.engines.manifest import read_manifest
    from wav_models.engines.onnx import runner as onnx_runner

    options, manifest = options or EngineOptions(), read_manifest(directory)
    if manifest.engine == "tensorrt":
        graphs = tensorrt_runtime.load_graphs(directory, manifest, cuda_graphs=options.cuda_graphs)
    else:
        threads = options.num_threads or torch.get_num_threads()
        device = next(checkpoint.model.parameters()).device.type
        providers = options.providers or onnx_runner.default_providers(device)
        graphs = onnx_runner.load_graphs(directory, manifest, num_threads=threads, providers=providers)
    return CompiledEngine(manifest, graphs, checkpoint.config, text_encoder)


def require_runtime(engine: str) -> None:
    """EngineError unless the packages of `engine` are installed."""
    if engine == "tensorrt":
        from wav_models.engines.tensorrt_runtime import tensorrt_module

        tensorrt_module()
        return
    missing = [package for package in _EXPORTER if importlib.util.find_spec(package) is None]
    if missing:
        raise EngineError(
            f"engine {engine!r} needs the Python package {' and '.join(missing)}, which is not installed; use 'torch'"
        )
    try:
        importlib.import_module("onnxruntime")
    except (ImportError, OSError) as error:
        raise EngineError(f"onnxruntime is installed but cannot be loaded ({error}); install it again") from error


def _memory_in_use() -> str:
    """Of this process, and of the GPU by all processes: what TensorRT allocates, torch does not count."""
    import psutil
    import torch

    used = f"process {psutil.Process().memory_info().rss / 2**20:.0f} MB"
    if not torch.cuda.is_available():
        return used
    free, total = torch.cuda.mem_get_info()
    return f"{used}, GPU {(total - free) / 2**30:.1f} of {total / 2**30:.1f} GiB in use"
