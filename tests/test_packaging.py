"""Wheel and source distribution: what is in them, and that an installation works from anywhere."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("setuptools.build_meta", reason="no setuptools here")

ROOT = Path(__file__).parents[1]
SHARED = ("config/", "launch/", "checkpoints/wav-tiny/")
"""Folders of the checkout that an installation has in share/wav_policy."""
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"
LOOK_AROUND = """
from wav_policy.bringup.arguments import DEFAULT_CHECKPOINT
from wav_policy.bringup.node_table import launches
from wav_policy.bringup.arguments import parse
from wav_models.project_files import resolve
from wav_policy.monitor.documents import bar_document, view_document
import wav_policy
assert resolve(DEFAULT_CHECKPOINT).joinpath("model.safetensors").is_file()
assert "EMERGENCY STOP" in bar_document(False) and "createImageBitmap" in view_document()
assert len(list(launches(parse({"sim": "true", "monitor": "true"})))) > 4
print(wav_policy.__file__)
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / ".git").exists(), reason="tells what belongs there by what git tracks"),
]


def tracked() -> list[str]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in names.split("\0") if name and (ROOT / name).exists()]


def build(kind: str, source: Path, target: Path) -> Path:
    """`kind` is "build_wheel" or "build_sdist"."""
    target.mkdir(exist_ok=True)
    command = [sys.executable, "-c", BUILD, kind, str(target)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a copy of what is tracked."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in tracked():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    return build("build_sdist", copy, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source distribution, as an index would have it."""
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    (source,) = unpacked.iterdir()
    return build("build_wheel", source, tmp_path_factory.mktemp("wheel"))


def test_the_wheel_has_everything_that_runs_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    data = f"{'-'.join(wheel.name.split('-')[:2])}.data/data/"
    expected = {name for name in tracked() if name.startswith(("wav_models/", "wav_policy/"))}
    expected |= {f"{data}share/wav_policy/{name}" for name in tracked() if name.startswith(SHARED)}
    programs = {name for name in names if name.startswith(f"{data}lib/wav_policy/")}
    ament = {f"{data}share/ament_index/resource_index/packages/wav_policy", f"{data}share/wav_policy/package.xml"}
    assert len(programs) == len(list((ROOT / "ros2_ws/executables").iterdir()))
    assert names == expected | programs | ament
    assert {"wav_models/py.typed", "wav_policy/monitor/view.js"} <= names


def test_an_installation_works_from_anywhere(wheel: Path, tmp_path: Path) -> None:
    """Dependencies are this environment's; the project itself is not taken from it."""
    environment = tmp_path / "venv"
    venv.create(environment, symlinks=True)
    python = environment / "bin" / "python"
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "AMENT_PREFIX_PATH")}

    def run(*command: object) -> str:
        words = [str(word) for word in command]
        done = subprocess.run(words, cwd=tmp_path, env=clean, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(sys.executable, *("-m", "pip", "--python", python), *("install", "--quiet", "--no-deps", "--no-index"), wheel)
    packages = environment / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))  # not before: pip would see them
    assert Path(run(python, "-c", LOOK_AROUND).strip()).is_relative_to(packages)
    assert run(environment / "bin" / "wav", "--version").startswith("wav 0.")
