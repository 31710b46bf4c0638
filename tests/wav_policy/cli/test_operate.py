"""`wav stop` and its siblings, on simulated arms, as an operator walks through them after an emergency stop."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy")

from lifecycle_msgs.msg import Transition  # noqa: E402

from tests.wav_policy.nodes.arms_process import Probe, Robot  # noqa: E402

pytestmark = pytest.mark.ros


def wav(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wav_policy.cli", *arguments]
    return subprocess.run(
        command, cwd=repository, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90, check=False
    )


@pytest.fixture
def probe() -> Iterator[Probe]:
    rclpy.init()
    yield Probe()
    rclpy.shutdown()


def test_without_a_system_nothing_is_confirmed(repository: Path) -> None:
    done = wav(repository, "stop")
    assert done.returncode == 1
    assert "there is no service /piper/stop in ROS domain" in done.stderr
    assert "NOT CONFIRMED" in done.stderr
    assert "power switch" in done.stderr


def test_the_way_back_from_an_emergency_stop(repository: Path, tmp_path: Path, probe: Probe) -> None:
    robot = Robot(tmp_path, repository)
    try:
        for arm in robot.arms:
            arm.start()
        assert probe.change_state(Transition.TRANSITION_CONFIGURE)
        assert probe.change_state(Transition.TRANSITION_ACTIVATE)

        def walk(*arguments: str, code: int = 0) -> str:
            done = wav(repository, *arguments)
            assert done.returncode == code, (arguments, done.stdout, done.stderr, robot.log.read_text())
            return done.stdout + done.stderr

        assert "control loop: holding" in walk("hold")
        assert "at home" in walk("home")
        said = walk("stop")
        assert "left arm: emergency stop\n" in said
        assert "right arm: emergency stop\n" in said
        assert "control loop: stopped: piper/stop\n" in said
        assert "piper/enable refused: stopped (piper/stop): support the arms" in walk("enable", code=1)
        assert "give --supported" in walk("reset", code=2)
        assert "left and right lost power" in walk("reset", "--supported")
        said = walk("enable")
        assert "left arm: enabled\n" in said
        assert "right arm: enabled\n" in said
        assert all(plant.powered for plant in robot.plants)
    finally:
        robot.close()
