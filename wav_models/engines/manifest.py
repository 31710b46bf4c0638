"""What a directory of exported graphs is: for which checkpoint, at which sizes, made by what. Checked before use."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from wav_models.checkpoint import AUTOENCODER, CONFIG, MODEL, Checkpoint
from wav_models.configuration import from_dict
from wav_models.engines.base import EngineError
from wav_models.engines.onnx.weight_file import tensor_bytes
from wav_models.networks.autoencoder import LTXAutoencoder
from wav_models.planner.config import PlannerConfig

FORMAT: Final = 3
"""Raised whenever graphs of an older version of this program must not be used any more."""
MANIFEST: Final = "manifest.json"
ANY_GPU: Final = "any"
"""Compiled ahead for every architecture that the runtime supports; the last step is done when it is loaded."""
REMEDY: Final = "export again with `wav export`"


@dataclass(frozen=True)
class PlanShape:
    """The part of `PlannerConfig` that is built into the graphs."""

    num_video_samples: int
    num_value_samples: int
    num_video_steps: int
    num_value_steps: int
    num_action_steps: int

    @classmethod
    def of(cls, planner: PlannerConfig) -> PlanShape:
        return cls(**{name: getattr(planner, name) for name in cls.__dataclass_fields__})

    @property
    def label(self) -> str:
        """Short and unique, for a directory's name."""
        steps = f"{self.num_video_steps}-{self.num_value_steps}-{self.num_action_steps}"
        return f"{self.num_video_samples}x{self.num_value_samples}-steps-{steps}"


@dataclass(frozen=True)
class Manifest:
    """Contents of `manifest.json`.

    Attributes:
        engine: "onnxruntime" or "tensorrt".
        precision: of weights and arithmetic: "fp32", "fp16", "bf16" or "int8".
        runtime: package and version that the graphs are for.
        gpu: architecture that they are compiled for, "sm_89"; `ANY_GPU`; "" where they are compiled when loaded.
        checkpoint_sha256: of the weights the graphs contain, see `fingerprint`.
        shape: futures, value samples and steps the graphs are made for.
        versions: of the packages that exported them.
        graphs: per graph {"file", "inputs", "outputs"}; the last two map a name to its shape.
        files: SHA-256 per file, of graphs and of weights that they share.
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

    def write(self, directory: Path) -> None:
        """Written last: a directory without it is not an export."""
        (directory / MANIFEST).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def read_manifest(directory: Path) -> Manifest:
    """The manifest of an export.

    Raises:
        EngineError: it is missing, unreadable or damaged.
    """
    path = directory / MANIFEST
    try:
        manifest = from_dict(Manifest, json.loads(path.read_text(encoding="utf-8")))
        _check_graphs(manifest)
        return manifest
    except FileNotFoundError as error:
        raise EngineError(f"{path}: no such file; {REMEDY}") from error
    except OSError as error:
        raise EngineError(f"{path}: cannot be read ({error.strerror}); {REMEDY}") from error
    except ValueError as error:
        raise EngineError(f"{path}: not a manifest of this version ({error}); {REMEDY}") from error


def _check_graphs(manifest: Manifest) -> None:
    """ValueError unless every graph has a file whose hash is known."""
    for name, graph in manifest.graphs.items():
        if graph.get("file") not in manifest.files:
            raise ValueError(f"graph {name!r} has no file")


def check_manifest(directory: Path, expected: Manifest) -> Manifest:
    """The manifest of an export, if it is for this checkpoint, these sizes and these versions.

    Args:
        directory: the export.
        expected: what is needed; its `graphs` are not compared, the files' hashes are.

    Raises:
        EngineError: naming what differs, or the file that is missing or damaged.
    """
    found = read_manifest(directory)
    for name, (have, need) in _compared(found, expected).items():
        if have != need and not (name == "gpu" and have == ANY_GPU):
            raise EngineError(f"{directory}: made for {name} {have}, but this is {need}; {REMEDY}")
    for name, sha256 in found.files.items():
        path = directory / name
        if not path.is_file():
            raise EngineError(f"{path}: missing; {REMEDY}")
        if file_sha256(path) != sha256:
            raise EngineError(f"{path}: damaged: not the file that was exported; {REMEDY}")
    return found


def _compared(found: Manifest, expected: Manifest) -> dict[str, tuple[Any, Any]]:
    """Pairs that must be equal, most telling first."""
    names = ("format", "engine", "precision", "runtime", "gpu", "opset", "checkpoint_sha256")
    pairs = {name: (getattr(found, name), getattr(expected, name)) for name in names}
    for name in PlanShape.__dataclass_fields__:
        pairs[name] = (getattr(found.shape, name), getattr(expected.shape, name))
    return pairs


def fingerprint(checkpoint: Checkpoint) -> str:
    """SHA-256 of what the graphs contain: configuration, networks and auto-encoder."""
    digest = hashlib.sha256()
    for name in (CONFIG, MODEL, AUTOENCODER):
        path = checkpoint.directory / name
        if path.exists():
            digest.update(f"{name} {file_sha256(path)}\n".encode())
    if isinstance(checkpoint.autoencoder, LTXAutoencoder):  # comes from a directory of its own
        for name, tensor in checkpoint.autoencoder.network.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor_bytes(tensor.cpu()).data)
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(partial(file.read, 1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
