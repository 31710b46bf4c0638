"""Training beyond one device: processes started by `accelerate launch -m wav_models.training`.

"ddp" keeps a copy of everything on every device and averages gradients. "fsdp" keeps a share of the weights, their
average and the optimiser's moments on every device and gathers the weights for the duration of a step. Both draw the
samples that as many workers of `wav train` would, and save the same state: a run may go on with another number of
devices, or on one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from wav_models.training.parallel import Losses, TrainableStage, TrainingWorker
from wav_models.training.randomness import RngStreams

SHARDINGS = ("ddp", "fsdp")


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
        """Meet the other processes, as the environment that accelerate set up says."""
        from accelerate import PartialState

        if sharding not in SHARDINGS:
            raise ValueError(f"sharding is {sharding!r}; {' or '.join(SHARDINGS)} fits")
        state = PartialState(cpu=not torch.cuda.is_available())
        return cls(state.process_index, state.num_processes, state.device, sharding)

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
            from torch.distributed.device_mesh import init_device_mesh
            from torch.distributed.fsdp import fully_shard

            fully_shard(module, mesh=init_device_mesh(self.device.type, (self.size,)))
            return module
        devices = None if self.device.type == "cpu" else [self.device]
        return nn.parallel.DistributedDataParallel(module, device_ids=devices)

    def average_gradients(self, parameters: Any) -> None:
        """Nothing: both ways average them in the backward pass."""
