"""Work over fixed buffers, recorded once per shape and replayed: CUDA graphs behind a small class.

torch.compile's own CUDA graphs belong to the thread that made them and are shared without a lock; these are neither.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from types import MethodType
from typing import Any, Final, Protocol

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

WARM_UP: Final = 3
"""Runs before a recording: they compile, choose kernels and allocate, which a recording must not."""
NUM_RECORDINGS: Final = 16
"""Of one engine, with their buffers; the one not used for longest is dropped."""


class Recorder(Protocol):
    """How work is recorded."""

    def record(self, function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        """What does the work of `function` again, and the output that this overwrites."""


class CudaRecorder:
    """By CUDA graphs, on a stream of its own; other threads may use the GPU meanwhile."""

    def record(self, function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                function()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            output = function()
        return graph.replay, output


@dataclass(frozen=True)
class Lent:
    """An output in fixed buffers, until the same recording is replayed.

    Attributes:
        output: what the function returned; its tensors are overwritten by the next replay.
        inputs: of this one.
    """

    output: Any
    inputs: Any
    recording: RecordedCall
    number: int

    @property
    def is_current(self) -> bool:
        return self.recording.num_replays == self.number

    def renewed(self) -> Lent:
        """This output, computed again where it has been overwritten; the lock is held."""
        return self if self.is_current else self.recording.run(self.inputs)


class RecordedCall:
    """One function over buffers of one shape."""

    def __init__(self, function: Callable[..., Any], inputs: Any, fixed: Fixed, recorder: Recorder) -> None:
        leaves, self._spec = pytree.tree_flatten(inputs)
        self._buffers = [x.clone() if isinstance(x, Tensor) and x not in fixed else x for x in leaves]
        self._filled = [_reference(x) for x in leaves]
        buffered = pytree.tree_unflatten(self._buffers, self._spec)
        self._replay, self.output = recorder.record(lambda: function(*buffered))
        self.num_replays = 0

    def run(self, inputs: Any) -> Lent:
        """Replay with these inputs: those that changed are copied into the buffers."""
        for i, x in enumerate(pytree.tree_leaves(inputs)):
            if isinstance(x, Tensor) and x is not self._buffers[i] and self._filled[i]() is not x:
                self._buffers[i].copy_(x)
                self._filled[i] = _reference(x)
        self._replay()
        self.num_replays += 1
        return Lent(self.output, inputs, self, self.num_replays)


class Fixed:
    """Tensors that recordings write: what reads them need not copy them."""

    def __init__(self) -> None:
        self._tensors: dict[int, Tensor] = {}

    def __contains__(self, tensor: Tensor) -> bool:
        return self._tensors.get(id(tensor)) is tensor

    def add(self, output: Any) -> None:
        self._tensors |= {id(x): x for x in pytree.tree_leaves(output) if isinstance(x, Tensor)}

    def remove(self, output: Any) -> None:
        for x in pytree.tree_leaves(output):
            self._tensors.pop(id(x), None)


class Replays:
    """The recordings of one engine. Hold `lock` from a call until its output has been used.

    Inputs are pytrees; their tensors are never changed by whoever gives them, everything else in them is a constant of
    the recording. An output of one recording is used by another in place.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.lock = threading.RLock()
        self._recorder = recorder
        self._fixed = Fixed()
        self._recordings: OrderedDict[Any, RecordedCall] = OrderedDict()

    def run(self, function: Callable[..., Any], *inputs: Any) -> Lent:
        """The output of `function(*inputs)`, from a recording of that shape; made at the first call."""
        with self.lock:
            leaves, spec = pytree.tree_flatten(inputs)
            key = _same(function), spec, tuple(map(self._kind, leaves))
            if key not in self._recordings:
                self._record(key, function, inputs)
            self._recordings.move_to_end(key)
            return self._recordings[key].run(inputs)

    def _record(self, key: Any, function: Callable[..., Any], inputs: Any) -> None:
        while len(self._recordings) >= NUM_RECORDINGS:
            self._drop()
        recording = RecordedCall(function, inputs, self._fixed, self._recorder)
        self._fixed.add(recording.output)
        self._recordings[key] = recording

    def _drop(self) -> None:
        """The oldest recording, and those that read its output in place."""
        _, oldest = self._recordings.popitem(last=False)
        gone = {("fixed", id(x)) for x in pytree.tree_leaves(oldest.output)}
        self._fixed.remove(oldest.output)
        for key in [key for key in self._recordings if gone.intersection(key[2])]:
            self._fixed.remove(self._recordings.pop(key).output)

    def _kind(self, leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        return ("fixed", id(leaf)) if leaf in self._fixed else (tuple(leaf.shape), leaf.dtype)


def _same(function: Callable[..., Any]) -> Any:
    """What is equal for the same function or method; the method's object, which has these recordings, is not kept."""
    return weakref.WeakMethod(function) if isinstance(function, MethodType) else function


def _reference(leaf: Any) -> Callable[[], Any]:
    return weakref.ref(leaf) if isinstance(leaf, Tensor) else lambda: None
