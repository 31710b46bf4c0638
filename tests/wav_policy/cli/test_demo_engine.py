from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from wav_policy.cli.demo_engine import compile_networks


def write(file: Path, written_at: float) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    os.utime(file, (written_at, written_at))


def test_networks_are_compiled_once_for_every_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def export(command: list[str], **_: object) -> SimpleNamespace:
        commands.append(command)
        write(tmp_path / "engines" / "int8" / "manifest.json", 2000.0 + len(commands))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", export)
    write(tmp_path / "model.safetensors", 1000.0)
    for _ in range(2):
        compile_networks(tmp_path)
    assert len(commands) == 1
    assert str(tmp_path) in commands[0]
    write(tmp_path / "model.safetensors", 3000.0)
    compile_networks(tmp_path)
    assert len(commands) == 2
