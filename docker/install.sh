#!/bin/bash
# Python environment and colcon workspace for ROS 2 Jazzy on Ubuntu 24.04: docker/install.sh [EXTRA ...]
#   docker/install.sh gpu        with the packages of pyproject.toml's [gpu]
# Makes .venv-ros, not the .venv of `make setup`, whose wheels bring a second build of ROS 2. docker/Dockerfile.robot
# runs this, and so does who installs without Docker.
set -eo pipefail
cd "$(dirname "$0")/.."
python=.venv-ros/bin/python

ros=${AMENT_PREFIX_PATH:+sourced}
if [ ! "$ros" ] && [ ! -f /opt/ros/jazzy/setup.bash ]; then
    echo "docker/install.sh: no ROS 2 is sourced, and /opt/ros/jazzy/setup.bash is missing (without ROS 2: make setup)" >&2
    exit 1
fi
if ! python3 -c 'import colcon_core, ensurepip' 2>/dev/null; then
    echo "docker/install.sh: sudo apt install python3-colcon-common-extensions python3-venv ros-jazzy-cv-bridge" >&2
    exit 1
fi

files=$(mktemp -d)
trap 'rm -rf "$files"' EXIT

# Ubuntu's Python takes no packages from pip, and colcon writes the Python it runs with into every node: a venv that sees
# apt's colcon. rclpy and the messages come from the ROS installation: no ros-* wheels, and --no-deps for this project,
# which asks for them.
python3 -m venv --system-site-packages .venv-ros
grep -v -E '^(ros-|cv-bridge)' constraints.txt > "$files/constraints.txt"
"$python" docker/requirements.py "$@" > "$files/requirements.txt"

# setuptools: torch wants 77.0.3; 80 and later have no `setup.py develop --editable`, without which colcon's
# --symlink-install ends with an error or installs copies.
"$python" -m pip install -c "$files/constraints.txt" -r "$files/requirements.txt" 'setuptools>=77.0.3,<80'
"$python" -m pip install --no-deps -e .

# --symlink-install: what is edited in config/ is what the nodes read.
[ "$ros" ] || source /opt/ros/jazzy/setup.bash
cd ros2_ws
"../$python" -m colcon build --symlink-install
