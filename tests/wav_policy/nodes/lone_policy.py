"""Run by `test_piper_node.py` in a process of its own: a steady motion, until it is killed."""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import rclpy
from trajectory_msgs.msg import JointTrajectory

from wav_models.types import ActionChunk
from wav_policy.nodes.messages import chunk_topic
from wav_policy.nodes.messages.trajectory import chunk_to_message

start = np.array(json.loads(sys.argv[1]))
rclpy.init()
node = rclpy.create_node("lone_policy")
publisher = node.create_publisher(JointTrajectory, chunk_topic.CHUNK_TOPIC, chunk_topic.OFFERED_QOS)
while publisher.get_subscription_count() == 0:
    time.sleep(0.01)
time.sleep(0.5)
began, due = time.time(), 0.0
while True:
    if time.monotonic() >= due:
        due = time.monotonic() + 0.2
        now = time.time()
        positions = np.tile(start, (16, 1))
        positions[:, 0] += 0.15 * np.sin(3.0 * (now - began + 0.1 * np.arange(1, 17)))
        publisher.publish(chunk_to_message(ActionChunk(positions, now, 0.1)))
    publisher.assert_liveliness()
    time.sleep(chunk_topic.HEARTBEAT_PERIOD)
