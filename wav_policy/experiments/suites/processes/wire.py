"""Messages between an evaluation and an environment in another process: JSON and raw arrays over a pipe, no pickle.

A message is the length of a JSON object (4 bytes, little endian), the object, and the bytes of its arrays. The object
has the key "arrays": dtype and shape of each.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import numpy as np

Message = tuple[dict[str, Any], list[np.ndarray]]

_LENGTH = struct.Struct("<I")
MAX_HEADER = 2**20
MAX_ARRAYS = 2**26
"""Bytes of all arrays of a message."""
DTYPES = ("uint8", "float64")


class SuiteWireError(RuntimeError):
    """What came is no message, or the other side is gone."""


def write_message(stream: BinaryIO, header: dict[str, Any], arrays: Sequence[np.ndarray] = ()) -> None:
    """Send one message; SuiteWireError where nobody reads it any more."""
    described = [{"dtype": str(array.dtype), "shape": list(array.shape)} for array in arrays]
    data = json.dumps({**header, "arrays": described}).encode()
    try:
        stream.write(_LENGTH.pack(len(data)) + data)
        for array in arrays:
            stream.write(np.ascontiguousarray(array).tobytes())
        stream.flush()
    except (OSError, ValueError) as error:
        raise SuiteWireError(f"the pipe is closed ({error})") from error


def read_message(read: Callable[[int], bytes]) -> Message:
    """Receive one message.

    Args:
        read: gives exactly so many bytes, or fewer where the other side has ended.

    Raises:
        SuiteWireError: it has ended, or what came is no message.
    """
    (length,) = _LENGTH.unpack(_exactly(read, _LENGTH.size))
    if length > MAX_HEADER:
        raise SuiteWireError(f"a header of {length} bytes; at most {MAX_HEADER} fit")
    try:
        header = json.loads(_exactly(read, length))
        shapes = [(entry["dtype"], tuple(entry["shape"])) for entry in header.pop("arrays")]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SuiteWireError(f"not a message: {error!r}") from error
    sizes = []
    for dtype, shape in shapes:
        if dtype not in DTYPES or not all(isinstance(side, int) and side >= 0 for side in shape):
            raise SuiteWireError(f"an array of {dtype!r} and shape {shape}; {' and '.join(DTYPES)} fit")
        sizes.append(np.dtype(dtype).itemsize * math.prod(shape))
    if sum(sizes) > MAX_ARRAYS:
        raise SuiteWireError(f"{sum(sizes)} bytes of arrays; at most {MAX_ARRAYS} fit")
    arrays = [
        np.frombuffer(_exactly(read, size), dtype).reshape(shape)
        for (dtype, shape), size in zip(shapes, sizes, strict=True)
    ]
    return header, arrays


def _exactly(read: Callable[[int], bytes], count: int) -> bytes:
    data = read(count) if count else b""
    if len(data) < count:
        raise SuiteWireError("the process has ended")
    return data
