"""Three cameras and two arms as `wav bench cameras` needs them: `python -m wav_policy.experiments.camera_streams ...`.

Publishes from when policy and recorder both listen until it is told to end, and says then how many pictures it sent.
"""

from __future__ import annotations

import array
import json
import sys
import threading
import time
from typing import Any, Final

import cv2
import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image, JointState

from wav_models.signals import ignore_ends, on_end
from wav_policy.bringup.discovery import limit_to_this_host
from wav_policy.nodes.messages.images import message_from_rgb
from wav_policy.nodes.messages.qos import SENSOR_DATA
from wav_policy.policy.observation import IMAGE_TOPICS
from wav_policy.robot.joints import JOINT_DIM, JOINT_NAMES

JPEG: Final = "jpeg"
_JOINT_RATE: Final = 200.0  # Hz
_NUM_PICTURES: Final = 8
"""Each with noise of its own: none is like the one before."""
_NOISE: Final = 3.0
"""Standard deviation of a sensor's noise, of 255."""
_LISTENERS: Final = 2
_SETTLED: Final = 1.0
"""Until the listeners know of us, too, and have the last picture [s]."""


def pictures(width: int, height: int, encoding: str) -> list[Image | CompressedImage]:
    """Messages of soft shapes with noise, rgb8 or JPEG of quality 90."""
    rng = np.random.default_rng(0)
    shapes = cv2.resize(
        rng.integers(0, 256, (12, 16, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
    )
    messages = []
    for _ in range(_NUM_PICTURES):
        rgb = np.clip(shapes + rng.normal(0.0, _NOISE, shapes.shape), 0, 255).astype(np.uint8)
        if encoding == JPEG:
            data = cv2.imencode(".jpg", rgb, (cv2.IMWRITE_JPEG_QUALITY, 90))[1].tobytes()
            messages.append(CompressedImage(format="jpeg", data=array.array("B", data)))
        else:
            messages.append(message_from_rgb(rgb, Time()))
    return messages


def publish(
    namespace: str, width: int, height: int, rate: float, encoding: str, ended: threading.Event
) -> dict[str, Any]:
    """Until `ended` is set; pictures sent by topic, and bytes of one."""
    node = Node("cameras", namespace=namespace)
    messages = pictures(width, height, encoding)
    suffix = "/compressed" if encoding == JPEG else ""
    cameras = {
        topic: node.create_publisher(type(messages[0]), topic + suffix, SENSOR_DATA) for topic in IMAGE_TOPICS.values()
    }
    joints = [node.create_publisher(JointState, topic, SENSOR_DATA) for topic in ("joint_states", "joint_targets")]
    state = JointState(name=list(JOINT_NAMES), position=[0.0] * JOINT_DIM, effort=[0.0] * JOINT_DIM)
    sent = dict.fromkeys(cameras, 0)

    def send(publisher: Publisher, message: Any) -> None:
        message.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)

    while not ended.wait(0.1) and any(each.get_subscription_count() < _LISTENERS for each in cameras.values()):
        pass
    ended.wait(_SETTLED)
    # Cameras are not in step: each begins a third of a period after the one before.
    start = time.monotonic()
    due = {topic: start + place / (len(cameras) * rate) for place, topic in enumerate(cameras)}
    next_joints = start
    while not ended.wait(max(0.0, min(next_joints, *due.values()) - time.monotonic())):
        now = time.monotonic()
        if next_joints <= now:
            for publisher in joints:
                send(publisher, state)
            next_joints += 1.0 / _JOINT_RATE
        for topic, publisher in cameras.items():
            if due[topic] <= now:
                send(publisher, messages[sent[topic] % _NUM_PICTURES])
                sent[topic] += 1
                due[topic] += 1.0 / rate
    time.sleep(_SETTLED)
    return {"published": sent, "bytes": len(messages[0].data)}


def main() -> None:
    """Of the process."""
    ended = threading.Event()
    on_end(ended.set)
    namespace, width, height, rate, encoding = sys.argv[1:]
    limit_to_this_host()
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    print(json.dumps(publish(namespace, int(width), int(height), float(rate), encoding, ended)), flush=True)
    ignore_ends()
    rclpy.shutdown()


if __name__ == "__main__":
    main()
