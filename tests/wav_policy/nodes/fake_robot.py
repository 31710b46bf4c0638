"""A process that publishes what a recorder needs: three cameras, joints and targets. SIGUSR1 toggles the head."""

from __future__ import annotations

import array
import signal
import time

import numpy as np
import rclpy
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import String

NAMES = [f"{side}_{name}" for side in ("left", "right") for name in (*(f"joint{i}" for i in range(1, 7)), "gripper")]
SIZES = {"head": (60, 106), "left_wrist": (60, 80), "right_wrist": (60, 80)}


def picture(size: tuple[int, int], step: int) -> array.array[int]:
    """Coarse noise: something for the encoder to do, but not too much."""
    height, width = size
    coarse = np.random.default_rng(step).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    return array.array("B", coarse.repeat(4, axis=0).repeat(4, axis=1)[:height, :width].tobytes())


def main() -> None:
    rclpy.init()
    node = rclpy.create_node("fake_robot")
    cameras = {view: node.create_publisher(Image, f"{view}/image_raw", qos_profile_sensor_data) for view in SIZES}
    optics = {view: node.create_publisher(CameraInfo, f"{view}/camera_info", 1) for view in ("head", "left_wrist")}
    topics = ("joint_states", "joint_targets")
    joints = [node.create_publisher(JointState, topic, qos_profile_sensor_data) for topic in topics]
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    node.create_publisher(String, "instruction", latched).publish(String(data="stack the plates"))
    has_head = [True]
    signal.signal(signal.SIGUSR1, lambda *_: has_head.append(not has_head.pop()))
    pictures = {view: [picture(size, step) for step in range(8)] for view, size in SIZES.items()}
    tick = 0
    while rclpy.ok():
        stamp = node.get_clock().now().to_msg()
        position = [0.01 * np.sin(0.02 * tick)] * 14
        for topic, publisher in zip(topics, joints, strict=True):
            effort = [0.1 * joint for joint in range(14)] if topic == "joint_states" else []
            message = JointState(name=NAMES[::-1], position=position, effort=effort[::-1])
            message.header.stamp = stamp
            publisher.publish(message)
        for view, (height, width) in SIZES.items() if tick % 4 == 0 else ():
            if view == "head" and not has_head[0]:
                continue
            data = pictures[view][tick // 4 % 8]
            image = Image(height=height, width=width, encoding="rgb8", step=3 * width, data=data)
            image.header.stamp = stamp
            cameras[view].publish(image)
            if view in optics:  # the left wrist's driver talks nonsense
                info = CameraInfo(height=height, width=width, distortion_model="plumb_bob", d=[0.1] * 5)
                info.k[0] = 80.0 if view == "head" else float("nan")
                info.header.frame_id = f"{view}_optical"
                optics[view].publish(info)
        tick += 1
        time.sleep(0.015)


if __name__ == "__main__":
    main()
