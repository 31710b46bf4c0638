from __future__ import annotations

import contextlib
from pathlib import Path

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tests.wav_policy.policy.remote.foreign_server import packed, unpacked
from wav_policy.policy.remote import wire
from wav_policy.policy.remote.wire import WireError, pack, unpack

MANY = 10_000_000
ARRAYS = npst.arrays(
    st.sampled_from(["<f4", ">f8", "<f2", "|u1", "<i8", "|b1", "<u4"]), npst.array_shapes(min_dims=0, min_side=0)
)


@given(ARRAYS)
def test_arrays_come_back_as_they_were_sent_in_both_directions(array: np.ndarray) -> None:
    for message in (pack({"a": {"b": array}, "text": "x"}), packed({"a": {"b": array}, "text": "x"})):
        for found in (unpack(message, MANY), unpacked(message)):
            assert found["text"] == "x"
            assert found["a"]["b"].dtype == array.dtype
            np.testing.assert_array_equal(found["a"]["b"], array)


def test_scalars_come_as_numbers() -> None:
    assert unpack(pack({"x": np.float32(0.5), "n": np.int64(3)}), MANY) == {"x": 0.5, "n": 3}


@given(st.binary(max_size=200))
def test_nonsense_is_a_wire_error_or_a_message(data: bytes) -> None:
    with contextlib.suppress(WireError):
        assert isinstance(unpack(data, MANY), dict)


def array(data: object = b"\0" * 8, dtype: object = "<f4", shape: object = (2,)) -> bytes:
    return bytes(msgpack.packb({"a": {b"__ndarray__": True, b"data": data, b"dtype": dtype, b"shape": shape}}))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (array(dtype="|O"), "an array of '|O'"),
        (array(dtype="O8"), "an array of"),
        (array(dtype="<f4,<f4"), "an array of"),
        (array(dtype="<c8"), "an array of"),
        (array(dtype=4), "an array of"),
        (array(shape=(3,)), "12 bytes; 8 came"),
        (array(shape=(2**62, 2**62, 0)), "0 bytes; 8 came"),
        (array(shape=(-2,)), "of shape"),
        (array(shape=(True, 2)), "of shape"),
        (array(data=b"\0" * 4, shape=(1,) * 9), "of shape .* at most 8"),
        (array(shape="2"), "of shape"),
        (array(data="12345678"), "a str came"),
        (bytes(msgpack.packb({"a": {b"__npgeneric__": True, b"data": b"cos\nsystem\n", b"dtype": "O"}})), "a bytes"),
        (bytes(msgpack.packb({"a": msgpack.ExtType(3, b"x")})), "extension type 3"),
        (bytes(msgpack.packb([1, 2])), "a list; a mapping"),
        (bytes(msgpack.packb({1: 2})), "not msgpack"),
        (bytes(msgpack.packb({b"a": 2})), "a dict; a mapping of names"),
        (b"\x80\x04\x95\x10.", "not msgpack"),
        (b"", "not msgpack"),
        (b"\x81\xa1a" + b"\x91" * 100_000, "not msgpack|lists and mappings"),
        (b"\x81\xa1a\xdd\xff\xff\xff\xff", "not msgpack"),
        (b"\x81\xa1a\xdc\x4e\x20" + b"\x80" * 20_000, "more than 10000 lists and mappings"),
    ],
)
def test_what_is_no_message_says_what_is_wrong(data: bytes, message: str) -> None:
    with pytest.raises(WireError, match=message):
        unpack(data, MANY)


def test_what_is_too_large_is_not_read() -> None:
    with pytest.raises(WireError, match="at most 10 are read"):
        unpack(pack({"a": np.zeros(10)}), 10)


@pytest.mark.parametrize("value", [np.array([object()]), np.zeros(2, "c8"), np.zeros(2, "<f4,<i4"), Path("x"), {1, 2}])
def test_what_cannot_be_sent_is_refused(value: object) -> None:
    with pytest.raises(WireError, match="can"):
        pack({"a": value})


def test_nothing_here_can_unpickle() -> None:
    sources = [path.read_text() for path in Path(wire.__file__).parent.glob("*.py")]
    assert len(sources) > 3
    assert not [text for text in sources if "import pickle" in text or "allow_pickle" in text or "np.load(" in text]
