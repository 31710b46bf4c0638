"""All frames as latents and all instructions as embeddings, computed once; the stages read nothing else."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from wav_models.data.durable import write_json
from wav_models.engines.manifest import file_sha256
from wav_models.networks.autoencoder import make_autoencoder
from wav_models.networks.text_encoder import make_text_encoder
from wav_models.presets import ModelConfig
from wav_models.training.batches import Episodes
from wav_models.training.frames import Table, allocate
from wav_models.training.state import StateError, load_tensors, save_tensors
from wav_models.worker_pool import worker_pool

LATENTS, TEXT, AUTOENCODER = "latents.npy", "text.safetensors", "autoencoder.safetensors"
ORIGIN = "latents.json"
"""Of which auto-encoder the latents are."""
CHUNK = 64


def require_encodable(model: ModelConfig, run: Path) -> None:
    """Look for what would end `cache_latents`, before frames are decoded for it.

    Raises:
        StateError: there is no auto-encoder yet.
        ValueError: the preset's covers several frames with a latent.
    """
    span = model.latent.temporal_compression
    if span != 1:
        raise ValueError(
            f"preset {model.name!r}: auto-encoder {model.latent.autoencoder!r} covers {span} frames with a latent; "
            "latents of such futures cannot be cached yet (docs/planning.md)"
        )
    load_tensors(run / AUTOENCODER, remedy="run `wav train autoencoder` first", prefix="no tensor")


def cache_latents(model: ModelConfig, run: Path, frames: Path, num_processes: int) -> None:
    """Encode every frame with the run's auto-encoder, in float32 as the live policy does.

    Raises:
        OSError: the disk is full.
        ChildProcessError: a worker died.
    """
    origin = {"autoencoder_sha256": file_sha256(run / AUTOENCODER)}
    count, views = np.load(frames, mmap_mode="r").shape[:2]
    shape = (count, views, model.num_tokens_per_frame, model.video.in_channels)
    partial = run / (LATENTS + ".partial")
    allocate(partial, np.dtype(np.float16), shape)
    bounds = np.linspace(0, count, num_processes + 1).astype(int)
    jobs = [(model, run, frames, partial, int(a), int(b)) for a, b in pairwise(bounds)]
    with worker_pool(num_processes) as pool:
        list(pool.map(_encode_range, jobs))
    (run / ORIGIN).unlink(missing_ok=True)
    partial.replace(run / LATENTS)
    write_json(run / ORIGIN, origin)


def _encode_range(job: tuple[ModelConfig, Path, Path, Path, int, int]) -> None:
    model, run, frames_path, path, start, stop = job
    torch.set_num_threads(1)
    autoencoder = make_autoencoder(model)
    tensors, _ = load_tensors(run / AUTOENCODER, remedy="run `wav train autoencoder` first")
    assert isinstance(autoencoder, torch.nn.Module)
    autoencoder.load_state_dict(tensors)
    frames = np.load(frames_path, mmap_mode="r")
    target = np.lib.format.open_memmap(path, mode="r+")
    for first in range(start, stop, CHUNK):
        rows = slice(first, min(first + CHUNK, stop))
        latents = autoencoder.encode_memory(torch.from_numpy(np.array(frames[rows]))[:, :, None])
        target[rows] = latents[:, :, 0].numpy().astype(np.float16)
    target.flush()


def cache_text(model: ModelConfig, run: Path, table: Table, pretrained: Path | None = None) -> None:
    """Embed the empty instruction (row 0) and every distinct instruction; a T5 is in the directory `pretrained`."""
    instructions = ["", *sorted(set(table.instructions))]
    embedding, mask = make_text_encoder(model, pretrained)(instructions)
    save_tensors(run / TEXT, {"embedding": embedding, "mask": mask}, {"instructions": instructions})


def load_episodes(run: Path, table: Table) -> Episodes:
    """What the stages train on; latents stay memory-mapped, shared by all workers.

    Raises:
        StateError: the latents are missing, of other data than the table, or of another auto-encoder.
    """
    remedy = "run `wav train latents` first"
    if not (run / LATENTS).is_file():
        raise StateError(f"{run / LATENTS}: no such file; {remedy}")
    latents: NDArray[np.float16] = np.load(run / LATENTS, mmap_mode="r")
    if len(latents) != len(table.states):
        raise StateError(f"{run / LATENTS}: {len(latents)} frames, the table has {len(table.states)}; {remedy}")
    _check_origin(run, remedy)
    text, numbers = load_tensors(run / TEXT, remedy)
    row = {instruction: i for i, instruction in enumerate(numbers["instructions"])}
    episode = table.episode_of_step
    return Episodes(
        latents=latents,
        states=table.states,
        actions=table.actions,
        values=table.values,
        first=table.starts[episode],
        last=table.starts[episode + 1] - 1,
        text=np.array([row[i] for i in table.instructions], dtype=np.int64)[episode],
        text_embedding=text["embedding"],
        text_mask=text["mask"],
    )


def _check_origin(run: Path, remedy: str) -> None:
    """StateError unless the latents are of the run's auto-encoder as it is now."""
    path = run / ORIGIN
    if not path.is_file():
        raise StateError(f"{path}: no such file, so nobody knows of which auto-encoder the latents are; {remedy}")
    encoded = json.loads(path.read_text(encoding="utf-8"))["autoencoder_sha256"]
    if not (run / AUTOENCODER).is_file() or file_sha256(run / AUTOENCODER) != encoded:
        raise StateError(f"{run / LATENTS}: encoded with another auto-encoder than {run / AUTOENCODER}; {remedy}")
