"""Training on GPUs, and beyond one device: one process per device.

`wav train` starts the processes through accelerate where it sees several GPUs; torchrun, accelerate and SLURM say by
environment variables that they have started them. "ddp" keeps a copy of everything on every device and averages
gradients. "fsdp" keeps a share of the weights, their average and the optimiser's moments on every device and gathers
the weights of a block while it runs. Both draw the samples that as many workers of `wav train` would, and save the same
state: a run may go on with another number of devices, or on one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor, nn

from wav_models.networks.blocks import ExpertBlock, VideoBlock
from wav_models.training.parallel import Losses, TrainableStage, TrainingWorker
from wav_models.training.randomness import RngStreams

SHARDINGS = ("ddp", "fsdp")
CALLED_FROM_OUTSIDE: Final = ("text_context", "video_context", "value_context")
"""Methods of blocks that need their weights outside of `forward`."""
PORT: Final = "29500"
"""Where processes that SLURM has started meet, unless MASTER_PORT says otherwise."""


def cluster_environment(given: Mapping[str, str]) -> dict[str, str]:
    """What tells this process its place among several that something else has started; {} where it is alone.

    torchrun and accelerate set RANK, WORLD_SIZE and their like; SLURM's own variables are translated.

    Raises:
        ValueError: SLURM has started several processes and nothing says where they meet.
    """
    if int(given.get("WORLD_SIZE", "1")) > 1 and "RANK" in given:
        return {name: given[name] for name in ("RANK", "WORLD_SIZE")}
    if int(given.get("SLURM_NTASKS", "1")) == 1 or "SLURM_PROCID" not in given:
        return {}
    address = given.get("MASTER_ADDR") or given.get("SLURM_LAUNCH_NODE_IPADDR")
    if not address:
        raise ValueError("SLURM has started several processes; set MASTER_ADDR to the first node's address")
    return {
        "RANK": given["SLURM_PROCID"],
        "LOCAL_RANK": given.get("SLURM_LOCALID", "0"),
        "WORLD_SIZE": given["SLURM_NTASKS"],
        "MASTER_ADDR": address,
        "MASTER_PORT": given.get("MASTER_PORT", PORT),
    }


class StageModule(nn.Module):
    """A stage's losses as the forward pass of a module, which is what torch distributes."""

    def __init__(self, stage: Any) -> None:
        super().__init__()
        self.model = stage.model
        self._losses = stage.losses

    def forward(self, batch_size: int, streams: RngStreams) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self._losses(batch_size, streams)
        return losses


@dataclass(frozen=True)
class LaunchedWorker(TrainingWorker):
    """This process among those that accelerate started.

    Attributes:
        device: where this process computes.
        sharding: one of `SHARDINGS`.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    sharding: str = "ddp"

    @classmethod
    def join(cls, sharding: str) -> LaunchedWorker:
        """Meet the other processes, as the environment says; alone where it says nothing.

        Raises:
            ValueError: unknown sharding, or as `cluster_environment`.
        """
        from accelerate import PartialState

        if sharding not in SHARDINGS:
            raise ValueError(f"sharding is {sharding!r}; {' or '.join(SHARDINGS)} fits")
        os.environ.update(cluster_environment(os.environ))
        state = PartialState(cpu=not torch.cuda.is_available())
        worker = cls(state.process_index, state.num_processes, device=state.device, sharding=sharding)
        return replace(worker, group=dist.new_group(backend="gloo")) if worker.is_sharded else worker

    def part(self) -> None:
        """Leave the other processes, all of which are done."""
        from accelerate import PartialState

        PartialState().destroy_process_group()

    @property
    def is_sharded(self) -> bool:
        return self.sharding == "fsdp" and self.size > 1

    def distribute(self, stage: TrainableStage) -> Losses:
        """Put the stage's model on this device, over all processes; from here on its parameters are the shares."""
        module = StageModule(stage).to(self.device)
        if self.size == 1:
            return module
        if self.is_sharded:
            _shard(module, self.device, self.size)
            return module
        devices = None if self.device.type == "cpu" else [self.device]
        return nn.parallel.DistributedDataParallel(module, device_ids=devices, gradient_as_bucket_view=True)

    def accumulating(self, losses: Losses, *, last: bool) -> AbstractContextManager[None]:
        if isinstance(losses, nn.parallel.DistributedDataParallel) and not last:
            return losses.no_sync()
        if self.is_sharded:
            from torch.distributed.fsdp import FSDPModule

            assert isinstance(losses, FSDPModule)
            losses.set_requires_gradient_sync(last)
        return nullcontext()

    def average_gradients(self, parameters: Any) -> None:
        """Nothing: both ways average them in the backward pass."""


def _shard(module: nn.Module, device: torch.device, size: int) -> None:
    """Block by block, so that the whole weights of one or two blocks are in memory at a time; then what is left."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(device.type, (size,))
    for part in list(module.modules()):
        if isinstance(part, (VideoBlock, ExpertBlock)):
            fully_shard(part, mesh=mesh)
            for name in CALLED_FROM_OUTSIDE:
                if hasattr(part, name):
                    register_fsdp_forward_method(part, name)
    fully_shard(module, mesh=mesh)
