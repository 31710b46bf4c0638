"""Bimanual Piper with the WAV policy: `ros2 launch wav_policy piper_bimanual.launch.py sim:=true`.

Arguments and nodes come from `wav_policy.bringup`; `wav up` starts the same table where the launch package is missing.
"""

from pathlib import Path

from launch import LaunchDescription

from wav_policy.bringup.launch_file import describe


def generate_launch_description() -> LaunchDescription:
    """The whole table."""
    return describe(Path(__file__).name)
