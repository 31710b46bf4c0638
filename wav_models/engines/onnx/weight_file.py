"""One file for the weights of all graphs of an export: what two graphs have in common is stored, and mapped, once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from wav_models.engines.manifest import tensor_bytes

ALIGNMENT: Final = 64
MIN_BYTES: Final = 1024
"""Smaller tensors stay in the graph, where the runtime folds them."""

_ONNX_TYPES: Final = {
    torch.float32: 1,
    torch.uint8: 2,
    torch.int8: 3,
    torch.int32: 6,
    torch.int64: 7,
    torch.bool: 9,
    torch.float16: 10,
    torch.float64: 11,
    torch.bfloat16: 16,
}
"""TensorProto.DataType of the ONNX standard."""


class WeightFile:
    """Append-only file of tensors; equal contents are written once.

    Args:
        path: created, or emptied.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("wb")
        self._found: dict[bytes, int] = {}

    def __enter__(self) -> WeightFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def refer(self, name: str, tensor: Tensor) -> Any:
        """A TensorProto whose data is in the file."""
        from onnx import TensorProto

        data = tensor_bytes(tensor)
        key = hashlib.blake2b(data.data, digest_size=16).digest()
        if key not in self._found:
            self._file.write(bytes(-self._file.tell() % ALIGNMENT))
            self._found[key] = self._file.tell()
            self._file.write(data.data)
        proto = TensorProto(name=name, dims=tensor.shape, data_type=_ONNX_TYPES[tensor.dtype])
        proto.data_location = TensorProto.EXTERNAL
        for entry, value in {"location": self.path.name, "offset": self._found[key], "length": data.nbytes}.items():
            proto.external_data.add(key=entry, value=str(value))
        return proto


def inline(name: str, tensor: Tensor) -> Any:
    """A TensorProto that holds its own data."""
    from onnx import TensorProto

    raw = tensor_bytes(tensor).tobytes()
    return TensorProto(name=name, dims=tensor.shape, data_type=_ONNX_TYPES[tensor.dtype], raw_data=raw)


def torch_tensor(proto: Any) -> Tensor:
    """The contents of a TensorProto that holds its own data."""
    from onnx import TensorProto, numpy_helper

    if proto.data_type == TensorProto.BFLOAT16:
        return torch.frombuffer(bytearray(proto.raw_data), dtype=torch.bfloat16).reshape(tuple(proto.dims))
    return torch.from_numpy(numpy_helper.to_array(proto).copy())
