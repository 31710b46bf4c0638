"""What a directory says of its graphs is checked before it is believed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from wav_models.engines.base import EngineError
from wav_models.engines.manifest import FORMAT, MANIFEST, Manifest, PlanShape, check_manifest, read_manifest
from wav_models.planner.config import PlannerConfig

SOUND = Manifest(
    FORMAT,
    "onnxruntime",
    "fp32",
    "onnxruntime 1",
    "",
    20,
    "0" * 64,
    PlanShape.of(PlannerConfig()),
    {"torch": "2"},
    {"video_dit_1": {"file": "video_dit_1.onnx", "inputs": {}, "outputs": {}}},
    {"video_dit_1.onnx": "0" * 64},
)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    SOUND.write(tmp_path)
    assert read_manifest(tmp_path) == SOUND


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"graphs": {"pick": {"file": ["pick.onnx"]}}}, "graph 'pick' has no file"),
        ({"graphs": {"pick": {}}}, "graph 'pick' has no file"),
        ({"files": {"../pick.onnx": "0"}}, "'../pick.onnx' is no file name"),
        ({"opset": "20"}, "opset is '20', a text; a whole number fits"),
    ],
)
def test_a_damaged_one_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    (tmp_path / MANIFEST).write_text(json.dumps({**asdict(SOUND), **changes}))
    with pytest.raises(EngineError, match=f"not a manifest of this version .*{message}.*export again"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "content", [b"[" * 200_000, b"null", b"[]", b"1e999", b"\xff\xfe", b"9" * 5000, b'"' + b" " * 2**24 + b'"']
)
def test_a_hostile_one_is_one_typed_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(EngineError, match=r"manifest\.json: not a manifest of this version.*export again"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("put", [os.mkfifo, os.mkdir, lambda path: path.symlink_to(path), lambda path: None])
def test_what_is_no_file_is_one_typed_error(tmp_path: Path, put: Callable[[Path], None]) -> None:
    put(tmp_path / MANIFEST)
    with pytest.raises(EngineError, match=r"manifest\.json: (no such|not a regular) file; export again"):
        read_manifest(tmp_path)


def test_weights_of_eight_bits_are_refused_where_their_products_overflow(tmp_path: Path) -> None:
    (tmp_path / "video_dit_1.onnx").touch()
    eight = replace(SOUND, precision="int8")
    seven = replace(eight, weight_bits=7)
    for written, here in ((eight, eight), (seven, seven), (seven, eight)):
        written.write(tmp_path)
        assert check_manifest(tmp_path, here) == written
    eight.write(tmp_path)
    with pytest.raises(EngineError, match="8-bit weights overflow on this processor"):
        check_manifest(tmp_path, seven)
    replace(eight, precision="fp32").write(tmp_path)
    check_manifest(tmp_path, replace(seven, precision="fp32"))
