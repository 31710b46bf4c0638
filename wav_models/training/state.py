"""A training state on disk: one safetensors file, written atomically; nothing is pickled.

The numbers beside the tensors (step, clocks, history) are JSON in the file's own header, so tensors and numbers can
never be of different steps.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from wav_models.configuration import parse_json
from wav_models.data.durable import publish, write_tensors

J = TypeVar("J", dict[str, Any], list[Any])
Ancestor = dict[str, Any]
"""A state whose weights others began with: its path as given then, calls, steps, samples, seconds [s]."""


class StateError(Exception):
    """A training state that cannot be read or does not fit; names the file and the remedy."""


class MissingStateError(StateError, FileNotFoundError):
    """What an earlier step of the run makes is not there."""


def require_file(path: Path, remedy: str) -> None:
    """MissingStateError where it is not there."""
    if not path.is_file():
        raise MissingStateError(f"{path}: no such file; {remedy}")


@dataclass
class StageProgress:
    """How far a stage is.

    Attributes:
        step: optimiser steps done.
        samples: observations seen by all workers.
        seconds: time spent in the loop, over all resumptions but without the first step of each [s].
        history: one record per report: step, seconds, losses and metrics.
        complete: the planned end was reached.
        inputs: see `Provenance`; nothing that nobody asked for.
        calls: every call that trained it, killed ones too: what `Provenance.call` says, and the step it went on from.
        before: see `Provenance`; that of the first call.
        ancestors: see `Provenance`; those of the first call.
        best: lowest held-out error so far, by which the best weights were kept; None before the first.
    """

    step: int = 0
    samples: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    complete: bool = False
    inputs: dict[str, Any] = field(default_factory=dict)
    calls: list[dict[str, Any]] = field(default_factory=list)
    before: dict[str, str] = field(default_factory=dict)
    ancestors: list[Ancestor] = field(default_factory=list)
    best: float | None = None

    @classmethod
    def read(cls, path: Path, numbers: dict[str, Any]) -> StageProgress:
        """What the state at `path` says; StateError where another version wrote it."""
        if numbers.keys() != {field.name for field in fields(cls)}:
            raise StateError(f"{path}: written by another version; train anew (--start takes a checkpoint's weights)")
        return cls(**numbers)

    @property
    def weights(self) -> str:
        """What tells these weights from others, wherever they lie: the steps, and the calls that made them."""
        return weights_of(self.step, self.calls)

    def lineage(self, path: Path) -> list[Ancestor]:
        """The ancestors of what starts from these weights, which are at `path`: those of these, and these."""
        own = {"calls": self.calls, "steps": self.step, "samples": self.samples, "seconds": round(self.seconds, 1)}
        return [*self.ancestors, {"path": str(path), **own}]

    def require_inputs(self, path: Path, inputs: dict[str, Any]) -> None:
        """StateError where the state at `path` was trained on others than `inputs`, as far as both are known."""
        others = sorted(name for name in self.inputs.keys() & inputs.keys() if self.inputs[name] != inputs[name])
        if others:
            raise StateError(
                f"{path}: not trained with the {' and '.join(others)} of now; go on with the same, or train anew in "
                f"another run directory, with --start {path.parent} to begin with these weights"
            )

    def require_before(self, path: Path, before: dict[str, str]) -> None:
        """StateError where the state at `path` began with other weights of the stages before it than those of now."""
        others = sorted(stage for stage in self.before.keys() & before.keys() if self.before[stage] != before[stage])
        if others:
            raise StateError(
                f"{path}: began with other weights of stage {' and '.join(others)} than {path.parent} has now; remove "
                f"the file and train it anew without --resume, or train in another run directory with --start "
                f"{path.parent}"
            )


def training_calls(step: int, calls: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The calls, of a state after that step, that trained at least one."""
    return [call for call in calls if call["step"] < step]


def weights_of(step: int, calls: Sequence[dict[str, Any]]) -> str:
    """See `StageProgress.weights`."""
    made = [step, training_calls(step, calls)]
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:16]


def joined(*lineages: Sequence[Ancestor]) -> dict[tuple[str, str], Ancestor]:
    """Every state of these once, by its file's name and its weights; the same one may lie at several paths."""
    states: dict[tuple[str, str], Ancestor] = {}
    for state in chain(*lineages):
        states.setdefault((Path(state["path"]).name, weights_of(state["steps"], state["calls"])), state)
    return states


@dataclass(frozen=True)
class Provenance:
    """What a training is made of; its state says it.

    Attributes:
        inputs: what tells the model, the data and the split from others, by name.
        call: this call: its command, data, time, configuration.
        before: stages before this one in its run -> `StageProgress.weights` that it begins with.
        ancestors: every state whose weights it began with, and theirs.
    """

    inputs: dict[str, Any] = field(default_factory=dict)
    call: dict[str, Any] = field(default_factory=dict)
    before: dict[str, str] = field(default_factory=dict)
    ancestors: list[Ancestor] = field(default_factory=list)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What cannot be written inside is a StateError that names `path` and the remedy."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise StateError(
            f"{path}: could not be written ({error}); what was saved before is intact: make room on the disk, then run "
            f"the same command with --resume"
        ) from error


def save_tensors(path: Path, tensors: dict[str, Tensor], numbers: object) -> None:
    """Write tensors and JSON numbers to `path`; a crash or a full disk leaves the previous file intact.

    Raises:
        StateError: the file could not be written.
    """
    temporary = path.with_name(path.name + ".partial")
    try:
        with writing(path):
            write_tensors(temporary, tensors, {"json": json.dumps(numbers)})
            publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_tensors(path: Path, remedy: str, prefix: str = "") -> tuple[dict[str, Tensor], dict]:
    """Tensors whose name starts with `prefix` (which is cut off) and the JSON numbers of `path`.

    Raises:
        StateError: missing or damaged file; the message ends with `remedy`.
    """
    with _opened(path, remedy) as (file, numbers):
        names = [n for n in file.keys() if n.startswith(prefix)]  # noqa: SIM118
        return {n[len(prefix) :]: file.get_tensor(n) for n in names}, numbers


@contextmanager
def _opened(path: Path, remedy: str) -> Iterator[tuple[Any, dict]]:
    """The file, to read tensors from, and its JSON numbers; StateError as `load_tensors`."""
    require_file(path, remedy)
    try:
        with safe_open(path, framework="pt") as file:
            yield file, _said(path, (file.metadata() or {}).get("json", "{}"), dict, remedy)
    except SafetensorError as error:
        raise StateError(f"{path}: damaged ({error}); {remedy}") from error


def load_json(path: Path, kind: type[J], remedy: str) -> J:
    """What another file of a run says, which is there.

    Raises:
        StateError: it is damaged, or holds something else; the message ends with `remedy`.
    """
    return _said(path, path.read_bytes(), kind, remedy)


def _said(path: Path, text: str | bytes, kind: type[J], remedy: str) -> J:
    try:
        said = parse_json(text)
    except ValueError as error:
        raise StateError(f"{path}: damaged ({error}); {remedy}") from error
    if not isinstance(said, kind):
        raise StateError(f"{path}: damaged (holds {type(said).__name__}, not {kind.__name__}); {remedy}")
    return said


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


def load_progress(path: Path, remedy: str) -> StageProgress:
    """How far the state at `path` is, without its tensors.

    Raises:
        StateError: missing or damaged file; the message ends with `remedy`.
    """
    _, numbers = load_tensors(path, remedy, prefix="no tensor")
    return StageProgress.read(path, numbers)


@dataclass
class TrainState:
    """Everything a resumed stage needs: weights, their average, optimiser moments, progress.

    Parameters that do not train, to which adapters are added, are their own average.
    """

    parameters: dict[str, nn.Parameter]
    average: dict[str, Tensor]
    optimizer: torch.optim.AdamW
    progress: StageProgress

    def tensors(self) -> dict[str, Tensor]:
        """Everything that is saved, where it is; with shares on several workers, this one's."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            tensors[f"average.{name}"] = self.average[name]
            if parameter.requires_grad:
                tensors[f"weights.{name}"] = parameter.data
            moments = self.optimizer.state.get(parameter, {})
            tensors |= {f"optimizer.{key}.{name}": value for key, value in moments.items()}
        return tensors

    def load(self, path: Path) -> None:
        """Continue from `path`; no more than one of its tensors is whole at a time where this worker holds shares.

        Raises:
            StateError: missing or damaged file, or tensors that do not fit this model, by name.
        """
        with _opened(path, remedy="start the stage without --resume") as (file, numbers):
            names = set(file.keys())
            averages = {n.removeprefix("average."): file.get_slice(n).get_shape() for n in names if n[:8] == "average."}
            shapes = {name: list(parameter.shape) for name, parameter in self.parameters.items()}
            if wrong := {name for name, _ in _items(averages) ^ _items(shapes)}:
                raise StateError(f"{path}: tensors do not fit this configuration: {', '.join(sorted(wrong)[:5])}")
            for name, parameter in self.parameters.items():
                self._load(name, parameter, file, names)
        self.progress = StageProgress.read(path, numbers)

    def _load(self, name: str, parameter: nn.Parameter, file: Any, names: set[str]) -> None:
        def shared(full_name: str) -> Tensor:
            return shared_like(file.get_tensor(full_name), parameter.data)

        self.average[name].copy_(shared(f"average.{name}"))
        parameter.data.copy_(shared(kept) if (kept := f"weights.{name}") in names else self.average[name])
        if f"optimizer.step.{name}" in names:
            self.optimizer.state[parameter] = {
                "step": file.get_tensor(f"optimizer.step.{name}").to(parameter.device),
                **{k: shared(f"optimizer.{k}.{name}") for k in ("exp_avg", "exp_avg_sq")},
            }


def _items(shapes: dict[str, list[int]]) -> set[tuple[str, tuple[int, ...]]]:
    return {(name, tuple(shape)) for name, shape in shapes.items()}
