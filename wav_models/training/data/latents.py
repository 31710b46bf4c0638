"""All frames as latents and all instructions as embeddings, computed once; the stages read nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from wav_models.checkpoint_files import file_sha256
from wav_models.networks.autoencoder import LTXAutoencoder, TinyAutoencoder, local_folder, make_autoencoder
from wav_models.networks.text_encoder import make_text_encoder
from wav_models.presets import ModelConfig
from wav_models.training.data.augmentation import augment
from wav_models.training.data.batches import Episodes
from wav_models.training.data.frames import Frames, Table
from wav_models.training.data.latent_files import REMEDY, LatentFiles, bytes_per_step, check_episodes, load_latents
from wav_models.training.data.latent_store import LatentArray
from wav_models.training.randomness import streams_at
from wav_models.training.state import StateError, load_tensors, require_file, save_tensors
from wav_models.types import ImageArray
from wav_models.words import counted
from wav_models.worker_pool import worker_pool

TEXT, AUTOENCODER = "text.safetensors", "autoencoder.safetensors"
CHUNK: Final = 64
"""Single images that are encoded at a time, of every view."""
WINDOW_CHUNK: Final = 8
"""Windows of images that are encoded at a time, of every view."""
BLOCK: Final = 8 * CHUNK
"""Steps of an episode that are in memory at a time."""
EPISODES_AT_ONCE: Final = 16
"""That a worker of a cluster is given."""
REPORT_SECONDS: Final = 5.0
CAUSAL_TOLERANCE: Final = 0.02
"""Between an image's latent and that of a window it begins, in standard deviations: reduced precision, no more."""


def load_autoencoder(model: ModelConfig, run: Path, pretrained: Path | None) -> TinyAutoencoder | LTXAutoencoder:
    """The pretrained auto-encoder of the directory `pretrained`, or the one that the run has trained.

    Raises:
        StateError: the run has none yet.
        ValueError: there is no directory, or its auto-encoder does not fit.
    """
    autoencoder = make_autoencoder(model, pretrained)
    if isinstance(autoencoder, TinyAutoencoder):
        tensors, _ = load_tensors(run / AUTOENCODER, remedy="run `wav train autoencoder` first")
        autoencoder.load_state_dict(tensors)
    return autoencoder


def autoencoder_sha256(model: ModelConfig, run: Path, pretrained: Path | None) -> str | None:
    """What tells the auto-encoder from others; None where it is pretrained and its directory was not given.

    Raises:
        StateError: the run has none yet.
    """
    if not model.latent.is_pretrained:
        require_file(run / AUTOENCODER, "run `wav train autoencoder` first")
        return file_sha256(run / AUTOENCODER)
    if pretrained is None:
        return None
    files = sorted(p for p in local_folder(pretrained, "vae").iterdir() if p.suffix in (".json", ".safetensors"))
    return " ".join(file_sha256(path) for path in files)


@dataclass(frozen=True)
class _Encoding:
    """What a process needs to encode some episodes.

    Attributes:
        notes: whether it notes each when it is done; those of several machines cannot add to one file.
    """

    files: LatentFiles
    frames: Frames
    pretrained: Path | None
    notes: bool
    rank: int
    episodes: list[int]


def cache_latents(
    files: LatentFiles,
    frames: Frames,
    pretrained: Path | None,
    num_processes: int,
    report: Callable[[str], None],
    scheduler: str | None = None,
) -> None:
    """Encode what is missing, in float32 as the live policy does; an encoding that is ended goes on when called again.

    Args:
        num_processes: of this machine.
        scheduler: of dask, whose workers encode instead, see `worker_pool`.

    Raises:
        OSError: the disk is full.
        ValueError: the auto-encoder does not begin windows of images as it encodes single ones.
        ChildProcessError: a worker died.
    """
    missing = files.prepare()
    model, starts = files.model, files.starts
    size = bytes_per_step(model) * files.num_encodings
    hourly = size * model.horizon.step_hz * 3600
    report(
        f"[latents] {len(missing)} of {counted(len(starts) - 1, 'episode')} to encode; {starts[-1]} steps take "
        f"{starts[-1] * size / 1e9:.2f} GB, an hour of data {hourly / 1e9:.1f} GB"
    )
    if scheduler is None:
        shares = [missing[rank::num_processes] for rank in range(min(num_processes, len(missing)))]
    else:
        shares = [missing[i : i + EPISODES_AT_ONCE] for i in range(0, len(missing), EPISODES_AT_ONCE)]
    began = time.monotonic()
    with worker_pool(num_processes, scheduler=scheduler) as pool:
        share = partial(_Encoding, files, frames, pretrained, scheduler is None)
        jobs = {pool.submit(_encode, share(*each)) for each in enumerate(shares)}
        while jobs:
            done, jobs = wait(jobs, REPORT_SECONDS, FIRST_EXCEPTION)
            for episode in (episode for job in done for episode in job.result()):
                files.finish(episode)
            if jobs:
                report(_progress(files, set(missing), time.monotonic() - began))
    if missing:
        report(_progress(files, set(missing), time.monotonic() - began))
    files.publish()


def _progress(files: LatentFiles, missing: set[int], seconds: float) -> str:
    lengths = np.diff(files.starts)
    done = (files.finished() or set()) & missing
    steps, total = (int(lengths[sorted(episodes)].sum()) for episodes in (done, missing))
    rate = steps * files.model.num_views * files.num_encodings / seconds
    left = f"{(total / steps - 1.0) * seconds / 60:.1f} min left" if steps else "time left unknown"
    count = f"{len(done)} of {counted(len(missing), 'episode')}"
    return f"[latents {seconds / 60:5.1f} min] {count}  {rate:.1f} frames/s  {left}"


def _encode(job: _Encoding) -> list[int]:
    """The episodes that are still to be noted."""
    torch.set_num_threads(1)
    files, model = job.files, job.files.model
    autoencoder = load_autoencoder(model, files.run, job.pretrained).to(_device(job.rank))
    reach = model.future_image_offsets[-1]
    for episode in job.episodes:
        length = int(files.starts[episode + 1] - files.starts[episode])
        for first in range(0, length, BLOCK):
            end = min(first + BLOCK, length)
            plain = job.frames.read(episode, range(first, min(end + reach, length)))
            for encoding in range(files.num_encodings):
                rng = streams_at(0, "augmentation", episode, encoding).numpy
                images = augment(plain, files.augmentation, rng) if encoding else plain
                singles = _encode_singles(autoencoder, images[: end - first])
                windows = _encode_windows(autoencoder, model, images, end - first)
                files.write(episode, first, encoding, singles, windows)
        if job.notes:
            files.finish(episode)
    return [] if job.notes else job.episodes


def _device(rank: int) -> torch.device:
    return torch.device("cuda", rank % torch.cuda.device_count()) if torch.cuda.is_available() else torch.device("cpu")


def _encode_singles(autoencoder: TinyAutoencoder | LTXAutoencoder, images: ImageArray) -> LatentArray:
    """Images [n, V, H, W, 3], each on its own -> [n, V, L, C]."""
    parts = [
        autoencoder.encode_memory(_images(images[i : i + CHUNK, :, None], autoencoder))[:, :, 0]
        for i in range(0, len(images), CHUNK)
    ]
    return _half(torch.cat(parts))


def _encode_windows(
    autoencoder: TinyAutoencoder | LTXAutoencoder, model: ModelConfig, images: ImageArray, count: int
) -> LatentArray:
    """The last W latents of the futures seen from the first `count` images, beyond which the last image is repeated.

    Args:
        images: as far as the futures reach, or to the end of the episode, [n, V, H, W, 3].

    Returns:
        Shape [count, V, W, L, C].
    """
    num_latents = model.num_window_latents
    tokens = model.num_tokens_per_frame, model.video.in_channels
    windows = np.empty((count, images.shape[1], num_latents, *tokens), np.float16)
    if num_latents == 0:
        return windows
    offsets = np.array(model.future_image_offsets)
    for first in range(0, count, WINDOW_CHUNK):
        steps = np.arange(first, min(first + WINDOW_CHUNK, count))
        seen = images[np.clip(steps[:, None] + offsets, 0, len(images) - 1)].swapaxes(1, 2)
        latents = autoencoder.encode_future(_images(seen, autoencoder))
        alone = autoencoder.encode_memory(_images(seen[:1, :, :1], autoencoder))
        _require_causal(latents[:1, :, :1], alone)
        windows[steps] = _half(latents[:, :, -num_latents:])
    return windows


def _require_causal(begun: Tensor, alone: Tensor) -> None:
    """ValueError unless a window's first latent is that of its first image: the stages take the one for the other."""
    difference = (begun - alone).abs().max().item()
    if not difference <= CAUSAL_TOLERANCE * (1.0 + alone.abs().max().item()):
        raise ValueError(
            f"the auto-encoder is not causal: the first latent of a window differs by {difference:.2g} from that of "
            "its first image alone; an auto-encoder with a causal encoder fits"
        )


def _images(images: ImageArray, autoencoder: torch.nn.Module) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images)).to(next(autoencoder.parameters()).device)


def _half(latents: Tensor) -> LatentArray:
    array: LatentArray = latents.cpu().numpy().astype(np.float16)
    return array


def cache_text(model: ModelConfig, run: Path, table: Table, pretrained: Path | None = None) -> None:
    """Embed the empty instruction (row 0) and every distinct instruction; a T5 is in the directory `pretrained`."""
    instructions = ["", *sorted(set(table.instructions))]
    embedding, mask = make_text_encoder(model, pretrained)(instructions)
    save_tensors(run / TEXT, {"embedding": embedding, "mask": mask}, {"instructions": instructions})


def load_episodes(model: ModelConfig, run: Path, table: Table, pretrained: Path | None = None) -> Episodes:
    """What the stages train on; latents stay memory-mapped, shared by all workers.

    Raises:
        StateError: the latents are missing, of other data than the table, or of another auto-encoder.
    """
    latents = load_latents(run, model, len(table.states), autoencoder_sha256(model, run, pretrained))
    check_episodes(run, table.episodes)
    text, numbers = load_tensors(run / TEXT, REMEDY)
    row = {instruction: i for i, instruction in enumerate(numbers["instructions"])}
    if unknown := set(table.instructions) - row.keys():
        raise StateError(f"{run / TEXT}: lacks the instruction {min(unknown)!r}; {REMEDY}")
    episode = table.episode_of_step
    return Episodes(
        latents=latents,
        states=table.states,
        actions=table.actions,
        values=table.values,
        first=table.starts[episode],
        last=table.starts[episode + 1] - 1,
        text=np.array([row[i] for i in table.instructions], dtype=np.int64)[episode],
        imitated=table.imitated[episode],
        text_embedding=text["embedding"],
        text_mask=text["mask"],
    )
