"""Choice of the backend that runs a checkpoint."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch

from wav_models.checkpoint import Checkpoint
from wav_models.configuration import did_you_mean
from wav_models.engines.base import Engine, EngineError, EngineOptions, full_memory_is_named
from wav_models.engines.export import (
    ExportTarget,
    cache_directory,
    export,
    export_directory,
    exports_beside,
    find_export,
)
from wav_models.engines.manifest import Measurement, PlanShape, read_manifest, weights_sha256
from wav_models.engines.measurement import named
from wav_models.engines.names import ENGINES, RUNTIMES
from wav_models.engines.precision import choose_dtype
from wav_models.engines.runtimes import get_runtime, load_engine
from wav_models.engines.torch_engine import DTYPES, TorchEngine
from wav_models.engines.weights import on_cpu
from wav_models.networks.text_encoder import TextEncoder, make_text_encoder
from wav_models.planner.config import PlannerConfig

logger = logging.getLogger(__name__)

UNUSABLE: Final = (RuntimeError, ImportError, OSError, MemoryError)
"""EngineError and what GPU libraries raise: reasons for "auto" to take another."""


def make_engine(
    name: str,
    checkpoint: Checkpoint,
    *,
    options: EngineOptions | None = None,
    text_encoder_directory: Path | None = None,
    planner: PlannerConfig | None = None,
) -> Engine:
    """The backend of that name over a loaded checkpoint.

    "auto" is torch, unless there is an export for this checkpoint and planner that gave what torch gives, within the
    tolerance of its precision, and was faster, when it was exported. So the choice is the same at every start. Its
    `description` says which was chosen and why, and so does the log; a fall-back is a warning.

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
    if name in RUNTIMES:
        get_runtime(name).require()
    began = time.perf_counter()
    maker = _Maker(
        checkpoint,
        make_text_encoder(checkpoint.config, text_encoder_directory, next(checkpoint.model.parameters()).device),
        planner or PlannerConfig(),
        options or EngineOptions(),
    )
    with full_memory_is_named():
        engine = maker.best() if name == "auto" else maker.torch() if name == "torch" else maker.compiled(name)
    engine.description += f"; loaded in {time.perf_counter() - began:.1f} s, {_memory_in_use()}"
    logger.info("engine %s: %s", name, engine.description)
    return engine


def loaded_format(engine: str, dtype: str, device: str) -> torch.dtype:
    """What to load a checkpoint's weights in: on a GPU that torch runs them on, what they run in, so that no other copy
    takes its memory; else float32, which graphs are made of.

    Raises:
        ValueError: unknown dtype.
    """
    if device == "cpu" or engine not in ("auto", "torch"):
        return torch.float32
    return DTYPES.get(choose_dtype(dtype, device), torch.float32)


@dataclass(frozen=True)
class _Maker:
    checkpoint: Checkpoint
    text_encoder: TextEncoder
    planner: PlannerConfig
    options: EngineOptions

    def torch(self) -> Engine:
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
        get_runtime(name).present_gpu()  # not only after minutes of compiling
        targets = self._targets(name)
        for target in targets:
            directory = find_export(self.checkpoint, target)
            if directory is None:
                continue
            try:
                return self._load(directory)
            except EngineError as error:
                if directory == export_directory(self.checkpoint.directory, target):
                    raise
                logger.warning("graphs in the cache are not used and will be made again: %s", error)
        self._warn_of_other_sizes(name)
        return self._load(self._make(targets[-1]))

    def best(self) -> Engine:
        """The fastest that gives what torch gives, in the number format that was asked for.

        Raises:
            EngineError: nothing runs in that format here.
        """
        wanted = self.options.dtype
        dtype = choose_dtype(wanted, self._device)  # an unknown name is not "nothing runs"
        in_torch = dtype in DTYPES
        found: list[_Export] = []
        reasons: list[str] = []
        for name in RUNTIMES:
            exports, why_not_others = self._exports(name)
            found += exports
            reasons += why_not_others
        for each in sorted(found, key=lambda each: each.share_of(dtype)):
            if in_torch and each.share_of(dtype) >= 1.0:
                continue
            try:
                engine: Engine = self._load(each.directory)
            except UNUSABLE as error:
                reasons.append(_not_used(each.label, error))
                continue
            engine.description += f" ({each.said})"
            return engine
        if not in_torch:
            raise EngineError(
                f"engine 'auto': nothing runs in {wanted!r} here ({'; '.join(reasons)}); `wav export --precision "
                f"{wanted}` makes graphs, dtype 'auto' takes what there is"
            )
        engine = self.torch()
        reasons += [each.said for each in found]
        engine.description += f" ({'; '.join(reasons)})"
        return engine

    def _exports(self, name: str) -> tuple[list[_Export], list[str]]:
        """Exports for a runtime that gave what torch gives, and why others are left out."""
        try:
            get_runtime(name).require()
            targets = self._targets(name)
        except UNUSABLE as error:
            exported = bool(exports_beside(self.checkpoint, name))
            (logger.warning if exported else logger.info)("engine auto: not %s: %s", name, error)
            return [], [f"{name} cannot be used"]
        exports, reasons = [], []
        for target in targets:
            label = named(name, target.precision)
            try:
                directory = find_export(self.checkpoint, target)
                if directory is not None:
                    exports.append(_Export(label, directory, read_manifest(directory).measured))
            except UNUSABLE as error:
                reasons.append(_not_used(label, error))
        if not exports and not reasons:
            others = self._warn_of_other_sizes(name)
            reasons.append(
                f"graphs for {name} have other sizes than {self._shape.label}"
                if others
                else f"no graphs for {name} yet, `wav export` makes them"
            )
        for each in exports:
            if not each.measured.agrees:
                say = logger.warning if each.measured.processor else logger.info  # not measured: no fault of theirs
                say("engine auto: not %s: %s", each.label, each.said)
                reasons.append(each.said)
        return [each for each in exports if each.measured.agrees], reasons

    def _warn_of_other_sizes(self, name: str) -> bool:
        """Somebody who exported for another search will wonder why it is not used; whether somebody did."""
        others = [label for label in exports_beside(self.checkpoint, name) if not label.endswith(self._shape.label)]
        if others:
            logger.warning(
                "%s: exported as %s, but the planner needs %s (futures x value samples, steps); `wav export` makes it",
                name,
                ", ".join(others),
                self._shape.label,
            )
        return bool(others)

    def _targets(self, name: str) -> list[ExportTarget]:
        """Exports that may serve, best first; of the precision that was asked for, if one was."""
        runtime, wanted = get_runtime(name), self.options.dtype
        fit = runtime.targets(self.options, self._device) if wanted == "auto" else (wanted,)
        return [ExportTarget(name, precision, self._shape) for precision in fit]

    @property
    def _shape(self) -> PlanShape:
        return PlanShape.of(self.planner)

    def _make(self, target: ExportTarget) -> Path:
        began = time.perf_counter()
        logger.info("making graphs for %s in %s; this takes from half a minute on", target.engine, target.precision)
        directory = cache_directory(weights_sha256(self.checkpoint), target)
        model, autoencoder = on_cpu(self.checkpoint.model), on_cpu(self.checkpoint.autoencoder)
        export(replace(self.checkpoint, model=model, autoencoder=autoencoder), target, directory, measured=False)
        logger.info("graphs for %s made in %.0f s: %s", target.engine, time.perf_counter() - began, directory)
        return directory

    def _load(self, directory: Path) -> Engine:
        return load_engine(directory, self.checkpoint, self.text_encoder, self.options)

    @property
    def _device(self) -> str:
        return next(self.checkpoint.model.parameters()).device.type


@dataclass(frozen=True)
class _Export:
    """Graphs that could be used, and what was measured when they were made."""

    label: str
    directory: Path
    measured: Measurement

    def share_of(self, dtype: str) -> float:
        """Their time for a planning round, as a share of torch's in that precision; where that is unknown, in fp32."""
        seconds = self.measured.seconds
        return seconds[self.label] / seconds.get(named("torch", dtype), seconds[named("torch", "fp32")])

    @property
    def said(self) -> str:
        return self.measured.described(self.label)


def _not_used(label: str, error: BaseException) -> str:
    """Warns, and what to say of it in the description."""
    logger.warning("engine auto: not %s: %s", label, error)
    return f"{label} cannot be used"


def _memory_in_use() -> str:
    """Of this process, and of the GPU by all processes: what TensorRT allocates, torch does not count."""
    import psutil

    used = f"process {psutil.Process().memory_info().rss / 2**20:.0f} MB"
    if not torch.cuda.is_available():
        return used
    free, total = torch.cuda.mem_get_info()
    return f"{used}, GPU {(total - free) / 2**30:.1f} of {total / 2**30:.1f} GiB in use"
