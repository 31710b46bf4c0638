"""Memory that training takes on every GPU, counted from the shapes: nothing is computed, no GPU is needed.

Activations are those of a forward pass in bfloat16, as autocast makes them, with norms and attention as the parts they
decompose into: for `wav-2b` a quarter more than single kernels keep. Not counted: what kernels need meanwhile, buffers
of the exchange between GPUs, and fragments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from wav_models.bench.gpu.training import RandomBatches
from wav_models.networks.wav_model import WAVModel, blocks_of
from wav_models.presets import ModelConfig
from wav_models.training.config import STAGES, TrainConfig
from wav_models.training.randomness import streams_at
from wav_models.training.stage_table import make_stage
from wav_models.words import counted

TRAINED_BYTES: Final = 20
"""Of a parameter that trains: weight, gradient, two moments and weight average in float32."""
FROZEN_BYTES: Final = 4
CAST_BYTES: Final = 2
"""Of a weight's bfloat16 copy, which autocast keeps for the backward pass; recomputed blocks make it again."""


@dataclass(frozen=True)
class StageMemory:
    """Of one stage; bytes.

    Attributes:
        trained, frozen, in_blocks: parameters that train, that do not, and that are in transformer blocks.
        largest_block: parameters of the largest.
        kept: activations of one sample for the backward pass.
        kept_recomputed: the same where only what enters a block is kept.
        block: activations of the block that has most, which recomputing makes again one at a time.
    """

    stage: str
    trained: int
    frozen: int
    in_blocks: int
    largest_block: int
    kept: int
    kept_recomputed: int
    block: int

    def per_gpu(self, gpus: int, samples: int, *, sharded: bool, recompute: bool) -> int:
        """Bytes on each of `gpus`, with so many samples on each."""
        shares = gpus if sharded else 1
        state = (TRAINED_BYTES * self.trained + FROZEN_BYTES * self.frozen) // shares
        gathered = FROZEN_BYTES * 2 * self.largest_block if shares > 1 else 0
        casts = self.trained + self.frozen - (self.in_blocks - self.largest_block if recompute else 0)
        kept = self.kept_recomputed + self.block if recompute else self.kept
        return state + gathered + CAST_BYTES * casts + samples * kept


def stage_memory(config: ModelConfig, stage: str) -> StageMemory:
    """Counted on shapes alone."""
    with _bfloat16_by_default():
        with torch.device("meta"):
            model = WAVModel(config).to("meta")
        batches: Any = RandomBatches(config)
        made = make_stage(stage, model, batches, TrainConfig(), dict)
        one, two = (_Count(model, partial(made.losses, n, streams_at(0, stage, 0))) for n in (1, 2))
    blocks = [sum(p.numel() for p in block.parameters()) for block in blocks_of(model)]
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return StageMemory(
        stage=stage,
        trained=trained,
        frozen=sum(p.numel() for p in model.parameters()) - trained,
        in_blocks=sum(blocks),
        largest_block=max(blocks),
        kept=two.kept - one.kept,
        kept_recomputed=two.kept_recomputed - one.kept_recomputed,
        block=two.largest_block - one.largest_block,
    )


def training_table(config: ModelConfig, gpus: Sequence[int], samples: int) -> dict[str, Any]:
    """Every stage on every number of GPUs; plain data for JSON."""
    rows: list[dict[str, Any]] = []
    for name in STAGES:
        memory = stage_memory(config, name)
        forms = [
            {"gpus": n, "sharding": sharding, "recompute": recompute, "bytes": memory.per_gpu(n, samples, **options)}
            for n in gpus
            for sharding in (("ddp", "fsdp") if n > 1 else ("ddp",))
            for recompute in (False, True)
            for options in [{"sharded": sharding == "fsdp", "recompute": recompute}]
        ]
        rows.append({**asdict(memory), "forms": forms})
    return {"model": config.name, "computed_not_measured": True, "samples_per_gpu": samples, "stages": rows}


def training_text(table: dict[str, Any]) -> str:
    """`training_table` for people."""
    lines = [
        f"{table['model']}, {counted(table['samples_per_gpu'], 'sample')} on each GPU: "
        "computed from the shapes, not measured"
    ]
    for row in table["stages"]:
        kept, again = row["kept"] / 1e9, row["kept_recomputed"] / 1e9
        lines += ["", f"{row['stage']}: {row['trained'] / 1e9:.2f} G parameters train; a sample keeps {kept:.2f} GB,"]
        lines[-1] += f" {again:.2f} GB where blocks are recomputed"
        for form in row["forms"]:
            how = f"{form['sharding']}{', recompute' if form['recompute'] else ''}"
            lines.append(f"  {form['gpus']:3d} GPUs  {how:16s}  {form['bytes'] / 1e9:7.1f} GB each")
    return "\n".join(lines)


class _Count:
    """Bytes that a forward pass keeps for its backward pass, each storage once."""

    def __init__(self, model: WAVModel, losses: Callable[[], dict[str, Tensor]]) -> None:
        self._seen: dict[int, Tensor] = {p.untyped_storage()._cdata: p for p in model.parameters()}
        self._entered: dict[int, Tensor] = dict(self._seen)
        self.kept, self._within, self._entering, self.largest_block = 0, 0, 0, 0
        with self._blocks_counted(model), torch.autograd.graph.saved_tensors_hooks(self._keep, lambda x: x):
            loss = losses()["loss"]
        del loss

    @property
    def kept_recomputed(self) -> int:
        return self.kept - self._within + self._entering

    def _keep(self, x: Tensor) -> Tensor:
        if x.untyped_storage()._cdata not in self._seen:
            self._seen[x.untyped_storage()._cdata] = x
            self.kept += x.untyped_storage().nbytes()
        return x

    @contextmanager
    def _blocks_counted(self, model: WAVModel) -> Iterator[None]:
        handles = []
        for block in blocks_of(model):
            handles += [block.register_forward_pre_hook(self._enter), block.register_forward_hook(self._leave)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, _: nn.Module, arguments: Any) -> None:
        for x in pytree.tree_leaves(arguments):
            if isinstance(x, Tensor) and torch.is_grad_enabled() and x.untyped_storage()._cdata not in self._entered:
                self._entered[x.untyped_storage()._cdata] = x
                self._entering += x.untyped_storage().nbytes()
        self._before = self.kept

    def _leave(self, _: nn.Module, __: Any, ___: Any) -> None:
        within = self.kept - self._before
        self._within += within
        self.largest_block = max(self.largest_block, within)


@contextmanager
def _bfloat16_by_default() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
