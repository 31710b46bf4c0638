#!/bin/bash
# ROS 2, the workspace, then the command.
set -e
source /opt/ros/jazzy/setup.bash
source /home/wav/wav_policy/ros2_ws/install/setup.bash
exec "$@"
