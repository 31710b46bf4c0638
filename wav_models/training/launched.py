"""Training on GPUs, and beyond one device: one process per device.

`wav train` starts the processes through accelerate where it sees several GPUs; torchrun, accelerate and SLURM say by
environment variables that they have started them. "ddp" keeps a copy of everything on every device and averages
gradients. "fsdp" keeps a share of the weights, their average and the optimiser's moments on every device and gathers
the weights of a block while it runs. Both draw the samples that as many workers of `wav train` would, and save the same
state: a run may go on with another number of devices, or on one.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from threading import Timer
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
PLACE: Final = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torch wants to know of a process among several."""
PORTS: Final = range(20000, 30000)
"""Where processes that SLURM has started meet, unless MASTER_PORT says otherwise: those of a step at one of these."""
PATIENCE: Final = 10.0
"""After so long [s] a process says that it waits for the others."""


def cluster_environment(given: Mapping[str, str]) -> dict[str, str]:
    """What tells this process its place among several that something else has started; {} where it is alone.

    torchrun and accelerate say it by `PLACE`; of SLURM's variables those of a step, which srun starts, are translated.

    Raises:
        ValueError: several processes were to be started, but what tells this one its place is missing.
    """
    if "WORLD_SIZE" in given:
        size, place = int(given["WORLD_SIZE"]), {name: given.get(name, "") for name in PLACE}
        if size > 1 and (missing := [name for name, value in place.items() if not value]):
            raise ValueError(
                f"WORLD_SIZE is {size}, but {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set; "
                "torchrun sets all of them, and without WORLD_SIZE this process trains alone"
            )
        return place if size > 1 else {}
    if "SLURM_PROCID" not in given:
        return {}
    if "SLURM_STEP_NUM_TASKS" not in given and int(given.get("SLURM_NTASKS", "1")) > 1:
        raise ValueError(
            f"SLURM has reserved {given['SLURM_NTASKS']} tasks, but srun has not started this process "
            "(SLURM_STEP_NUM_TASKS is not set): `srun python -m wav_models.training ...`; with `#SBATCH --ntasks=1` it "
            "trains on the GPUs of this machine"
        )
    if int(given.get("SLURM_STEP_NUM_TASKS", "1")) == 1:
        return {}
    return {
        "RANK": given["SLURM_PROCID"],
        "LOCAL_RANK": given.get("SLURM_LOCALID", "0"),
        "WORLD_SIZE": given["SLURM_STEP_NUM_TASKS"],
        "MASTER_ADDR": given.get("MASTER_ADDR") or _first_node(given["SLURM_STEP_NODELIST"]),
        "MASTER_PORT": given.get("MASTER_PORT") or _port(given),
    }


def _port(given: Mapping[str, str]) -> str:
    """Another one for every step of SLURM's: several may run on a node."""
    job, step = (int(given.get(name, "0")) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    return str(PORTS[(19 * job + step) % len(PORTS)])


def _first_node(nodes: str) -> str:
    """Of a list as SLURM writes it: "a[07-09,12],b" is a07 and others. Its first process is there."""
    first = re.match(r"(\[[^\]]*\]|[^,\[])*", nodes)
    assert first is not None  # of nothing, too
    return re.sub(r"\[([^\],-]*)[^\]]*\]", r"\1", first[0])


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
    def join(cls, sharding: str, *, on_gpu: bool) -> LaunchedWorker:
        """Meet the other processes, as the environment says; alone where it says nothing.

        Args:
            sharding: one of `SHARDINGS`.
            on_gpu: whether to compute on this process's GPU.

        Raises:
            ValueError: unknown sharding, or as `cluster_environment`.
        """
        from accelerate import PartialState

        if sharding not in SHARDINGS:
            raise ValueError(f"sharding is {sharding!r}; {' or '.join(SHARDINGS)} fits")
        place = cluster_environment(os.environ)
        os.environ.update(place)
        with _said_if_it_waits(place):
            state = PartialState(cpu=not on_gpu)
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


@contextmanager
def _said_if_it_waits(place: Mapping[str, str]) -> Iterator[None]:
    """For a process that meets others: where fewer have been started than it was told, nothing else would be seen."""
    if not place:
        yield
        return
    line = (
        "process {RANK} of {WORLD_SIZE} waits at {MASTER_ADDR}:{MASTER_PORT} for the others. Has each been started? (A "
        "shell of `srun --pty` counts as all of its tasks; begin it with --ntasks=1.)"
    ).format(**place)
    timer = Timer(PATIENCE, print, (line,), {"file": sys.stderr, "flush": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


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
