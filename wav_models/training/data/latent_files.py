"""The files behind a `LatentStore`: whole or absent for those who train, resumable for those who encode.

latents.npy     latents of single images, float16 [N, V, L, C]
futures.npy     the other latents of every step's future, float16 [N, V, W, L, C]; only where W is not 0
latents.1.npy   as the first, of the first augmented encoding; likewise the others
latents.json    of which auto-encoder, images and episodes they are; written last
latents.journal while they are made: what they will be, then a line per episode that is on the disk
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wav_models.configuration import from_dict
from wav_models.data.durable import publish, sync, write_json
from wav_models.presets import ModelConfig
from wav_models.training.config import AugmentationConfig
from wav_models.training.data.frames import allocate, load_array
from wav_models.training.data.latent_store import LatentArray, LatentStore
from wav_models.training.state import StateError, load_json, require_file
from wav_models.types import IndexArray

LATENTS, FUTURES, ORIGIN, JOURNAL = "latents.npy", "futures.npy", "latents.json", "latents.journal"
REMEDY = "run `wav train latents` first"
_ANEW = "remove it, then run `wav train latents`"

Origin = dict[str, Any]
"""autoencoder_sha256; step_hz; image_size; future_image_offsets where they decide the latents; the episodes; the
augmentation where there is one."""


def make_origin(
    model: ModelConfig, autoencoder_sha256: str, episodes: list[Any], augmentation: AugmentationConfig | None = None
) -> Origin:
    """What decides the latents of these episodes, given by their fingerprints."""
    return {
        "autoencoder_sha256": autoencoder_sha256,
        "step_hz": model.horizon.step_hz,
        "image_size": list(model.latent.image_size),
        "future_image_offsets": _window_offsets(model),
        "episodes": episodes,
        **({"augmentation": asdict(augmentation)} if augmentation and augmentation.encodings else {}),
    }


def file_shapes(model: ModelConfig, num_steps: int, encoding: int = 0) -> dict[str, tuple[int, ...]]:
    """Shape of every file of an encoding, by its name."""
    tokens = model.num_tokens_per_frame, model.video.in_channels
    shapes: dict[str, tuple[int, ...]] = {_name(LATENTS, encoding): (num_steps, model.num_views, *tokens)}
    if model.num_window_latents:
        shapes[_name(FUTURES, encoding)] = (num_steps, model.num_views, model.num_window_latents, *tokens)
    return shapes


def _name(file: str, encoding: int) -> str:
    """Of that file of an encoding."""
    return file if encoding == 0 else file.replace(".", f".{encoding}.")


def bytes_per_step(model: ModelConfig) -> int:
    """What a recorded step of the model takes on the disk."""
    return sum(int(np.prod(shape)) for shape in file_shapes(model, 1).values()) * np.dtype(np.float16).itemsize


def load_latents(run: Path, model: ModelConfig, num_steps: int, autoencoder_sha256: str | None) -> LatentStore:
    """The latents of a run, memory-mapped.

    Args:
        num_steps: of the run's table.
        autoencoder_sha256: the auto-encoder as it is now; None where nobody has it at hand.

    Raises:
        StateError: they are missing, or of other data, another auto-encoder or other images.
    """
    encodings = [
        [_load(run / name, shape) for name, shape in file_shapes(model, num_steps, encoding).items()]
        for encoding in range(1 + _augmentation(_held(run)).encodings)
    ]
    check_origin(run, model, autoencoder_sha256)
    images = tuple(arrays[0] for arrays in encodings)
    nothing = np.zeros((num_steps, images[0].shape[1], 0, *images[0].shape[2:]), np.float16)
    return LatentStore(images, tuple(arrays[1] if len(arrays) > 1 else nothing for arrays in encodings))


def _load(path: Path, shape: tuple[int, ...]) -> LatentArray:
    require_file(path, REMEDY)
    array: LatentArray = load_array(path, _ANEW)
    if array.shape != shape:
        raise StateError(f"{path}: shape {array.shape}, of this model and the table's steps {shape}; {REMEDY}")
    return array


def _held(run: Path) -> Origin:
    """Origin of the latents that a run has; empty where it has none."""
    path = run / ORIGIN
    return load_json(path, dict, _ANEW) if path.is_file() else {}


def _augmentation(origin: Origin) -> AugmentationConfig:
    return from_dict(AugmentationConfig, origin.get("augmentation", {}), f"{ORIGIN}: augmentation")


def check_augmentation(run: Path, augmentation: AugmentationConfig) -> None:
    """StateError unless the latents are of pictures changed so."""
    held = _augmentation(_held(run))
    if held != augmentation and (held.encodings or augmentation.encodings):
        raise StateError(f"{run / LATENTS}: made with {held}, the configuration says {augmentation}; {REMEDY}")


def check_origin(run: Path, model: ModelConfig, autoencoder_sha256: str | None) -> None:
    """StateError unless the latents are of this auto-encoder and these images; see `load_latents`."""
    held = _held(run)
    if not held:
        raise StateError(
            f"{run / ORIGIN}: no such file, so nobody knows of which auto-encoder the latents are; {REMEDY}"
        )
    if autoencoder_sha256 not in (None, held.get("autoencoder_sha256")):
        raise StateError(f"{run / LATENTS}: encoded with another auto-encoder than the run has now; {REMEDY}")
    offsets = held.get("future_image_offsets", [])
    if offsets != _window_offsets(model):
        raise StateError(
            f"{run / FUTURES}: futures of the images at steps {offsets}, {model.name} imagines {_window_offsets(model)}"
            f"; {REMEDY}"
        )


def check_episodes(run: Path, episodes: list[Any]) -> None:
    """StateError unless the latents are of these episodes (`frames.fingerprints`), in this order."""
    held = _held(run).get("episodes")
    if held != episodes:
        raise StateError(f"{run / LATENTS}: of other episodes than the datasets hold, or in another order; {REMEDY}")


def _window_offsets(model: ModelConfig) -> list[int]:
    """Images that are encoded together; none where every image is encoded on its own."""
    return list(model.future_image_offsets) if model.num_window_latents else []


def _write_rows(path: Path, first: int, rows: LatentArray) -> None:
    """Into an array on the disk, and no other byte: of a mapped file a machine writes whole pages, in which rows of
    another may be."""
    array = np.lib.format.open_memmap(path, mode="r")
    with path.open("r+b") as file:
        file.seek(array.offset + first * array[:1].nbytes)
        file.write(np.ascontiguousarray(rows, array.dtype).data)
        file.flush()
        os.fsync(file.fileno())


@dataclass(frozen=True)
class LatentFiles:
    """The files of a run while they are made.

    Attributes:
        run: its directory.
        model: decides the shapes.
        origin: what the latents will be.
        starts: first step of every episode, then N; shape [E + 1].
    """

    run: Path
    model: ModelConfig
    origin: Origin
    starts: IndexArray

    @property
    def augmentation(self) -> AugmentationConfig:
        return _augmentation(self.origin)

    @property
    def num_encodings(self) -> int:
        """Of every episode, the plain one included."""
        return 1 + self.augmentation.encodings

    def prepare(self) -> list[int]:
        """Make room for all latents; the episodes whose latents are still missing.

        Kept: what an encoding that was ended had done, and the episodes to which others were appended.

        Raises:
            OSError: the disk is full.
        """
        num_episodes = len(self.starts) - 1
        if (known := self._published()) == num_episodes:
            self._discard()  # of other latents, if anything
            return []
        done = self.finished()
        if done is None or not (len(done) == num_episodes or self._has_room()):
            (self.run / JOURNAL).unlink(missing_ok=True)
            self._allocate(int(self.starts[known]))
            done = set(range(known))
        self._write_journal(done)
        return [episode for episode in range(num_episodes) if episode not in done]

    def write(self, episode: int, first: int, encoding: int, images: LatentArray, windows: LatentArray) -> None:
        """Put latents of the episode's steps from `first` on into place; see `LatentStore` for the shapes."""
        start = int(self.starts[episode]) + first
        for name, latents in {_name(LATENTS, encoding): images, _name(FUTURES, encoding): windows}.items():
            if name in self._shapes:
                _write_rows(self._partial(name), start, latents)

    def finish(self, episode: int) -> None:
        """Note that the latents of an episode are on the disk; several processes may."""
        with (self.run / JOURNAL).open("a", encoding="utf-8") as file:
            file.write(f"{episode}\n")
            file.flush()
            os.fsync(file.fileno())

    def finished(self) -> set[int] | None:
        """Episodes that the journal lists; None if there is none of these latents."""
        try:
            text = (self.run / JOURNAL).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None
        lines = text.splitlines(keepends=True)
        if not lines or lines[0] != self._journal_head:
            return None
        # The last one may have been cut off; what is no number is of none.
        return {int(line) for line in lines[1:] if line.endswith("\n") and line[:-1].isdecimal()}

    def publish(self) -> None:
        """Give complete files their names; goes on where it was ended."""
        if len(self.finished() or ()) < len(self.starts) - 1:
            return
        (self.run / ORIGIN).unlink(missing_ok=True)
        for name in self._shapes:
            if self._partial(name).is_file():
                self._partial(name).replace(self.run / name)
        for path in {*self.run.glob("latents.*.npy"), *self.run.glob("futures.*.npy")}:
            if path.name not in self._shapes:  # of more encodings than these
                path.unlink()
        sync(self.run)
        write_json(self.run / ORIGIN, self.origin)
        (self.run / JOURNAL).unlink()

    def _published(self) -> int:
        """How many of the first episodes the complete files hold: all that these hold, or none if they are others."""
        if not all((self.run / name).is_file() for name in (ORIGIN, *self._shapes)):
            return 0
        held = _held(self.run)
        episodes = held.get("episodes", [])
        others = {**held, "episodes": self.origin["episodes"]} != self.origin
        return 0 if others or episodes != self.origin["episodes"][: len(episodes)] else len(episodes)

    def _discard(self) -> None:
        """Leave nothing of an encoding that was ended."""
        (self.run / JOURNAL).unlink(missing_ok=True)
        for name in self._shapes:
            self._partial(name).unlink(missing_ok=True)

    def _has_room(self) -> bool:
        return all(self._partial(name).is_file() for name in self._shapes)

    def _allocate(self, num_known_steps: int) -> None:
        try:
            for name, shape in self._shapes.items():
                array = allocate(self._partial(name), np.dtype(np.float16), shape)
                if num_known_steps:
                    array[:num_known_steps] = load_array(self.run / name, _ANEW)[:num_known_steps]
                array.flush()
        except OSError:
            for name in self._shapes:
                self._partial(name).unlink(missing_ok=True)
            raise

    def _write_journal(self, done: set[int]) -> None:
        temporary = self.run / (JOURNAL + ".partial")
        temporary.write_text(self._journal_head + "".join(f"{episode}\n" for episode in sorted(done)), encoding="utf-8")
        publish(temporary, self.run / JOURNAL)

    @property
    def _journal_head(self) -> str:
        return json.dumps(self.origin) + "\n"

    @property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        num_steps = int(self.starts[-1])
        encodings = range(self.num_encodings)
        return {name: s for e in encodings for name, s in file_shapes(self.model, num_steps, e).items()}

    def _partial(self, name: str) -> Path:
        return self.run / (name + ".partial")
