"""ROS 2 starts where the home directory cannot be written, is full, or is not known."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wav_models.configuration import ConfigurationError
from wav_policy.bringup.discovery import make_log_directory

UNWRITABLE = "/proc"
"""Nobody makes a file there, root neither."""
START = """
from wav_policy.bringup.discovery import limit_to_this_host
limit_to_this_host()
import rclpy
rclpy.init()
rclpy.create_node("here").get_logger().info("logged")
"""


@pytest.mark.ros
@pytest.mark.parametrize("home", [UNWRITABLE, None, "/dev/null"])
def test_a_node_starts_without_a_home(home: str | None, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "ROS_HOME", "ROS_LOG_DIR")}
    environment |= {"XDG_RUNTIME_DIR": str(tmp_path)} | ({} if home is None else {"HOME": home})
    done = subprocess.run([sys.executable, "-c", START], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (log,) = tmp_path.glob("wav-*/log/*.log")
    assert "logged" in log.read_text()


def test_where_a_log_can_be_written_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ROS_LOG_DIR", "ROS_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    make_log_directory()
    assert "ROS_LOG_DIR" not in os.environ
    assert list((tmp_path / ".ros" / "log").iterdir()) == []


@pytest.mark.parametrize("name", ["ROS_LOG_DIR", "ROS_HOME"])
def test_a_place_that_was_asked_for_is_used_or_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROS_LOG_DIR", raising=False)
    monkeypatch.setenv(name, str(tmp_path))
    make_log_directory()
    monkeypatch.setenv(name, f"{UNWRITABLE}/logs")
    with pytest.raises(ConfigurationError, match="set ROS_LOG_DIR"):
        make_log_directory()
