"""The steps of a run: auto-encoder, latents, stages (the checkpoint: training/assembly.py)."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from wav_models.checkpoint import load_pretrained
from wav_models.checkpoint_files import file_sha256
from wav_models.data.dataset_group import DatasetGroup
from wav_models.data.durable import write_json
from wav_models.data.normalization import Normalization
from wav_models.networks.autoencoder import TinyAutoencoder, make_autoencoder
from wav_models.networks.wav_model import WAVModel, compile_blocks, recompute_activations
from wav_models.training.autoencoder_stage import AutoencoderStage
from wav_models.training.base import load_base, load_teacher, take_over_base, with_given_steps
from wav_models.training.config import DISTIL, EVERY_STAGE, DatasetConfig, TrainConfig
from wav_models.training.data.batches import Batches, fit_normalization, still_steps
from wav_models.training.data.frames import (
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
    load_frames,
    read_table,
    step_starts,
)
from wav_models.training.data.latent_files import REMEDY, LatentFiles, check_augmentation, make_origin
from wav_models.training.data.latents import (
    AUTOENCODER,
    autoencoder_sha256,
    cache_latents,
    cache_text,
    load_autoencoder,
    load_episodes,
)
from wav_models.training.loop import Budget, Say, train
from wav_models.training.low_rank import merged
from wav_models.training.metrics import HeldOut
from wav_models.training.parallel import TrainingWorker, run_workers
from wav_models.training.run import NORMALIZATION, Run
from wav_models.training.stage_table import make_stage
from wav_models.training.stages import BaseStage
from wav_models.training.state import (
    Ancestor,
    Provenance,
    StageProgress,
    StateError,
    TrainState,
    joined,
    load_tensors,
    require_file,
    save_tensors,
    training_calls,
)
from wav_models.training.trackers import tracking
from wav_models.words import counted


def train_autoencoder(run: Run, budget: Budget, *, resume: bool, worker: TrainingWorker | None = None) -> None:
    """Decode the dataset if need be and train the auto-encoder on it.

    Args:
        worker: this process, where it is one of several or computes on a GPU; None = the run's own workers.

    Raises:
        ValueError: the preset has a pretrained one, or no episode is left to train on or to hold out.
    """
    latent = run.config.model.latent
    if latent.is_pretrained:
        raise ValueError(f"auto-encoder {latent.autoencoder!r} is pretrained; only 'tiny' is trained here")
    run.directory.mkdir(parents=True, exist_ok=True)
    dataset = run.dataset()
    steps = _split(step_starts(dataset, run.config.model), fingerprints(dataset), run.config)
    if worker is None:
        cache_frames(dataset, run.config.model, run.directory / FRAMES, run.config.workers)
        run_workers(_autoencoder_worker, (run, budget, resume, *steps), run.config.workers)
        return
    if worker.is_main:
        cache_frames(dataset, run.config.model, run.directory / FRAMES, run.config.workers)
    worker.meet()
    _autoencoder_worker(worker, run, budget, resume, *steps)


def _autoencoder_worker(
    worker: TrainingWorker, run: Run, budget: Budget, resume: bool, steps: np.ndarray, held_out: np.ndarray
) -> None:
    config = run.config
    torch.manual_seed(config.seed)
    autoencoder = make_autoencoder(config.model)
    assert isinstance(autoencoder, TinyAutoencoder)
    if run.base is not None:
        tensors, _ = load_tensors(run.base / AUTOENCODER, remedy="give a checkpoint that has one of its own")
        autoencoder.load_state_dict(tensors)
    frames = load_frames(run.directory / FRAMES)
    picture = run.directory / "autoencoder.png" if worker.is_main else None
    stage = AutoencoderStage(
        autoencoder, frames, steps, held_out, config.autoencoder, config.model.embodiment.view_names, picture
    )

    def finish(state: TrainState) -> dict[str, Any]:
        for name, parameter in state.parameters.items():
            parameter.data.copy_(state.average[name])
        stage.finish()
        save_tensors(run.directory / AUTOENCODER, dict(autoencoder.state_dict()), {})
        return {"sha256": file_sha256(run.directory / AUTOENCODER)}

    _train_and_record(run, worker, stage, config.autoencoder.loop, budget, resume, finish)


def encode_latents(run: Run, scheduler: str | None = None) -> None:
    """Read the labelled dataset into the table, its frames into latents, and fit the normalisation.

    Where a checkpoint is built on, its auto-encoder and its normalisation are taken: its weights fit no others.

    Args:
        scheduler: of dask, whose workers encode the frames instead of this machine's, see `worker_pool`.

    Raises:
        StateError: there is no auto-encoder yet.
        ValueError: auto-encoder or text encoder are missing or do not fit the preset, or no episode is left to train
            on or to hold out.
    """
    run.directory.mkdir(parents=True, exist_ok=True)
    dataset, model = run.dataset(), run.config.model
    steps, imitated = _learnt(run, dataset)
    if run.base is not None:
        take_over_base(run, run.base)
    load_autoencoder(model, run.directory, run.pretrained)
    sha256 = autoencoder_sha256(model, run.directory, run.pretrained)
    assert sha256 is not None
    origin = make_origin(model, sha256, fingerprints(dataset), run.config.augmentation)
    table = read_table(dataset, model, run.config.labels, imitated)
    table.save(run.directory / TABLE)
    cache_text(model, run.directory, table, run.pretrained)
    files = LatentFiles(run.directory, model, origin, table.starts)
    cache_latents(files, _frames(run, dataset), run.pretrained, run.config.workers, _say, scheduler)
    episodes = load_episodes(model, run.directory, table, run.pretrained)
    if run.base is None:
        normalization = fit_normalization(episodes, model.horizon, steps, model.embodiment)
        normalization.to_json(run.directory / NORMALIZATION)


def _learnt(run: Run, dataset: DatasetGroup) -> tuple[np.ndarray, np.ndarray]:
    """Steps of the training episodes, and whose actions are learnt; ValueError where there is nothing to learn."""
    starts, imitated = step_starts(dataset, run.config.model), run.imitated(dataset)
    parts = _split(starts, fingerprints(dataset), run.config)
    of_step = np.repeat(imitated, np.diff(starts))
    if not all(of_step[steps].any() for steps in parts):
        raise ValueError(
            "`imitated` leaves no episode whose actions are learnt, or none of these is held out: mean more, or change "
            "validation_fraction"
        )
    return parts[0], imitated


def _frames(run: Run, dataset: DatasetGroup) -> Frames:
    """Checked images: from the cache that the auto-encoder was trained on, or from the videos if it was not here."""
    model = run.config.model
    if not (run.directory / FRAMES).is_file():
        dataset.check(run.config.workers)
        return DecodedFrames(dataset, model)
    cache_frames(dataset, model, run.directory / FRAMES, run.config.workers)
    return CachedFrames(run.directory / FRAMES, step_starts(dataset, model))


def train_stage(run: Run, stage: str, budget: Budget, *, resume: bool) -> None:
    """One of the three stages, or the one after them; it starts from the averaged weights of the stages before it.

    Raises:
        StateError: the stage before, or the latents, are missing.
    """
    _require_before(run, stage)  # in every worker it would be found once each
    run_workers(train_stage_on, (run, stage, budget, resume), run.config.workers)


def _require_before(run: Run, stage: str) -> None:
    """MissingStateError where a step is missing that comes before a stage."""
    require_file(run.directory / TABLE, REMEDY)
    for before in EVERY_STAGE[: EVERY_STAGE.index(stage)]:
        if run.base is None and before != DISTIL:
            _require_trained(run, before)


def _require_trained(run: Run, stage: str) -> None:
    remedy = f"run `wav train {stage}` first, or name the checkpoint to build on by --start"
    require_file(run.state_path(stage), remedy)


def train_stage_on(worker: TrainingWorker, run: Run, name: str, budget: Budget, resume: bool) -> None:
    """`train_stage` on this one of several workers."""
    config = run.config
    torch.manual_seed(config.seed)
    model = WAVModel(config.model)
    if run.weights is not None:
        initialised = load_pretrained(run.weights, model)
        if worker.is_main and initialised:
            print_warning(f"{run.weights}: has no {', '.join(initialised)}; they start from random weights")
    warn = print_warning if worker.is_main else lambda text: None
    base = load_base(run, model)
    before = load_averages(run, model, EVERY_STAGE[: EVERY_STAGE.index(name)], warn=warn)
    lineages = [progress.lineage(run.state_path(stage)) for stage, progress in before.items()]
    lineages.append(base)
    if run.start is not None and run.base is None:
        lineages.append(load_part(run.start, model, name))
    teacher, taught_by = load_teacher(run, model) if name == DISTIL else (None, [])
    lineages.append(taught_by)
    batches, validation = _batches(run)
    held_out = HeldOut(model, validation, config.validation_samples, config.seed)
    stage: BaseStage = make_stage(name, model, batches, config, lambda: stage.measure(held_out), teacher)
    if config.recompute:
        recompute_activations(model)
    if config.compile:
        if worker.is_main:
            _say(f"[{name}] compiling the networks: half a minute or more before the first step")
        compile_blocks(model)
        stage.evaluate = uncompiled(stage.evaluate)
    provenance = Provenance(
        {**run.inputs(), **run.began_with()},
        before={stage: progress.weights for stage, progress in before.items()},
        ancestors=list(joined(*lineages).values()),
    )
    _train_and_record(run, worker, stage, getattr(config, name).loop, budget, resume, provenance=provenance)


def _batches(run: Run) -> tuple[Batches, Batches]:
    """Of what is trained on, and of what is held out."""
    config = run.config
    table = Table.load(run.directory / TABLE)
    episodes = load_episodes(config.model, run.directory, table, run.pretrained)
    check_augmentation(run.directory, config.augmentation)
    normalization = Normalization.from_json(run.directory / NORMALIZATION, config.model.embodiment)
    steps, held_out = _split(table.starts, table.episodes, config)
    if config.drop_still_steps:
        still = still_steps(episodes, config.model.horizon, config.model.embodiment)
        steps, held_out = steps[~still[steps]], held_out[~still[held_out]]
        if not (len(steps) and len(held_out)):
            raise ValueError(
                "drop_still_steps leaves no observation to train on or to hold out: in no chunk a joint moves"
            )
    weights = _weights(table, config)[steps]
    draws = None if (weights == weights[0]).all() else weights
    return (
        Batches(episodes, normalization, config.model.horizon, steps, draws),
        Batches(episodes, normalization, config.model.horizon, held_out),
    )


def uncompiled(evaluate: Callable[[], dict[str, float]]) -> Callable[[], dict[str, float]]:
    """`evaluate` run eagerly: other batch sizes and no gradients would be compiled anew."""

    def run_eagerly() -> dict[str, float]:
        with torch.compiler.set_stance("force_eager"):
            return evaluate()

    return run_eagerly


def _train_and_record(
    run: Run,
    worker: TrainingWorker,
    stage: Any,
    loop: Any,
    budget: Budget,
    resume: bool,
    finish: Callable[[TrainState], dict[str, Any]] = lambda state: {},
    provenance: Provenance | None = None,
) -> None:
    call: dict[str, Any] = {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": run.command,
        "data": [str(path) for path in run.data],
        "workers": worker.size,
        "config": asdict(run.config),
    }
    trackers = run.trackers if worker.is_main else ()
    with tracking(trackers, run.directory, stage.name, call["config"]) as track:
        state = train(
            stage,
            loop,
            budget,
            run.config.seed,
            run.state_path(stage.name),
            worker=worker,
            resume=resume,
            report=_say,
            track=track,
            provenance=replace(provenance or Provenance(), call=call),
        )
    if not worker.is_main:
        return
    record = {"seed": run.config.seed, "loop": asdict(loop), **summary(state.progress), **finish(state)}
    write_json(run.record_path(stage.name), record)
    done = "done" if state.progress.complete else "stopped; the same command with --resume continues"
    _say(f"[{stage.name}] {done}: {counted(state.progress.step, 'step')}, {counted(state.progress.samples, 'sample')}")


def summary(progress: StageProgress) -> dict[str, Any]:
    """What a record says of how far a stage is."""
    return {
        "calls": progress.calls,
        "steps": progress.step,
        "samples": progress.samples,
        "seconds": round(progress.seconds, 1),
        "complete": progress.complete,
        "history": progress.history,
    }


def load_averages(run: Run, model: WAVModel, stages: tuple[str, ...], *, warn: Say) -> dict[str, StageProgress]:
    """Put the averaged weights of these stages, in order, into the model, whose `config` becomes theirs.

    Args:
        warn: called for every stage that is not finished.

    Returns:
        How far each stage is; without those that were not trained here, where a checkpoint is built on, and without
        `DISTIL`, which a run need not have.

    Raises:
        StateError: a stage has not been trained, or with another preset.
    """
    trained: dict[str, StageProgress] = {}
    for stage in stages:
        path = run.state_path(stage)
        if not path.is_file() and (run.base is not None or stage == DISTIL):
            continue
        _require_trained(run, stage)
        trained[stage], _ = copy_averages(path, model, "average.", "")
        if stage == "action":
            model.config = with_given_steps(model.config, _most_given(trained[stage]))
        if not trained[stage].complete:
            steps = trained[stage].step
            warn(f"{path}: stage {stage} ended unfinished after {counted(steps, 'step')}; --resume goes on with it")
    return trained


def _most_given(progress: StageProgress) -> int | None:
    """Steps of a chunk that the action stage was given at most, by its last call; None where it was given none."""
    *_, last = [{}, *training_calls(progress.step, progress.calls)]
    most: int = last.get("config", {}).get("action", {}).get("prefix_steps", (0, 0))[1]
    return most or None


def load_part(start: Path, model: WAVModel, part: str) -> list[Ancestor]:
    """Put one network's averaged weights of another run into the model, as its last stage left them.

    Returns:
        Their lineage, see `Provenance.ancestors`.

    Raises:
        StateError: that run has not trained it, or with another preset.
    """
    trained_on = _known_identities(start)
    for stage in reversed(EVERY_STAGE[EVERY_STAGE.index(part) :]):
        path = start / f"{stage}.state.safetensors"
        if not path.is_file():
            continue
        progress, num_copied = copy_averages(path, model, f"average.{part}.", f"{part}.")
        if num_copied:
            *before, own = progress.lineage(path)
            return [*before, {**own, "trained_on": trained_on}]
    raise StateError(f"{start}: has not trained the {part} network, and is no checkpoint; leave --start out")


def _known_identities(run: Path) -> list[str]:
    """Identities of the episodes that a run has read, as far as its table says."""
    return list(Table.load(run / TABLE).identities) if (run / TABLE).is_file() else []


def _weights(table: Table, config: TrainConfig) -> NDArray[np.float64]:
    """How often every step is drawn, relative to others, shape [N].

    Beginnings more often: before anything has moved, the memory does not show what follows, and all depends on them.
    """
    default, episode = DatasetConfig(), table.episode_of_step
    datasets = np.array([config.datasets.get(str(name), default).weight for name, *_ in table.episodes])
    begins = np.arange(len(episode)) - table.starts[episode] < config.start_steps
    return datasets[episode] * np.where(begins, config.start_weight, 1)


def copy_averages(path: Path, model: nn.Module, prefix: str, part: str) -> tuple[StageProgress, int]:
    """How far the stage is, and how many averages it has of that part of the model: a stage keeps what it trains."""
    tensors, numbers = load_tensors(path, remedy="train that stage first", prefix=prefix)
    parameters, tensors = dict(model.named_parameters()), merged(tensors)
    for name, tensor in tensors.items():
        if part + name not in parameters or parameters[part + name].shape != tensor.shape:
            raise StateError(f"{path}: tensor {part}{name} does not fit this preset")
        parameters[part + name].data.copy_(tensor)
    return StageProgress.read(path, numbers), len(tensors)


def _split(starts: np.ndarray, episodes: Sequence[Fingerprint], config: TrainConfig) -> tuple[np.ndarray, np.ndarray]:
    """Steps of the training episodes and of the held-out ones; ValueError where there are none of either."""
    held_out = held_out_episodes(episodes, config.validation_fraction, config.seed)
    if held_out.all() or not held_out.any():
        raise ValueError(
            f"{held_out.sum()} of {counted(len(episodes), 'episode')} held out (validation_fraction "
            f"{config.validation_fraction:g}), but some must be trained on and some held out: record two episodes or "
            "more in a dataset, or change validation_fraction"
        )
    held_out = np.repeat(held_out, np.diff(starts))
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def _say(text: str) -> None:
    print(text, file=sys.stdout, flush=True)


def print_warning(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)
