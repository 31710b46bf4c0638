"""What a directory of exported graphs is: for which checkpoint, at which sizes, made by what. Checked before use."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wav_models.checkpoint import AUTOENCODER, CONFIG, MODEL, Checkpoint
from wav_models.checkpoint_files import MAX_JSON_BYTES, file_sha256
from wav_models.configuration import from_dict, parse_json
from wav_models.data.durable import write_json
from wav_models.engines.base import EngineError
from wav_models.networks.autoencoder import LTXAutoencoder
from wav_models.planner.config import PlannerConfig
from wav_models.planner.timing import Size, efforts, size_of

FORMAT: Final = 7
"""Raised whenever graphs of an older version of this program must not be used any more."""
MANIFEST: Final = "manifest.json"
PICKED: Final = "picked_"
"""Begins the names of what graph pick gives: the values of one future of several, which go by the rest of the name."""
REMEDY: Final = "export again with `wav export`"


@dataclass(frozen=True)
class PlanShape:
    """The part of `PlannerConfig` that is built into the graphs."""

    num_video_samples: int
    num_value_samples: int
    video_times: tuple[float, ...]
    share_first_step: bool
    num_value_steps: int
    num_action_steps: int

    @classmethod
    def of(cls, planner: PlannerConfig) -> PlanShape:
        return cls(**{name: getattr(planner, name) for name in cls.__dataclass_fields__})

    @property
    def sizes(self) -> tuple[Size, ...]:
        """Of rounds: all that is asked for first, then what a plan that would be late sheds to."""
        return _sizes(self.num_video_samples, self.num_value_samples)

    @property
    def label(self) -> str:
        """Short and unique, for a directory's name."""
        times = "-".join(f"{time:.3g}" for time in self.video_times) + "-shared" * self.share_first_step
        steps = f"{self.num_value_steps}-{self.num_action_steps}"
        return f"{self.num_video_samples}x{self.num_value_samples}-video-{times}-steps-{steps}"


@cache
def _sizes(num_video_samples: int, num_value_samples: int) -> tuple[Size, ...]:
    return tuple(map(size_of, efforts(PlannerConfig().with_samples(num_video_samples, num_value_samples))))


@dataclass(frozen=True)
class Measurement:
    """What was found when graphs were exported and run: whether engine "auto" takes them is decided by it, once.

    Attributes:
        processor: of the machine that measured; "": nothing was, as where no GPU is to run them.
        threads: that every engine computed with.
        max_error, cosine: of their values, against torch in fp32 (`parity.Agreement`).
        agrees: whether that is within the tolerance of the precision.
        seconds: of one planning round, by engine and precision: of these graphs, and of torch.
    """

    processor: str = ""
    threads: int = 0
    max_error: float = 0.0
    cosine: float = 0.0
    agrees: bool = False
    seconds: dict[str, float] = field(default_factory=dict)

    def described(self, label: str) -> str:
        """What was found about the graphs called `label`, in one line."""
        if not self.processor:
            return f"{label} was not measured when it was exported; `wav export` where it shall run"
        if not self.agrees:
            return f"{label} differs from torch by {self.max_error:.1e} (cosine {self.cosine:.5f})"
        times = ", ".join(f"{1e3 * seconds:.0f} ms with {name}" for name, seconds in self.seconds.items())
        return f"when exported, a planning round took {times}, on {self.processor}, threads: {self.threads}"


@dataclass(frozen=True)
class Manifest:
    """Contents of `manifest.json`.

    Attributes:
        engine: name of the runtime.
        precision: of weights and arithmetic: "fp32", "fp16", "bf16" or "int8".
        runtime: package and version that the graphs are for.
        gpu: architectures that they are compiled for, "sm_86 sm_89"; "" where they are compiled when loaded.
        opset: version of ONNX's operators that the graphs consist of; from 23 on attention is one of them.
        checkpoint_sha256: of the weights the graphs contain, see `weights_sha256`.
        shape: futures, value samples and steps the graphs are made for.
        versions: of the packages that exported them.
        graphs: per graph {"file", "inputs", "outputs"}; the last two map a name to its shape.
        files: SHA-256 per file, of graphs and of weights that they share.
        measured: what "auto" decides by.
        weight_bits: of weights in int8; those of 8 are wrong on processors whose `precision.weight_bits` are 7.
    """

    format: int
    engine: str
    precision: str
    runtime: str
    gpu: str
    opset: int
    checkpoint_sha256: str
    shape: PlanShape
    versions: dict[str, str]
    graphs: dict[str, dict[str, Any]]
    files: dict[str, str]
    measured: Measurement = field(default_factory=Measurement)
    weight_bits: int = 8

    def write(self, directory: Path) -> None:
        """Written last: a directory without it is not an export."""
        write_json(directory / MANIFEST, asdict(self))


def read_manifest(directory: Path) -> Manifest:
    """The manifest of an export.

    Raises:
        EngineError: it is missing, unreadable or damaged.
    """
    path = directory / MANIFEST
    if not path.is_file():
        raise EngineError(f"{path}: {'not a regular' if path.exists() else 'no such'} file; {REMEDY}")
    try:
        if (size := path.stat().st_size) > MAX_JSON_BYTES:
            raise ValueError(f"{size} bytes")
        manifest = from_dict(Manifest, parse_json(path.read_text(encoding="utf-8")))
        _check_graphs(manifest)
        return manifest
    except OSError as error:
        raise EngineError(f"{path}: cannot be read ({error.strerror}); {REMEDY}") from error
    except (ValueError, OverflowError) as error:
        raise EngineError(f"{path}: not a manifest of this version ({error}); {REMEDY}") from error


def _check_graphs(manifest: Manifest) -> None:
    """ValueError unless every graph has a file whose hash is known, and all files lie in the directory."""
    for name in manifest.files:
        if Path(name).name != name:
            raise ValueError(f"{name!r} is no file name")
    for name, graph in manifest.graphs.items():
        if str(graph.get("file")) not in manifest.files:
            raise ValueError(f"graph {name!r} has no file")


def check_manifest(directory: Path, expected: Manifest) -> Manifest:
    """The manifest of an export, if it is for this checkpoint, these sizes and these versions.

    Args:
        directory: the export.
        expected: what is needed; its `opset` and `graphs` are not compared. Hashes are, when files are loaded
            (`private_copy`).

    Raises:
        EngineError: naming what differs, or the file that is missing.
    """
    found = read_manifest(directory)
    for name, (have, need) in _compared(found, expected).items():
        if have != need and not (name == "gpu" and need in have.split()):
            raise EngineError(f"{directory}: made for {name} {have}, but this is {need}; {REMEDY}")
    if found.precision == "int8" and found.weight_bits > expected.weight_bits:
        raise EngineError(f"{directory}: products of its 8-bit weights overflow on this processor; {REMEDY}")
    for name in found.files:
        if not (directory / name).is_file():
            raise EngineError(f"{directory / name}: missing; {REMEDY}")
    return found


@contextmanager
def private_copy(directory: Path, manifest: Manifest) -> Iterator[Path]:
    """The files of an export as they were written, where nobody changes them; gone afterwards, what is mapped stays.

    Raises:
        EngineError: a file is missing or damaged, or there is no space for the copy.
    """
    with tempfile.TemporaryDirectory(prefix="wav-engine-") as scratch:
        for name, sha256 in manifest.files.items():
            copy = Path(scratch) / name
            try:
                shutil.copyfile(directory / name, copy)
            except OSError as error:
                raise EngineError(f"{directory / name}: cannot be copied to {scratch} ({error}); {REMEDY}") from error
            if file_sha256(copy) != sha256:
                raise EngineError(f"{directory / name}: damaged: not the file that was exported; {REMEDY}")
        yield Path(scratch)


def _compared(found: Manifest, expected: Manifest) -> dict[str, tuple[Any, Any]]:
    """Pairs that must be equal, most telling first."""
    names = ("format", "engine", "precision", "runtime", "gpu", "checkpoint_sha256")
    pairs = {name: (getattr(found, name), getattr(expected, name)) for name in names}
    for name in PlanShape.__dataclass_fields__:
        pairs[name] = (getattr(found.shape, name), getattr(expected.shape, name))
    return pairs


def weights_sha256(checkpoint: Checkpoint) -> str:
    """SHA-256 of what the graphs contain, as it was loaded: configuration, networks and auto-encoder."""
    digest = hashlib.sha256()
    for name in (CONFIG, MODEL, AUTOENCODER):
        if name in checkpoint.files:
            digest.update(f"{name} {checkpoint.files[name]}\n".encode())
    if isinstance(checkpoint.autoencoder, LTXAutoencoder):  # comes from a directory of its own
        for name, tensor in checkpoint.autoencoder.network.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor_bytes(tensor.cpu()).data)
    return digest.hexdigest()


def tensor_bytes(tensor: Tensor) -> NDArray[np.uint8]:
    """The numbers of a tensor as bytes, row by row, without a copy where it is contiguous."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()


def video_dit_name(count: int) -> str:
    """Graph video_dit for `count` futures."""
    return f"video_dit_{count}"


def pick_name(count: int, shape: PlanShape) -> str:
    """Graph pick for rounds of `count` futures; that of the full count has the plain name."""
    return "pick" if count == shape.num_video_samples else f"pick_{count}"


def value_dit_name(size: Size, shape: PlanShape) -> str:
    """Graph value_dit for rounds of that size; that of the full size has the plain name."""
    return "value_dit" if size == shape.sizes[0] else "value_dit_{}x{}".format(*size)
