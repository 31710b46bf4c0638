"""A training state on disk: one safetensors file, written atomically; nothing is pickled.

The numbers beside the tensors (step, clocks, history) are JSON in the file's own header, so tensors and numbers can
never be of different steps.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor


class StateError(Exception):
    """A training state that cannot be read or does not fit; names the file and the remedy."""


@dataclass
class Progress:
    """How far a stage is.

    Attributes:
        step: optimiser steps done.
        samples: observations seen by all workers.
        seconds: time spent in the loop, over all resumptions [s].
        history: one record per report: step, seconds, losses and metrics.
        complete: the planned end was reached.
        inputs: what tells the latents and the normalisation that it was trained on from others; "" where nobody asked.
        calls: every call that trained it, killed ones too: what `Provenance.call` says, and the step it went on from.
        ancestors: see `Provenance`.
    """

    step: int = 0
    samples: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    complete: bool = False
    inputs: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    ancestors: dict[str, Any] = field(default_factory=dict)

    def lineage(self, path: Path) -> dict[str, Any]:
        """The ancestors of what starts from these weights, which are at `path`: those of these, and these."""
        own = {"calls": self.calls, "steps": self.step, "samples": self.samples, "seconds": round(self.seconds, 1)}
        return {**self.ancestors, str(path): own}

    def require_inputs(self, path: Path, inputs: str) -> None:
        """StateError where the state at `path` was trained on others than `inputs`."""
        if self.inputs and inputs and self.inputs != inputs:
            raise StateError(
                f"{path}: trained on other latents or another normalisation than {path.parent} has now; train anew in "
                f"another run directory, with --start {path.parent} to begin with these weights"
            )


@dataclass(frozen=True)
class Provenance:
    """What a training is made of; its state says it.

    Attributes:
        inputs: see `Progress`.
        call: this call: its command, data, time.
        ancestors: every state whose weights it began with, and theirs: path -> calls, steps, samples, seconds.
    """

    inputs: str = ""
    call: dict[str, Any] = field(default_factory=dict)
    ancestors: dict[str, Any] = field(default_factory=dict)


def save_tensors(path: Path, tensors: dict[str, Tensor], numbers: object) -> None:
    """Write tensors and JSON numbers to `path`; a crash or a full disk leaves the previous file intact.

    Raises:
        StateError: the file could not be written.
    """
    temporary = path.with_name(path.name + ".partial")
    try:
        save_file({k: v.detach().contiguous() for k, v in tensors.items()}, temporary, {"json": json.dumps(numbers)})
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise StateError(
            f"{path}: could not be written ({error}); what was saved before is intact: make room on the disk, then run "
            f"the same command with --resume"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def load_tensors(path: Path, remedy: str, prefix: str = "") -> tuple[dict[str, Tensor], dict]:
    """Tensors whose name starts with `prefix` (which is cut off) and the JSON numbers of `path`.

    Raises:
        StateError: missing or damaged file; the message ends with `remedy`.
    """
    if not path.is_file():
        raise StateError(f"{path}: no such file; {remedy}")
    try:
        with safe_open(path, framework="pt") as file:
            names = [n for n in file.keys() if n.startswith(prefix)]  # noqa: SIM118
            tensors = {n[len(prefix) :]: file.get_tensor(n) for n in names}
            return tensors, json.loads((file.metadata() or {}).get("json", "{}"))
    except (SafetensorError, json.JSONDecodeError) as error:
        raise StateError(f"{path}: damaged ({error}); {remedy}") from error


def whole(tensor: Tensor) -> Tensor:
    """A tensor with the shares of all workers put together; they must all call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def share(tensor: Tensor) -> Tensor:
    """This worker's share of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def shared_like(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, placed and shared out as `like` is."""
    tensor = tensor.to(like.device)
    return distribute_tensor(tensor, like.device_mesh, like.placements) if isinstance(like, DTensor) else tensor


def load_progress(path: Path, remedy: str) -> Progress:
    """How far the state at `path` is, without its tensors.

    Raises:
        StateError: missing or damaged file; the message ends with `remedy`.
    """
    _, numbers = load_tensors(path, remedy, prefix="no tensor")
    return Progress(**numbers)


@dataclass
class TrainState:
    """Everything a resumed stage needs: weights, their average, optimiser moments, progress."""

    parameters: dict[str, nn.Parameter]
    average: dict[str, Tensor]
    optimizer: torch.optim.AdamW
    progress: Progress

    def tensors(self) -> dict[str, Tensor]:
        """Everything that is saved, whole; with shares on several workers all of them must call this."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            tensors[f"weights.{name}"] = whole(parameter.data)
            tensors[f"average.{name}"] = whole(self.average[name])
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{key}.{name}"] = whole(value)
        return tensors

    def save(self, path: Path, tensors: dict[str, Tensor] | None = None) -> None:
        """Write `tensors` (this state's own when None) and the progress."""
        save_tensors(path, self.tensors() if tensors is None else tensors, asdict(self.progress))

    def load(self, path: Path) -> None:
        """Continue from `path`.

        Raises:
            StateError: missing or damaged file, or tensors that do not fit this model, by name.
        """
        tensors, numbers = load_tensors(path, remedy="start the stage without --resume")
        weights = {n.removeprefix("weights."): t for n, t in tensors.items() if n.startswith("weights.")}
        wrong = {n for n in weights.keys() | self.parameters.keys() if not self._fits(n, weights)}
        if wrong:
            raise StateError(f"{path}: tensors do not fit this configuration: {', '.join(sorted(wrong)[:5])}")
        for name, parameter in self.parameters.items():
            parameter.data.copy_(shared_like(weights[name], parameter.data))
            self.average[name].copy_(shared_like(tensors[f"average.{name}"], parameter.data))
            if f"optimizer.step.{name}" in tensors:
                moments = {k: tensors[f"optimizer.{k}.{name}"] for k in ("exp_avg", "exp_avg_sq")}
                self.optimizer.state[parameter] = {
                    "step": tensors[f"optimizer.step.{name}"].to(parameter.device),
                    **{k: shared_like(moment, parameter.data) for k, moment in moments.items()},
                }
        self.progress = Progress(**numbers)

    def _fits(self, name: str, weights: dict[str, Tensor]) -> bool:
        return name in weights and name in self.parameters and weights[name].shape == self.parameters[name].shape
