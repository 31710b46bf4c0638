# The robot: ROS 2 Jazzy, CUDA through PyTorch's own libraries, TensorRT, camera drivers.
#   docker build -f docker/Dockerfile.robot -t wav-policy:robot .
#   docker compose -f docker/compose.yaml up robot
# The host needs an NVIDIA driver and the NVIDIA container toolkit, and brings can_left and can_right up (docs/docker.md).
FROM ros:jazzy-ros-base

RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        can-utils iproute2 python3-colcon-common-extensions python3-pip python3-venv \
        ros-jazzy-control-msgs ros-jazzy-cv-bridge ros-jazzy-realsense2-camera ros-jazzy-robot-state-publisher \
        ros-jazzy-rviz2 ros-jazzy-usb-cam \
    && rm -rf /var/lib/apt/lists/*

# The number of the host's user, whose checkpoints and datasets are mounted; Ubuntu's image gives 1000 to one of its own.
# video: /dev/video*; plugdev: RealSense over USB; dialout: CAN adapters that speak slcan.
ARG USER_ID=1000
RUN if id ubuntu >/dev/null 2>&1; then userdel --remove ubuntu; fi \
    && useradd --create-home --uid ${USER_ID} --groups video,plugdev,dialout wav \
    && install -d -o wav -g wav /home/wav/wav_policy
WORKDIR /home/wav/wav_policy
COPY --chown=wav . .
USER wav

ENV PIP_NO_CACHE_DIR=1
RUN docker/install.sh gpu
ENV PATH="/home/wav/wav_policy/.venv-ros/bin:$PATH"

COPY --chmod=755 docker/entrypoint.sh /entrypoint.sh
ENTRYPOINT ["/entrypoint.sh"]
# Says that checkpoint:=DIR is missing; compose.yaml names one.
CMD ["ros2", "launch", "wav_policy", "piper_bimanual.launch.py"]
