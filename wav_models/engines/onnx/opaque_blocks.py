"""Export of networks whose transformer blocks are exported once per kind, not once per layer.

While a network is traced, every block is one opaque node `wav::Block`; the graph of a block is exported once for all
layers of the same kind and shapes, with the weights as inputs, and put in the place of every node (`OnnxComposer`).
Tracing 28 layers then costs what one costs, and no weight passes through the exporter.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from wav_models.engines.onnx.network_calls import NetworkCall
from wav_models.networks.attention import KeysValues
from wav_models.networks.blocks import VideoBlock
from wav_models.networks.wav_model import WAVModel

DOMAIN: Final = "wav"
OPERATOR: Final = "Block"
_BLOCKS: Final = {"video": "transformer_blocks", "value": "blocks", "action": "blocks"}

Translations = dict[Callable[..., Any], Callable[..., Any]]
"""From operators of torch to functions that build their ONNX nodes."""


@dataclass(frozen=True)
class Dialect:
    """The operators that a runtime's graphs consist of.

    Attributes:
        opset: version of ONNX's own.
        translations: where the exporter's are not wanted.
    """

    opset: int
    translations: Translations


BlockNote = Callable[[str, nn.Module, tuple[Any, ...]], tuple[int, list[Tensor]]]


@dataclass(frozen=True)
class BlockKind:
    """What tells two blocks apart besides their weights.

    Attributes:
        network: "video", "value" or "action".
        joint: whether the views attend to each other.
        inputs: structure, shapes and types of the call's arguments.
    """

    network: str
    joint: bool
    inputs: str


@dataclass(frozen=True)
class _BlockCall:
    """How a block of some kind is called: its arguments as leaves of a tree, tensors by shape and type."""

    block: nn.Module
    tree: pytree.TreeSpec
    leaves: tuple[tuple[tuple[int, ...], torch.dtype] | None, ...]

    def examples(self) -> list[Tensor]:
        return [torch.zeros(leaf[0], dtype=leaf[1]) for leaf in self.leaves if leaf is not None]


class BlockExporter:
    """Exports calls of one model.

    Args:
        model: on the CPU, in the precision of the graphs; not changed.
        dialect: of the runtime.
    """

    def __init__(self, model: WAVModel, dialect: Dialect) -> None:
        self.model = _with_opaque_blocks(model, self._note)
        self._weights = model.state_dict()
        self.dialect = dialect
        self._calls: dict[BlockKind, _BlockCall] = {}
        self._parts: dict[BlockKind, Any] = {}

    def export(self, call: NetworkCall) -> Any:
        """The call as an ONNX model with static shapes; blocks of `self.model` are opaque nodes in it."""
        return self._export(call.module(), call.inputs, call.outputs)

    def block(self, kind: int) -> Any:
        """The graph behind opaque nodes of that kind: inputs x_0, x_1, ... and the block's parameters; outputs y_i."""
        key = list(self._calls)[kind]
        if key not in self._parts:
            call = self._calls[key]
            inputs = {f"x_{i}": x for i, x in enumerate(call.examples())}
            module = _FunctionalBlock(call, tuple(name for name, _ in call.block.named_parameters()))
            outputs = tuple(f"y_{i}" for i in range(_num_outputs(call.block)))
            self._parts[key] = self._export(module, inputs | dict(call.block.named_parameters()), outputs)
        return self._parts[key]

    def weights(self, network: str, index: int) -> dict[str, Tensor]:
        """Parameters of one block by name."""
        prefix = f"{_BLOCKS[network]}.{index}."
        return {
            name.removeprefix(f"{network}.{prefix}"): tensor
            for name, tensor in self._weights.items()
            if name.startswith(f"{network}.{prefix}")
        }

    @torch.no_grad()
    def _export(self, module: nn.Module, inputs: dict[str, Tensor], outputs: tuple[str, ...]) -> Any:
        with _quiet():
            program = torch.onnx.export(
                module.eval(),
                tuple(inputs.values()),
                input_names=list(inputs),
                output_names=list(outputs),
                opset_version=self.dialect.opset,
                dynamo=True,
                verbose=False,
                custom_translation_table=self.dialect.translations,
            )
        assert program is not None
        return program.model_proto

    def _note(self, network: str, block: nn.Module, arguments: tuple[Any, ...]) -> tuple[int, list[Tensor]]:
        """Number of the kind of this call, and its tensors."""
        leaves, tree = pytree.tree_flatten(arguments)
        described = tuple((tuple(x.shape), x.dtype) if isinstance(x, Tensor) else None for x in leaves)
        kind = BlockKind(network, getattr(block, "joint", False), f"{tree} {described}")
        self._calls.setdefault(kind, _BlockCall(block, tree, described))
        return list(self._calls).index(kind), [x for x in leaves if isinstance(x, Tensor)]


class _OpaqueBlock(nn.Module):
    """Leaves one node when it is traced. The attentions to contexts that are computed once remain what they are."""

    def __init__(self, network: str, index: int, block: nn.Module, note: BlockNote) -> None:
        super().__init__()
        self.network, self.index, self._block, self._note = network, index, (block,), note
        self.attn2 = block.attn2
        self.attn3 = getattr(block, "attn3", None)

    def text_context(self, text: Tensor) -> Any:
        return self._block[0].text_context(text)  # type: ignore[operator]

    def video_context(self, video_features: Tensor) -> Any:
        return self._block[0].video_context(video_features)  # type: ignore[operator]

    def value_context(self, value_features: Tensor) -> Any:
        return self._block[0].value_context(value_features)  # type: ignore[operator]

    def forward(self, *arguments: Any) -> Any:
        (block,) = self._block
        kind, tensors = self._note(self.network, block, arguments)
        hidden, count = tensors[0], _num_outputs(block)
        outputs = torch.onnx.ops.symbolic_multi_out(
            f"{DOMAIN}::{OPERATOR}",
            tensors,
            {"network": self.network, "index": self.index, "kind": kind},
            dtypes=[hidden.dtype] * count,
            shapes=[hidden.shape] * count,
            version=1,
        )
        return (outputs[0], KeysValues(outputs[1], outputs[2])) if isinstance(block, VideoBlock) else outputs[0]


class _FunctionalBlock(nn.Module):
    """A block as a function of flat tensors: activations, then parameters."""

    def __init__(self, call: _BlockCall, names: tuple[str, ...]) -> None:
        super().__init__()
        self._call, self._names = (call,), names

    def forward(self, *tensors: Tensor) -> Any:
        (call,) = self._call
        count = len(tensors) - len(self._names)
        activations = iter(tensors[:count])
        leaves = [None if leaf is None else next(activations) for leaf in call.leaves]
        parameters = dict(zip(self._names, tensors[count:], strict=True))
        return torch.func.functional_call(call.block, parameters, pytree.tree_unflatten(leaves, call.tree))


def _num_outputs(block: nn.Module) -> int:
    """Hidden states and, of a video block, its own keys and values."""
    return 3 if isinstance(block, VideoBlock) else 1


def _with_opaque_blocks(model: WAVModel, note: BlockNote) -> WAVModel:
    """A model of the same parameters, with opaque blocks."""
    opaque = _shallow_copy(model)
    for network, name in _BLOCKS.items():
        part = _shallow_copy(getattr(model, network))
        blocks = getattr(part, name)
        setattr(part, name, nn.ModuleList(_OpaqueBlock(network, i, block, note) for i, block in enumerate(blocks)))
        setattr(opaque, network, part)
    return opaque


def _shallow_copy(module: nn.Module) -> Any:
    clone = copy.copy(module)
    clone._modules = dict(module._modules)
    return clone


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter reports missing optional packages and its own deprecations; neither is the user's business."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
