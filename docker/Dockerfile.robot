# The robot: ROS 2 Jazzy, CUDA through PyTorch's own libraries, TensorRT, camera drivers.
#   docker build -f docker/Dockerfile.robot -t wav-policy:robot .
#   docker compose -f docker/compose.yaml up robot
# The host needs an NVIDIA driver and the NVIDIA container toolkit, and brings can_left and can_right up (docs/docker.md).
FROM ros:jazzy-ros-base

RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        can-utils iproute2 python3-colcon-common-extensions python3-pip python3-venv \
        ros-jazzy-cv-bridge ros-jazzy-realsense2-camera ros-jazzy-robot-state-publisher ros-jazzy-rviz2 \
        ros-jazzy-usb-cam \
    && rm -rf /var/lib/apt/lists/*

# video: /dev/video*; plugdev: RealSense over USB.
RUN useradd --create-home --groups video,plugdev wav
WORKDIR /home/wav/wav_policy
COPY --chown=wav . .
USER wav

# rclpy and the messages come from the ROS installation: --no-deps keeps their wheels out.
ENV PIP_NO_CACHE_DIR=1
RUN python3 -m venv --system-site-packages .venv \
    && grep -v -E '^(ros-|cv-bridge)' constraints.txt > /tmp/constraints.txt \
    && .venv/bin/python docker/requirements.py '[gpu]' > /tmp/requirements.txt \
    && .venv/bin/pip install -c /tmp/constraints.txt -r /tmp/requirements.txt \
    && .venv/bin/pip install --no-deps -e .

SHELL ["/bin/bash", "-c"]
RUN cd ros2_ws && source /opt/ros/jazzy/setup.bash \
    && ../.venv/bin/python -m colcon build --symlink-install

COPY --chmod=755 docker/entrypoint.sh /entrypoint.sh
ENTRYPOINT ["/entrypoint.sh"]
CMD ["ros2", "launch", "wav_policy", "piper_bimanual.launch.py"]
