"""Bytes on the wire: msgpack with NumPy arrays as openpi's protocol has them. Nothing is ever unpickled.

An array travels as the mapping {b"__ndarray__": true, b"dtype": "<f4", b"shape": [...], b"data": bytes}, a NumPy scalar
as {b"__npgeneric__": true, b"dtype": ..., b"data": number}. What comes is checked before it is believed: size of the
message, number of its parts, kind of numbers, and that shape and bytes fit each other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

import msgpack
import numpy as np

from wav_models.words import counted

MAX_PARTS: Final = 10_000
"""Lists and mappings in one message."""
MAX_ENTRIES: Final = 65_536
"""Of one list or mapping."""
MAX_DIMENSIONS: Final = 8
_DTYPE: Final = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
_ARRAY, _SCALAR = b"__ndarray__", b"__npgeneric__"


class WireError(ValueError):
    """Bytes that are no message of the protocol, or a value that cannot be sent; says what is wrong."""


def pack(message: Mapping[str, Any]) -> bytes:
    """Bytes of a message of numbers, texts, lists, mappings and arrays.

    Raises:
        WireError: an array holds something else than numbers, or a value is of another type.
    """
    try:
        return bytes(msgpack.packb(message, default=_plain))
    except (TypeError, ValueError, OverflowError) as error:
        raise WireError(f"cannot be sent: {error}") from error


def unpack(data: bytes, max_bytes: int) -> dict[str, Any]:
    """The message that bytes hold; arrays are read-only views of them.

    Args:
        data: one message.
        max_bytes: more are refused unread.

    Raises:
        WireError: too large, not msgpack, no mapping of names, or an array whose parts do not fit each other.
    """
    if len(data) > max_bytes:
        raise WireError(f"{len(data)} bytes; at most {max_bytes} are read")
    parts = _Parts()
    try:
        message = msgpack.unpackb(
            data,
            object_hook=parts.mapping,
            list_hook=parts.list,
            ext_hook=_refuse_extension,
            max_array_len=MAX_ENTRIES,
            max_map_len=MAX_ENTRIES,
        )
    except WireError:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.OutOfData) as error:
        raise WireError(f"not msgpack: {str(error) or type(error).__name__}") from error
    if not isinstance(message, dict) or not all(isinstance(key, str) for key in message):
        raise WireError(f"a {type(message).__name__}; a mapping of names fits")
    return message


class _Parts:
    """Builds lists and mappings, as many as one message may have: empty ones cost a byte each to send."""

    def __init__(self) -> None:
        self._left = MAX_PARTS

    def list(self, items: list[Any]) -> list[Any]:
        self._count()
        return items

    def mapping(self, items: dict[Any, Any]) -> Any:
        self._count()
        if _ARRAY in items:
            return _array(items)
        return _scalar(items) if _SCALAR in items else items

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise WireError(f"more than {MAX_PARTS} lists and mappings")


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic) and not _DTYPE.fullmatch(value.dtype.str):
        raise WireError(f"an array of {value.dtype}; numbers can be sent")
    if isinstance(value, np.ndarray):
        return {_ARRAY: True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    if isinstance(value, np.generic):
        return {_SCALAR: True, b"data": value.item(), b"dtype": value.dtype.str}
    raise WireError(f"a {type(value).__name__} cannot be sent")


def _array(items: dict[Any, Any]) -> np.ndarray:
    data, shape, name = items.get(b"data"), items.get(b"shape"), items.get(b"dtype")
    if not isinstance(name, str) or not _DTYPE.fullmatch(name):
        raise WireError(f"an array of {str(name)[:40]!r}; numbers fit")
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or not all(type(n) is int and n >= 0 for n in shape):
        raise WireError(f"an array of shape {str(shape)[:40]}; at most {MAX_DIMENSIONS} whole numbers fit")
    size = np.dtype(name).itemsize * math.prod(shape)
    if not isinstance(data, bytes) or len(data) != size:
        raise WireError(f"an array {name} of shape {shape} has {counted(size, 'byte')}; {_length(data)} came")
    return np.frombuffer(data, np.dtype(name)).reshape(shape)


def _scalar(items: dict[Any, Any]) -> float | int | bool:
    value = items.get(b"data")
    if not isinstance(value, bool | int | float):
        raise WireError(f"a NumPy scalar that is a {type(value).__name__}; a number fits")
    return value


def _length(data: Any) -> str:
    return str(len(data)) if isinstance(data, bytes) else f"a {type(data).__name__}"


def _refuse_extension(code: int, data: bytes) -> Any:
    raise WireError(f"extension type {code}; there is none in the protocol")
