"""Shows the chosen future: decoded frames on `imagined/<view>/image_raw`, at a low rate, off the control path."""

from __future__ import annotations

import threading
import time

from rclpy.node import Node
from sensor_msgs.msg import Image

from wav_models.types import VIEWS, ImageArray, Plan
from wav_policy.nodes.images import message_from_rgb
from wav_policy.nodes.joint_state import seconds_to_stamp
from wav_policy.nodes.planning_worker import Policy


class ImaginationPublisher:
    """Decodes the newest plan's future in a thread of its own, at most `rate` times a second and only for listeners.

    Frames of one future are published in the order of time; header.stamp is the time a frame imagines.

    Args:
        node: owner of the publishers.
        policy: its `imagine` is called while another thread plans.
        rate: [Hz]
    """

    def __init__(self, node: Node, policy: Policy, rate: float) -> None:
        self._node = node
        self._policy = policy
        horizon = policy.config.horizon
        self._frame_times = [offset / horizon.step_hz for offset in horizon.future_offsets]
        self._period = 1.0 / rate
        self._next_time = 0.0
        self._condition = threading.Condition()
        self._plan: Plan | None = None
        self._closed = False
        self._publishers = [node.create_publisher(Image, f"imagined/{view}/image_raw", 1) for view in VIEWS]
        self._thread = threading.Thread(target=self._run, name="imagination")
        self._thread.start()

    def show(self, plan: Plan) -> None:
        """Ask for this plan to be decoded, unless nobody listens or the last one is too recent."""
        if not any(publisher.get_subscription_count() for publisher in self._publishers):
            return
        with self._condition:
            if time.monotonic() >= self._next_time:
                self._next_time = time.monotonic() + self._period
                self._plan = plan
                self._condition.notify()

    def clear(self) -> None:
        """Publish nothing more until the next `show`."""
        with self._condition:
            self._plan = None

    def destroy(self) -> None:
        """End the thread and release the publishers."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.join()
        for publisher in self._publishers:
            self._node.destroy_publisher(publisher)

    def _run(self) -> None:
        while (plan := self._await_plan()) is not None:
            try:
                frames = self._policy.imagine(plan)
            except Exception as error:  # a picture for people must never stop the robot
                self._node.get_logger().error(f"imagination failed: {type(error).__name__}: {error}")
                self.clear()
                continue
            with self._condition:
                if self._plan is plan:
                    self._publish(plan, frames)
                    self._plan = None

    def _await_plan(self) -> Plan | None:
        with self._condition:
            self._condition.wait_for(lambda: self._closed or self._plan is not None)
            return None if self._closed else self._plan

    def _publish(self, plan: Plan, frames: ImageArray) -> None:
        """frames: uint8, shape [V, F_fut, H, W, 3]."""
        for frame_index, frame_time in enumerate(self._frame_times):
            stamp = seconds_to_stamp(plan.chunk.stamp + frame_time)
            for view, publisher, view_frames in zip(VIEWS, self._publishers, frames, strict=True):
                publisher.publish(message_from_rgb(view_frames[frame_index], stamp, f"{view}_camera"))
