# The robot: ROS 2 Jazzy, CUDA through PyTorch's own libraries, TensorRT.
#   docker build -f docker/Dockerfile.robot -t wav-policy:robot .
#   docker run --rm -it --gpus all --network host --ipc host wav-policy:robot \
#       ros2 launch wav_policy piper_bimanual.launch.py checkpoint:=/checkpoints/bowl
# --network host: SocketCAN interfaces and DDS of the host; bring can_left and can_right up on the host first (README).
# --ipc host: shared-memory transport to camera drivers in other containers.
# The host needs an NVIDIA driver and the NVIDIA container toolkit.
FROM ros:jazzy-ros-base

RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        can-utils iproute2 python3-colcon-common-extensions python3-pip python3-venv \
        ros-jazzy-cv-bridge ros-jazzy-rviz2 \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home wav
WORKDIR /home/wav/wav_policy
COPY --chown=wav . .
USER wav

# rclpy and the messages come from the ROS installation: --no-deps keeps their wheels out.
RUN python3 -m venv --system-site-packages .venv \
    && grep -v -E '^(ros-|cv-bridge)' constraints.txt > /tmp/constraints.txt \
    && .venv/bin/python docker/requirements.py '[gpu]' > /tmp/requirements.txt \
    && .venv/bin/pip install --no-cache-dir -c /tmp/constraints.txt -r /tmp/requirements.txt \
    && .venv/bin/pip install --no-cache-dir --no-deps -e .

SHELL ["/bin/bash", "-c"]
RUN cd ros2_ws && source /opt/ros/jazzy/setup.bash \
    && ../.venv/bin/python -m colcon build --symlink-install

COPY --chmod=755 docker/entrypoint.sh /entrypoint.sh
ENTRYPOINT ["/entrypoint.sh"]
CMD ["ros2", "launch", "wav_policy", "piper_bimanual.launch.py"]
