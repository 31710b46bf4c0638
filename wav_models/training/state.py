"""A training state on disk: one safetensors file, written atomically; nothing is pickled.

The numbers beside the tensors (step, clocks, history) are JSON in the file's own header, so tensors and numbers can
never be of different steps.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn


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
    """

    step: int = 0
    samples: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    complete: bool = False


def save_tensors(path: Path, tensors: dict[str, Tensor], numbers: object) -> None:
    """Write tensors and JSON numbers to `path`; a crash or a full disk leaves the previous file intact."""
    temporary = path.with_name(path.name + ".partial")
    try:
        save_file({k: v.detach().contiguous() for k, v in tensors.items()}, temporary, {"json": json.dumps(numbers)})
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
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


@dataclass
class TrainState:
    """Everything a resumed stage needs: weights, their average, optimiser moments, progress."""

    parameters: dict[str, nn.Parameter]
    average: dict[str, Tensor]
    optimizer: torch.optim.AdamW
    progress: Progress

    def save(self, path: Path) -> None:
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            tensors[f"weights.{name}"] = parameter.data
            tensors[f"average.{name}"] = self.average[name]
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{key}.{name}"] = value
        save_tensors(path, tensors, asdict(self.progress))

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
            parameter.data.copy_(weights[name])
            self.average[name].copy_(tensors[f"average.{name}"])
            moments = {k: tensors.get(f"optimizer.{k}.{name}") for k in ("step", "exp_avg", "exp_avg_sq")}
            if moments["step"] is not None:
                self.optimizer.state[parameter] = moments
        self.progress = Progress(**numbers)

    def _fits(self, name: str, weights: dict[str, Tensor]) -> bool:
        return name in weights and name in self.parameters and weights[name].shape == self.parameters[name].shape
