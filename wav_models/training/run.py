"""A run directory and its steps: auto-encoder, latents, three stages, checkpoint.

table.safetensors, text.safetensors, latents.npy, futures.npy   the dataset, encoded once (training/latent_files.py)
frames.npy                                                      its images, where the auto-encoder is trained here
autoencoder.safetensors, normalization.json                     what the checkpoint will carry
<stage>.state.safetensors                                       resumable state of each stage
<stage>.json                                                    record of each stage: calls, duration, losses
autoencoder.png                                                 true frames above their reconstructions
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from wav_models.checkpoint import load_pretrained, save_checkpoint
from wav_models.data.dataset_group import DatasetGroup
from wav_models.data.durable import write_json
from wav_models.data.normalization import Normalization
from wav_models.engines.manifest import file_sha256
from wav_models.networks.autoencoder import TinyAutoencoder, make_autoencoder
from wav_models.networks.wav_model import WAVModel
from wav_models.training.autoencoder_stage import AutoencoderStage
from wav_models.training.batches import Batches, fit_normalization, repeat_starts, still_steps
from wav_models.training.config import STAGES, TrainConfig
from wav_models.training.frames import (
    FRAMES,
    TABLE,
    CachedFrames,
    DecodedFrames,
    Fingerprint,
    Frames,
    Table,
    cache_frames,
    fingerprints,
    held_out_episodes,
    read_table,
    step_starts,
)
from wav_models.training.latent_files import ORIGIN, LatentFiles, check_episodes, check_origin, make_origin
from wav_models.training.latents import (
    AUTOENCODER,
    autoencoder_sha256,
    cache_latents,
    cache_text,
    load_autoencoder,
    load_episodes,
)
from wav_models.training.loop import Plan, Report, train
from wav_models.training.metrics import HeldOut
from wav_models.training.parallel import Worker, run_workers
from wav_models.training.stages import make_stage
from wav_models.training.state import (
    Progress,
    Provenance,
    StateError,
    TrainState,
    load_progress,
    load_tensors,
    save_tensors,
)

NORMALIZATION = "normalization.json"


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        directory: where everything is written.
        data: dataset directories; trained on as one.
        config: what decides the run.
        command: recorded in the checkpoint.
        start: another run, from whose averaged weights a stage starts instead of from random ones.
        tensorboard: write scalars under `directory / "tensorboard"`.
        pretrained: local LTX-Video directory (vae, tokenizer, text_encoder), for presets that use them.
        weights: published weights, from which what they hold starts instead of from random ones.
    """

    directory: Path
    data: tuple[Path, ...]
    config: TrainConfig
    command: str
    tensorboard: bool = False
    start: Path | None = None
    pretrained: Path | None = None
    weights: Path | None = None

    def state_path(self, stage: str) -> Path:
        return self.directory / f"{stage}.state.safetensors"

    def record_path(self, stage: str) -> Path:
        return self.directory / f"{stage}.json"

    def inputs(self) -> str:
        """What tells the latents and the normalisation that are here from others."""
        return " ".join(file_sha256(self.directory / name)[:16] for name in (ORIGIN, NORMALIZATION))

    @property
    def scalars(self) -> Path | None:
        return self.directory / "tensorboard" if self.tensorboard else None


def train_autoencoder(run: Run, plan: Plan, *, resume: bool) -> None:
    """Decode the dataset if need be and train the auto-encoder on it.

    Raises:
        ValueError: the preset has a pretrained one.
    """
    latent = run.config.model.latent
    if latent.is_pretrained:
        raise ValueError(f"auto-encoder {latent.autoencoder!r} is pretrained; only 'tiny' is trained here")
    run.directory.mkdir(parents=True, exist_ok=True)
    dataset = DatasetGroup(run.data)
    cache_frames(dataset, run.config.model, run.directory / FRAMES, run.config.workers)
    steps = _split(step_starts(dataset, run.config.model), fingerprints(dataset), run.config)
    run_workers(_autoencoder_worker, (run, plan, resume, *steps), run.config.workers)


def _autoencoder_worker(
    worker: Worker, run: Run, plan: Plan, resume: bool, steps: np.ndarray, held_out: np.ndarray
) -> None:
    config = run.config
    torch.manual_seed(config.seed)
    autoencoder = make_autoencoder(config.model)
    assert isinstance(autoencoder, TinyAutoencoder)
    frames = np.load(run.directory / FRAMES, mmap_mode="r")
    picture = run.directory / "autoencoder.png" if worker.is_main else None
    stage = AutoencoderStage(autoencoder, frames, steps, held_out, config.autoencoder, picture)

    def finish(state: TrainState) -> None:
        for name, parameter in state.parameters.items():
            parameter.data.copy_(state.average[name])
        stage.finish()
        save_tensors(run.directory / AUTOENCODER, dict(autoencoder.state_dict()), {})

    _train_and_record(run, worker, stage, config.autoencoder.loop, plan, resume, finish)


def encode_latents(run: Run) -> None:
    """Read the labelled dataset into the table, its frames into latents, and fit the normalisation.

    Raises:
        StateError: there is no auto-encoder yet.
        ValueError: auto-encoder or text encoder are missing or do not fit the preset.
    """
    run.directory.mkdir(parents=True, exist_ok=True)
    dataset, model = DatasetGroup(run.data), run.config.model
    load_autoencoder(model, run.directory, run.pretrained)
    sha256 = autoencoder_sha256(model, run.directory, run.pretrained)
    assert sha256 is not None
    origin = make_origin(model, sha256, fingerprints(dataset))
    table = read_table(dataset, model)
    table.save(run.directory / TABLE)
    cache_text(model, run.directory, table, run.pretrained)
    files = LatentFiles(run.directory, model, origin, table.starts)
    cache_latents(files, _frames(run, dataset), run.pretrained, run.config.workers, _say)
    steps, _ = _split(table.starts, table.episodes, run.config)
    episodes = load_episodes(model, run.directory, table, run.pretrained)
    normalization = fit_normalization(episodes, model.horizon, steps)
    normalization.to_json(run.directory / NORMALIZATION)


def _frames(run: Run, dataset: DatasetGroup) -> Frames:
    """Checked images: from the cache that the auto-encoder was trained on, or from the videos if it was not here."""
    model = run.config.model
    if not (run.directory / FRAMES).is_file():
        dataset.check()
        return DecodedFrames(dataset, model)
    cache_frames(dataset, model, run.directory / FRAMES, run.config.workers)
    return CachedFrames(run.directory / FRAMES, step_starts(dataset, model))


def train_stage(run: Run, stage: str, plan: Plan, *, resume: bool) -> None:
    """One of the three stages; it starts from the averaged weights of the stages before it.

    Raises:
        StateError: the stage before, or the latents, are missing.
    """
    run_workers(train_stage_on, (run, stage, plan, resume), run.config.workers)


def train_stage_on(worker: Worker, run: Run, name: str, plan: Plan, resume: bool) -> None:
    """`train_stage` on this one of several workers."""
    config = run.config
    torch.manual_seed(config.seed)
    model = WAVModel(config.model)
    if run.weights is not None:
        loaded = load_pretrained(run.weights, model)
        if worker.is_main and loaded.initialised:
            _warn(f"{run.weights}: has no {', '.join(loaded.initialised)}; they start from random weights")
    warn = _warn if worker.is_main else lambda text: None
    ancestors = load_averages(run, model, STAGES[: STAGES.index(name)], warn=warn)
    if run.start is not None:
        ancestors |= load_part(run.start, model, name)
    table = Table.load(run.directory / TABLE)
    episodes = load_episodes(config.model, run.directory, table, run.pretrained)
    normalization = Normalization.from_json(run.directory / NORMALIZATION)
    steps, held_out = _split(table.starts, table.episodes, config)
    if config.drop_still_steps:
        still = still_steps(episodes, config.model.horizon)
        steps, held_out = steps[~still[steps]], held_out[~still[held_out]]
        if not (len(steps) and len(held_out)):
            raise ValueError(
                "drop_still_steps leaves no observation to train on or to hold out: in no chunk a joint moves"
            )
    steps = repeat_starts(episodes, steps, config.start_steps, config.start_weight)
    batches, validation = (Batches(episodes, normalization, config.model.horizon, s) for s in (steps, held_out))
    measure = HeldOut(model, validation, config.validation_samples, config.seed)
    evaluate: dict[str, Callable[[], dict[str, float]]] = {
        "video": measure.video,
        "value": measure.value,
        "action": measure.action,
    }
    stage = make_stage(name, model, batches, config, evaluate[name])
    if config.compile:
        compile_blocks(model)
        stage.evaluate = uncompiled(stage.evaluate)
    provenance = Provenance(run.inputs(), ancestors=ancestors)
    _train_and_record(run, worker, stage, getattr(config, name).loop, plan, resume, provenance=provenance)


def compile_blocks(model: WAVModel) -> None:
    """Fuse the elementwise work of every transformer block; all blocks of a kind share one compilation."""
    for block in (*model.video.transformer_blocks, *model.value.blocks, *model.action.blocks):
        block.compile()


def uncompiled(evaluate: Callable[[], dict[str, float]]) -> Callable[[], dict[str, float]]:
    """`evaluate` run eagerly: other batch sizes and no gradients would be compiled anew."""

    def run_eagerly() -> dict[str, float]:
        with torch.compiler.set_stance("force_eager"):
            return evaluate()

    return run_eagerly


def _train_and_record(
    run: Run,
    worker: Worker,
    stage: Any,
    loop: Any,
    plan: Plan,
    resume: bool,
    finish: Callable[[TrainState], None] = lambda state: None,
    provenance: Provenance | None = None,
) -> None:
    call = {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": run.command,
        "data": [str(path) for path in run.data],
        "workers": worker.size,
    }
    state = train(
        stage,
        loop,
        plan,
        run.config.seed,
        run.state_path(stage.name),
        worker=worker,
        resume=resume,
        report=_say,
        tensorboard=run.scalars,
        provenance=replace(provenance or Provenance(), call=call),
    )
    if not worker.is_main:
        return
    finish(state)
    record = {"seed": run.config.seed, "loop": asdict(loop), **_summary(state.progress)}
    write_json(run.record_path(stage.name), record)
    done = "done" if state.progress.complete else "stopped; the same command with --resume continues"
    _say(f"[{stage.name}] {done}: {state.progress.step} steps, {state.progress.samples} samples")


def _summary(progress: Progress) -> dict[str, Any]:
    return {
        "calls": progress.calls,
        "steps": progress.step,
        "samples": progress.samples,
        "seconds": round(progress.seconds, 1),
        "complete": progress.complete,
        "history": progress.history,
    }


def load_averages(run: Run, model: nn.Module, stages: tuple[str, ...], *, warn: Report) -> dict[str, Any]:
    """Put the averaged weights of these stages, in order, into the model.

    Args:
        warn: called for every stage that is not finished.

    Returns:
        Their lineage, see `Provenance.ancestors`.

    Raises:
        StateError: a stage has not been trained, or with another preset.
    """
    ancestors: dict[str, Any] = {}
    for stage in stages:
        path = run.state_path(stage)
        if not path.is_file():
            raise StateError(f"{path}: no such file; run `wav train {stage}` first")
        progress, _ = _copy_averages(path, model, "average.", "")
        if not progress.complete:
            warn(f"{path}: stage {stage} ended unfinished after {progress.step} steps; --resume goes on with it")
        ancestors |= progress.lineage(path)
    return ancestors


def load_part(start: Path, model: WAVModel, part: str) -> dict[str, Any]:
    """Put one network's averaged weights of another run into the model, as its last stage left them.

    Returns:
        Their lineage, see `Provenance.ancestors`.

    Raises:
        StateError: that run has not trained it, or with another preset.
    """
    for stage in reversed(STAGES[STAGES.index(part) :]):
        path = start / f"{stage}.state.safetensors"
        if not path.is_file():
            continue
        progress, num_copied = _copy_averages(path, model, f"average.{part}.", f"{part}.")
        if num_copied:
            return progress.lineage(path)
    raise StateError(f"{start}: has not trained the {part} network; start without --start")


def _copy_averages(path: Path, model: nn.Module, prefix: str, part: str) -> tuple[Progress, int]:
    """How far the stage is, and how many averages it has of that part of the model: a stage keeps what it trains."""
    tensors, numbers = load_tensors(path, remedy="train that stage first", prefix=prefix)
    parameters = dict(model.named_parameters())
    for name, tensor in tensors.items():
        if part + name not in parameters or parameters[part + name].shape != tensor.shape:
            raise StateError(f"{path}: tensor {part}{name} does not fit this preset")
        parameters[part + name].data.copy_(tensor)
    return Progress(**numbers), len(tensors)


def assemble_checkpoint(run: Run, directory: Path) -> None:
    """Write the averaged weights of all stages as a checkpoint.

    Raises:
        StateError: a stage is missing, or was trained on other latents or another normalisation than the run has now,
            or the latents are of other data.
    """
    model = WAVModel(run.config.model)
    ancestors = load_averages(run, model, STAGES, warn=_warn)
    autoencoder = load_autoencoder(run.config.model, run.directory, run.pretrained)
    sha256 = autoencoder_sha256(run.config.model, run.directory, run.pretrained)
    check_origin(run.directory, run.config.model, sha256)
    dataset = DatasetGroup(run.data)
    check_episodes(run.directory, fingerprints(dataset))
    for stage in STAGES:
        load_progress(run.state_path(stage), "").require_inputs(run.state_path(stage), run.inputs())
    held_out = held_out_episodes(fingerprints(dataset), run.config.validation_fraction, run.config.seed)
    stages = STAGES if run.config.model.latent.is_pretrained else ("autoencoder", *STAGES)
    record = {
        "config": asdict(run.config),
        "data": {
            "name": run.data[0].name if len(run.data) == 1 else None,
            "names": [path.name for path in run.data],
            "instructions": sorted({episode.instruction for episode in dataset.episodes}),
            "successes": sum(episode.success is True for episode in dataset.episodes),
            "episodes": len(dataset),
            "frames": sum(episode.length for episode in dataset.episodes),
            "fps": dataset.fps,
            "seeds": _span([e.seed for e in dataset.episodes if e.seed is not None]),
            "held_out_episodes": np.flatnonzero(held_out).tolist(),
            "held_out_of": _per_dataset(dataset, held_out),
        },
        "stages": {stage: _stage_record(run, stage) for stage in stages},
        "ancestors": {path: of for path, of in ancestors.items() if Path(path).parent != run.directory},
    }
    save_checkpoint(
        directory,
        model=model,
        autoencoder=autoencoder,
        normalization=Normalization.from_json(run.directory / NORMALIZATION),
        training_record=record,
    )


def _stage_record(run: Run, stage: str) -> dict[str, Any]:
    """What is known of a stage's training: its record, which is written when it ends, and how far its state is."""
    path = run.record_path(stage)
    record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {**record, **_summary(load_progress(run.state_path(stage), f"run `wav train {stage}` first"))}


def _per_dataset(group: DatasetGroup, held_out: np.ndarray) -> dict[str, list[int]]:
    """Held-out episodes by the name of their dataset, as that one counts them."""
    bounds = np.cumsum([len(dataset) for dataset in group.datasets])[:-1]
    parts = zip(group.datasets, np.split(held_out, bounds), strict=True)
    return {dataset.root.name: np.flatnonzero(part).tolist() for dataset, part in parts}


def _span(seeds: list[int]) -> list[int]:
    return [min(seeds), max(seeds)] if seeds else []


def _split(starts: np.ndarray, episodes: Sequence[Fingerprint], config: TrainConfig) -> tuple[np.ndarray, np.ndarray]:
    """Steps of the training episodes and of the held-out ones."""
    held_out = np.repeat(held_out_episodes(episodes, config.validation_fraction, config.seed), np.diff(starts))
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def _say(text: str) -> None:
    print(text, file=sys.stdout, flush=True)


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)
