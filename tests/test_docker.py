"""The images install what README installs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"


def test_every_service_builds_from_a_file_that_exists() -> None:
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    assert set(services) == {"robot", "sim"}
    for service in services.values():
        context = DOCKER / service["build"]["context"]
        assert (context / service["build"]["dockerfile"]).is_file()
    assert services["robot"]["network_mode"] == "host"


@pytest.mark.parametrize("name", ["Dockerfile.cpu", "Dockerfile.robot"])
def test_images_do_not_run_as_root(name: str) -> None:
    steps = (DOCKER / name).read_text().splitlines()
    assert [step for step in steps if step.startswith("USER ")][-1] == "USER wav"
    (directory,) = (step.split()[1] for step in steps if step.startswith("WORKDIR "))
    (made,) = (line for line in steps if f"install -d -o wav -g wav {directory}" in line)
    assert steps.index(made) < steps.index(f"WORKDIR {directory}")  # which would make it root's


def test_the_cpu_image_is_made_by_the_makefile() -> None:
    steps = (DOCKER / "Dockerfile.cpu").read_text()
    for target in ("system-packages", "setup"):
        assert f"RUN make {target}" in steps
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the robot image's Python is 3.12; tomllib came with 3.11")
def test_the_robot_image_takes_ros_from_ros_and_one_onnxruntime() -> None:
    command = [sys.executable, str(DOCKER / "requirements.py"), "[gpu]"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert not [line for line in lines if line.startswith(("ros-", "cv-bridge"))]
    assert [line for line in lines if line.startswith("onnxruntime")] == [
        "onnxruntime-gpu>=1.27; python_version >= '3.11'"
    ]
    assert any(line.startswith("tensorrt") for line in lines)


RECORDER = """#!/bin/sh
# A Python that notes what it is asked to do instead of doing it.
here="$(pwd)"
case "$*" in
    "-m venv --system-site-packages "*)
        mkdir -p "$4/bin" && cp "$0" "$4/bin/python"; echo "$here: $*" >> "$LOG" ;;
    docker/requirements.py*) exec "$REAL" "$@" ;;
    "-m pip install -c"*)
        echo "$here: $*" >> "$LOG"; cp "$5" "$LOG.constraints"; cp "$7" "$LOG.requirements" ;;
    *) echo "$here: $*" >> "$LOG" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What docker/install.sh reads, in a place of its own, with a `python3` that only notes."""
    directory = tmp_path / "checkout"
    for file in ("docker/install.sh", "docker/requirements.py", "constraints.txt", "pyproject.toml"):
        (directory / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, directory / file)
    (directory / "ros2_ws").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").write_text(RECORDER)
    (tmp_path / "bin/python3").chmod(0o755)
    return directory


def install(checkout: Path, *extras: str, **environment: str) -> subprocess.CompletedProcess[str]:
    outside = {name: value for name, value in os.environ.items() if name != "AMENT_PREFIX_PATH"}
    path = f"{checkout.parent / 'bin'}:{os.environ['PATH']}"
    outside |= {"PATH": path, "REAL": sys.executable, "LOG": str(checkout.parent / "log"), **environment}
    return subprocess.run(
        [checkout / "docker/install.sh", *extras], env=outside, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the robot image's Python is 3.12; tomllib came with 3.11")
def test_one_script_makes_the_environment_of_the_image_and_of_the_readme(checkout: Path) -> None:
    installed = install(checkout, "gpu", AMENT_PREFIX_PATH="/opt/ros/jazzy")
    assert installed.returncode == 0, installed.stderr
    log = checkout.parent / "log"
    _, venv, dependencies, project, workspace = log.read_text().splitlines()  # the first looks for colcon
    assert venv.endswith("-m venv --system-site-packages .venv-ros")
    assert dependencies.endswith(" setuptools>=77.0.3,<80")
    assert project == f"{checkout}: -m pip install --no-deps -e ."
    assert workspace == f"{checkout}/ros2_ws: -m colcon build --symlink-install"
    for written in ("constraints", "requirements"):
        lines = Path(f"{log}.{written}").read_text().splitlines()
        assert lines
        assert not [line for line in lines if line.startswith(("ros-", "cv-bridge"))], "of the ROS installation"
    assert "RUN docker/install.sh gpu" in (DOCKER / "Dockerfile.robot").read_text()
    assert "docker/install.sh" in (ROOT / "README.md").read_text()


@pytest.mark.skipif(Path("/opt/ros/jazzy/setup.bash").exists(), reason="ROS 2 is here")
def test_without_ros_nothing_is_installed(checkout: Path) -> None:
    installed = install(checkout)
    assert installed.returncode == 1
    assert "/opt/ros/jazzy/setup.bash is missing" in installed.stderr
    assert not (checkout.parent / "log").exists()


def command_of_the_robot(**variables: str) -> list[str]:
    """The command of the service `robot`, with the variables filled in as compose does it."""
    text = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]["robot"]["command"]
    return shlex.split(re.sub(r"\$\{(\w+):-(.*?)\}", lambda match: variables.get(match[1], match[2]), text))


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "WAV_CHECKPOINT"),
        ({"WAV_INSTRUCTION": "fold the towel"}, "WAV_CHECKPOINT"),
        ({"WAV_CHECKPOINT": "towel"}, "WAV_INSTRUCTION"),
    ],
)
def test_what_the_robot_lacks_is_named_when_it_starts(variables: dict[str, str], name: str) -> None:
    command = ["bash", str(DOCKER / "entrypoint.sh"), *command_of_the_robot(**variables)]
    started = subprocess.run(command, capture_output=True, text=True, check=False)
    assert started.returncode == 2
    assert f"set {name} to" in started.stderr


def test_no_command_of_compose_needs_variables() -> None:
    """`${NAME:?...}` would refuse `down`, and the simulation, as well."""
    assert not re.findall(r"\$\{\w+:?\?", (DOCKER / "compose.yaml").read_text())
    complete = command_of_the_robot(WAV_CHECKPOINT="towel", WAV_INSTRUCTION="fold the towel")
    assert complete[-2:] == ["checkpoint:=/checkpoints/towel", "instruction:=fold the towel"]


def test_the_robot_reads_the_configuration_of_the_checkout() -> None:
    volumes = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]["robot"]["volumes"]
    (directory,) = re.findall(r"^WORKDIR (.+)$", (DOCKER / "Dockerfile.robot").read_text(), re.MULTILINE)
    assert f"../config:{directory}/config:ro" in volumes
