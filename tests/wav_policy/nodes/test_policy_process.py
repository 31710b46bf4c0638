"""The policy node as a process: how it ends, and with which exit code."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

pytest.importorskip("rclpy")

from tests.wav_policy.nodes.around_policy_node import PATIENCE

pytestmark = pytest.mark.ros


def run_node(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "wav_policy.nodes.policy_node", "--ros-args", *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_process_ends_cleanly_on_a_signal(number: signal.Signals) -> None:
    process = run_node("-p", "checkpoint:=/nonexistent")
    assert process.stderr is not None
    assert "ready to be configured" in process.stderr.readline()
    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert errors == ""


def test_the_process_refuses_a_wrong_parameter_with_exit_code_2() -> None:
    process = run_node("-p", "image_transport:=theora")
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert "Valid: auto, compressed, raw" in errors
