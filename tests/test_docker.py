"""The images install what README installs."""

from __future__ import annotations

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
    assert [line for line in lines if line.startswith("onnxruntime")] == ["onnxruntime-gpu>=1.22"]
    assert any(line.startswith("tensorrt") for line in lines)
