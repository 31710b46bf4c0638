#!/bin/bash
# ROS 2, the workspace, then the command.
set -e
for argument in "$@"; do
    case "$argument" in # as compose.yaml fills them in; `ros2 launch` would only call the second one malformed
        checkpoint:=/checkpoints/)
            echo "No checkpoint: set WAV_CHECKPOINT to the name of a directory in ./checkpoints (docs/docker.md)" >&2
            exit 2
            ;;
        instruction:=)
            echo "No instruction: set WAV_INSTRUCTION to the command in words (docs/docker.md)" >&2
            exit 2
            ;;
    esac
done
source /opt/ros/jazzy/setup.bash
source /home/wav/wav_policy/ros2_ws/install/setup.bash
exec "$@"
