"""Teleoperation and recorder: `ros2 launch wav_policy record.launch.py sim:=true dataset:=DIR`.

The same table of nodes with leader arms in place of the policy. `wav record --out DIR sim:=true` starts it where the
launch package is missing, and brings the keyboard; `wav record --attach` brings the keyboard to this launch file.
"""

from pathlib import Path

from launch import LaunchDescription

from wav_policy.bringup.arguments import RECORDING
from wav_policy.bringup.launch_file import describe


def generate_launch_description() -> LaunchDescription:
    """The table for recording."""
    return describe(Path(__file__).name, fixed=RECORDING)
