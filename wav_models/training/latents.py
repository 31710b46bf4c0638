"""All frames as latents and all instructions as embeddings, computed once; the stages read nothing else."""

from __future__ import annotations

import multiprocessing
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from wav_models.networks.autoencoder import make_autoencoder
from wav_models.networks.text_encoder import make_text_encoder
from wav_models.presets import ModelConfig
from wav_models.training.batches import Episodes
from wav_models.training.frames import Table
from wav_models.training.state import StateError, load_tensors, save_tensors

LATENTS, TEXT, AUTOENCODER = "latents.npy", "text.safetensors", "autoencoder.safetensors"
CHUNK = 64


def cache_latents(model: ModelConfig, run: Path, frames: Path, num_processes: int) -> None:
    """Encode every frame with the run's auto-encoder, in float32 as the live policy does."""
    count, views = np.load(frames, mmap_mode="r").shape[:2]
    shape = (count, views, model.num_tokens_per_frame, model.video.in_channels)
    partial = run / (LATENTS + ".partial")
    np.lib.format.open_memmap(partial, mode="w+", dtype=np.float16, shape=shape).flush()
    bounds = np.linspace(0, count, num_processes + 1).astype(int)
    jobs = [(model, run, frames, partial, int(a), int(b)) for a, b in pairwise(bounds)]
    with multiprocessing.get_context("spawn").Pool(num_processes) as pool:
        pool.map(_encode_range, jobs)
    partial.replace(run / LATENTS)


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


def cache_text(model: ModelConfig, run: Path, table: Table) -> None:
    """Embed the empty instruction (row 0) and every distinct instruction."""
    instructions = ["", *sorted(set(table.instructions))]
    embedding, mask = make_text_encoder(model)(instructions)
    save_tensors(run / TEXT, {"embedding": embedding, "mask": mask}, {"instructions": instructions})


def load_episodes(run: Path, table: Table) -> Episodes:
    """What the stages train on; latents stay memory-mapped, shared by all workers.

    Raises:
        StateError: the latents are missing or of other data than the table.
    """
    remedy = "run `wav train latents` first"
    if not (run / LATENTS).is_file():
        raise StateError(f"{run / LATENTS}: no such file; {remedy}")
    latents: NDArray[np.float16] = np.load(run / LATENTS, mmap_mode="r")
    if len(latents) != len(table.states):
        raise StateError(f"{run / LATENTS}: {len(latents)} frames, the table has {len(table.states)}; {remedy}")
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
