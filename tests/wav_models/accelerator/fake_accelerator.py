"""An accelerator without one: fake tensors on the device "meta". Shapes, number formats and devices are real there, and
two devices in one operation are an error, as on a GPU; numbers are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from wav_models.networks.wav_model import WAVModel
from wav_models.presets import ModelConfig

DEVICE: Final = "meta"
VIEWS: Final = frozenset(
    {"view", "_unsafe_view", "reshape", "transpose", "permute", "unsqueeze", "squeeze", "expand", "slice", "select"}
    | {"split", "split_with_sizes", "unbind", "t", "detach", "alias", "unflatten", "flatten", "as_strided", "empty"}
    | {"view_as_complex", "view_as_real", "lift_fresh", "promote_types", "device", "empty_like", "is_nonzero"}
)
"""Operators that start no kernel (`flatten` does where it must copy; that is left out)."""


@contextmanager
def fake_accelerator() -> Iterator[None]:
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def on_accelerator(module: nn.Module, dtype: torch.dtype = torch.float32) -> None:
    """Replace parameters and buffers by fake ones there; inside `fake_accelerator`."""
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            moved = torch.empty(parameter.shape, dtype=dtype, device=DEVICE)
            part.register_parameter(name, nn.Parameter(moved, requires_grad=parameter.requires_grad))
        for name, buffer in list(part.named_buffers(recurse=False)):
            part._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype, device=DEVICE)


def fake_model(config: ModelConfig, dtype: torch.dtype = torch.float32) -> WAVModel:
    """On the accelerator; inside `fake_accelerator`."""
    with torch.device("meta"):
        model = WAVModel(config)
    on_accelerator(model, dtype)
    return model


class Silent:
    """Records work; its replays launch nothing that could be counted, and are counted themselves."""

    def __init__(self) -> None:
        self.replays = 0

    def record(self, function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        return self._replay, function()

    def _replay(self) -> None:
        self.replays += 1


class Memory(TorchDispatchMode):
    """Counts the accelerator's memory that is held by what came from the host meanwhile, and by what is made of that
    [bytes]. Modules that are empty, for their shapes, are on the same device and not counted.

    Attributes:
        peak: the most at any time.
    """

    def __init__(self) -> None:
        super().__init__()
        self._storages: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    @property
    def held(self) -> int:
        gone = [key for key, (storage, _) in self._storages.items() if storage.expired()]
        for key in gone:
            del self._storages[key]
        return sum(size for _, size in self._storages.values())

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        output = function(*arguments, **(keywords or {}))
        given = (x for x in pytree.tree_leaves((arguments, keywords)) if isinstance(x, Tensor))
        if any(x.device.type == "cpu" or x.untyped_storage()._cdata in self._storages for x in given):
            for made in pytree.tree_leaves(output):
                if isinstance(made, Tensor) and made.device.type == DEVICE:
                    storage = made.untyped_storage()
                    self._storages[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.peak = max(self.peak, self.held)
        return output


class Launches(TorchDispatchMode):
    """Counts what would be kernels on the accelerator, and copies between it and the host, by direction.

    Attributes:
        waited: copies to the accelerator before which the host would wait for all that it told it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kernels: Counter[str] = Counter()
        self.copies: Counter[str] = Counter()
        self.waited = 0

    @property
    def total(self) -> int:
        return sum(self.kernels.values())

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        output = function(*arguments, **(keywords or {}))
        name = function._schema.name.split("::")[1]
        given = {x.device.type for x in pytree.tree_leaves((arguments, keywords)) if isinstance(x, Tensor)}
        made = {x.device.type for x in pytree.tree_leaves(output) if isinstance(x, Tensor)}
        if name == "_local_scalar_dense" or (DEVICE in given and made == {"cpu"}):
            self.copies["to host"] += DEVICE in given
        elif "cpu" in given and DEVICE in made:
            self.copies["to accelerator"] += 1
            self.waited += not (keywords or {}).get("non_blocking", False)
        elif (
            DEVICE in given | made
            and name not in VIEWS
            and (name[-1] == "_" or output is not next(iter(arguments), None))
        ):
            self.kernels[name] += 1
        return output
