"""What is loaded is what was saved, whole, private, and nothing hostile gets further than one typed error."""

from __future__ import annotations

import json
import logging
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from tests.wav_models.small_checkpoint import SMALL
from wav_models.checkpoint import CheckpointError, checkpoint_hash, load_checkpoint
from wav_models.checkpoint_files import MAX_JSON_BYTES, SUMS

JSON_FILES = ("config.json", "normalization.json", "training.json")
TENSOR_FILES = ("model.safetensors", "autoencoder.safetensors")


@pytest.fixture
def sealed(small_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy to damage, with its hashes."""
    return Path(shutil.copytree(small_checkpoint, tmp_path / "copy"))


@pytest.fixture
def old(sealed: Path) -> Path:
    """As older versions saved it: without hashes."""
    (sealed / SUMS).unlink()
    return sealed


def _flip(path: Path, position: int, bit: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ (1 << bit)]))


@pytest.mark.parametrize("name", [*JSON_FILES, *TENSOR_FILES])
def test_one_flipped_bit_anywhere_is_refused(sealed: Path, name: str) -> None:
    size = (sealed / name).stat().st_size
    for position in (0, size // 3, size // 2, size - 1):
        for bit in (0, 6):
            _flip(sealed / name, position, bit)
            with pytest.raises(CheckpointError, match=f"{name}: changed since the checkpoint was saved; restore"):
                load_checkpoint(sealed)
            _flip(sealed / name, position, bit)
    load_checkpoint(sealed)


def test_the_hash_is_shown_and_is_what_coreutils_prints(sealed: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    checkpoint = load_checkpoint(sealed)
    assert f"sha256 {checkpoint_hash(sealed)[:12]}, as saved" in caplog.text
    subprocess.run(["sha256sum", "--check", "--quiet", SUMS], cwd=sealed, check=True)
    printed = subprocess.run(["sha256sum", SUMS], cwd=sealed, check=True, capture_output=True, text=True).stdout
    assert printed.startswith(checkpoint_hash(sealed))
    assert set(checkpoint.files) == {*JSON_FILES, *TENSOR_FILES}


def test_hash_follows_content_and_names(sealed: Path) -> None:
    found = {checkpoint_hash(sealed)}
    (sealed / "extra.json").write_text("1")
    found.add(checkpoint_hash(sealed))
    (sealed / "extra.json").rename(sealed / "other.json")
    found.add(checkpoint_hash(sealed))
    assert len(found) == 3


def test_older_checkpoints_load_with_one_line_about_it(old: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    load_checkpoint(old)
    assert "not checked: it has no SHA256SUMS" in caplog.text
    assert len(caplog.records) == 1


def test_a_planner_written_by_hand_is_used_and_said(sealed: Path, caplog: pytest.LogCaptureFixture) -> None:
    (sealed / "planner.json").write_text('{"num_iterations": 2}')
    assert load_checkpoint(sealed).planner.num_iterations == 2
    assert "planner.json: added since the checkpoint was saved, and used as it is; to accept it (cd" in caplog.text
    command = caplog.text[caplog.text.index("(cd") + 1 :].split(")")[0]
    caplog.clear()
    subprocess.run(command, shell=True, check=True)
    load_checkpoint(sealed)
    assert not caplog.records


def test_a_file_that_was_saved_and_is_gone_is_missed(sealed: Path) -> None:
    (sealed / "planner.json").write_text('{"num_iterations": 2}')
    subprocess.run(f"sha256sum *.json *.safetensors > {SUMS}", shell=True, cwd=sealed, check=True)
    (sealed / "planner.json").unlink()
    with pytest.raises(CheckpointError, match=r"planner\.json: no such file, but it was saved"):
        load_checkpoint(sealed)


@pytest.mark.parametrize("way", ["overwrite", "truncate"])
def test_loaded_weights_do_not_change_when_a_file_does(sealed: Path, way: str) -> None:
    loaded = load_checkpoint(sealed)
    modules = (loaded.model, loaded.autoencoder)
    before = [tensor.clone() for module in modules for tensor in module.state_dict().values()]  # type: ignore[attr-defined]
    for name in TENSOR_FILES:
        size = (sealed / name).stat().st_size
        with (sealed / name).open("r+b") as file:
            file.truncate(100) if way == "truncate" else file.write(os.urandom(size))
    after = [tensor for module in modules for tensor in module.state_dict().values()]  # type: ignore[attr-defined]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


HOSTILE_JSON = {
    "deep list": b"[" * 200_000,
    "deep mapping": b'{"a":' * 100_000,
    "infinite": b"1e999",
    "not a number": b"NaN",
    "null": b"null",
    "list": b"[]",
    "empty": b"",
    "surrogate": "\ud800".encode("utf-8", "surrogatepass"),
    "not UTF-8": b"\xff\xfe",
    "long number": b"9" * 5000,
    "too large": b'"' + b" " * MAX_JSON_BYTES + b'"',
}


@pytest.mark.parametrize("content", HOSTILE_JSON.values(), ids=HOSTILE_JSON.keys())
@pytest.mark.parametrize("name", [*JSON_FILES, "planner.json"])
def test_hostile_json_is_one_typed_error(old: Path, name: str, content: bytes) -> None:
    (old / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(old)


def _directory(path: Path) -> None:
    path.mkdir()


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _dangling(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def _loop(path: Path) -> None:
    path.symlink_to(path)


def _link_out(path: Path) -> None:
    outside = path.parent.parent / "outside"
    outside.write_bytes(b"{}")
    path.symlink_to(outside)


@pytest.mark.parametrize("put", [_directory, _pipe, _dangling, _loop, _link_out])
@pytest.mark.parametrize("name", [*JSON_FILES, *TENSOR_FILES, "planner.json", SUMS])
def test_what_is_no_file_is_one_typed_error(old: Path, name: str, put: Callable[[Path], None]) -> None:
    (old / name).unlink(missing_ok=True)
    put(old / name)
    with pytest.raises(CheckpointError, match=rf"{name}: .*(restore|put the file itself there)"):
        load_checkpoint(old)


def test_a_link_within_the_checkpoint_is_followed(old: Path) -> None:
    (old / "model.safetensors").rename(old / "weights.bin")
    (old / "model.safetensors").symlink_to("weights.bin")
    load_checkpoint(old)


@pytest.mark.parametrize("length", [0, 7, 8, 2**31, 2**63])
def test_hostile_headers_of_weights_are_one_typed_error(old: Path, length: int) -> None:
    content = (old / "model.safetensors").read_bytes()
    for damaged in (struct.pack("<Q", length) + content[8:], content[:1000], content[:-1], content + b"\0"):
        (old / "model.safetensors").write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged.*restore"):
            load_checkpoint(old)


def test_weights_far_larger_than_the_model_are_not_read(old: Path) -> None:
    with (old / "model.safetensors").open("r+b") as file:
        file.truncate(2**40)  # a hole: it takes no space
    with pytest.raises(CheckpointError, match=r"model\.safetensors: more than the \d+ bytes"):
        load_checkpoint(old)


def _leaves(data: dict[str, object], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    return [
        leaf
        for key, value in data.items()
        for leaf in (_leaves(value, (*path, key)) if isinstance(value, dict) else [(*path, key)])
    ]


@pytest.mark.parametrize("path", _leaves(asdict(SMALL)), ids=".".join)
def test_impossible_sizes_are_refused_before_anything_is_built(old: Path, path: tuple[str, ...]) -> None:
    """No value ends in anything but an error of our own, or in a model; none takes long or much memory."""
    for value in (1e308, float("nan"), -1, 0, 100_000, 10**30, None, True, [], {}, "../../etc/passwd"):
        config = asdict(SMALL)
        place = config
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        (old / "config.json").write_text(json.dumps(config))
        with suppress(CheckpointError):
            load_checkpoint(old)


def test_loading_imports_only_what_it_needs(small_checkpoint: Path) -> None:
    """A robot's start pays for every import: beside torch and NumPy themselves these packages and no others."""
    script = (
        "import sys; from pathlib import Path; import numpy, torch; before = set(sys.modules)\n"
        "from wav_models.checkpoint import load_checkpoint\n"
        f"load_checkpoint(Path({str(small_checkpoint)!r}))\n"
        "new = [name.split('.') for name in set(sys.modules) - before]\n"
        "packages = {top for top, *_ in new} - set(sys.stdlib_module_names)\n"
        "parts = {'.'.join(name[:2]) for name in new if name[0] == 'torch'}\n"
        "print(sorted(packages - {'numpy', 'torch'}), sorted(parts - {'torch.utils'}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['safetensors', 'wav_models'] []"
