"""Shows what the policy imagines, off the control path: decoded frames, a montage, all futures of the last plan,
gripper paths, values and scores.

Everything happens in threads of its own, at a low rate and for a bounded share of the time, and only for topics that
somebody listens to. The threads do not run at a lower priority: one that lost its processor while it held the
interpreter's lock would hold up planning.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

import cv2
import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import Float32MultiArray
from visualization_msgs.msg import MarkerArray

from wav_models.types import ImageArray, Observation, Plan
from wav_policy.nodes.messages import plan_messages
from wav_policy.nodes.messages.images import message_from_rgb
from wav_policy.nodes.messages.joint_state import seconds_to_stamp
from wav_policy.policy.imagined_futures import contact_sheet
from wav_policy.policy.imagined_motion import ImaginedMotion
from wav_policy.policy.observation import NotReady
from wav_policy.policy.planning_worker import Policy
from wav_policy.policy.playback import Playback, TimedFrame
from wav_policy.policy.rate_limit import RateLimiter

MONTAGE_TOPIC: Final = "imagined/montage"
FUTURES_TOPIC: Final = "imagined/futures"
_MONTAGE_SIZE: Final = 160
"""Edge of a picture in the montage [px]."""
SHARE: Final = 0.25
"""Of the time, in which the networks imagine beside a plan in the making: what planning can lose to it is bounded."""
FUTURES_SHARE: Final = 0.1
"""The same, for all futures of a plan."""
_LIFETIME: Final = 2.0
"""Of markers, in periods: those of a policy that has ended do not stay."""


def image_topic(view: str) -> str:
    """Topic of the imagined frames of one view."""
    return f"imagined/{view}/image_raw"


class ImaginationPublisher:
    """Publishes what the newest plan imagines; frames are decoded at most `rate` times a second.

    Every frame is published when its time comes: header.stamp is the time it imagines, and the montage sets what the
    cameras see at that moment above what had been imagined of it.

    Args:
        node: owner of the publishers.
        policy: its `imagine`, `futures` and `alternatives` are called while another thread plans.
        observe: the current observation, for the montage; raises NotReady.
        rate: of decoding [Hz].
        num_alternatives: other elites whose gripper paths are shown beside the chosen future's, at most.
    """

    def __init__(
        self,
        node: Node,
        policy: Policy,
        observe: Callable[[], Observation],
        *,
        rate: float,
        num_alternatives: int = 0,
    ) -> None:
        self._node = node
        self._policy = policy
        self._observe = observe
        self._num_alternatives = num_alternatives
        horizon, views = policy.config.horizon, policy.config.embodiment.view_names
        self._frame_times = [offset / horizon.step_hz for offset in policy.config.future_image_offsets]
        self._limiter = RateLimiter(rate, SHARE)
        self._futures_limiter = RateLimiter(rate, FUTURES_SHARE)
        self._condition = threading.Condition()
        self._plan: Plan | None = None
        self._episode = 0
        self._closed = False
        self._images = {view: node.create_publisher(Image, image_topic(view), 1) for view in views}
        self._montage = node.create_publisher(Image, MONTAGE_TOPIC, 1)
        self._futures = node.create_publisher(Image, FUTURES_TOPIC, 1)
        self._value = node.create_publisher(Float32MultiArray, plan_messages.VALUE_TOPIC, 1)
        self._rounds = node.create_publisher(Float32MultiArray, plan_messages.ROUNDS_TOPIC, 1)
        self._markers = node.create_publisher(MarkerArray, plan_messages.MARKERS_TOPIC, 1)
        self._playback = Playback(self._publish_frame, self._now)
        self._thread = threading.Thread(target=self._run, name="imagination")
        self._thread.start()

    def show(self, plan: Plan) -> None:
        """Show this plan as soon as there is time; one that is still waiting is passed over."""
        with self._condition:
            self._plan = plan
            self._condition.notify()

    def clear(self) -> None:
        """Publish nothing more until the next `show`."""
        with self._condition:
            self._plan = None
            self._episode += 1
            self._playback.clear()

    def destroy(self) -> None:
        """End the threads and release the publishers."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.join()
        self._playback.close()
        others = (self._montage, self._futures, self._value, self._rounds, self._markers)
        for publisher in (*self._images.values(), *others):
            self._node.destroy_publisher(publisher)

    def _now(self) -> float:
        return float(self._node.get_clock().now().nanoseconds) * 1e-9

    def _run(self) -> None:
        while (order := self._await_plan()) is not None:
            try:
                self._publish_thoughts(order[0])
                self._imagine(*order)
                self._publish_futures(order[0])
            except Exception as error:  # a picture for people must never stop the robot
                text = f"imagination failed: {type(error).__name__}: {error}"
                self._node.get_logger().error(text, throttle_duration_sec=5.0)

    def _await_plan(self) -> tuple[Plan, int] | None:
        """The newest plan and the episode it is of, once there is one; None when closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._closed or self._plan is not None)
            plan, self._plan = self._plan, None
            return None if self._closed or plan is None else (plan, self._episode)

    def _publish_thoughts(self, plan: Plan) -> None:
        """What costs little, for every plan."""
        if self._value.get_subscription_count():
            self._value.publish(plan_messages.value_message(plan))
        if self._rounds.get_subscription_count():
            self._rounds.publish(plan_messages.rounds_message(plan))

    def _imagine(self, plan: Plan, episode: int) -> None:
        """What costs passes of the networks, as often as that is allowed."""
        if not self._limiter.is_due:
            return
        wants_frames = any(publisher.get_subscription_count() for publisher in (*self._images.values(), self._montage))
        wants_markers = bool(self._markers.get_subscription_count())
        if not wants_frames and not wants_markers:
            return
        with self._limiter.turn():
            if wants_markers:
                self._publish_markers(plan)
            if wants_frames:
                self._play(plan, episode)

    def _publish_futures(self, plan: Plan) -> None:
        """All futures of a round, as often as that is allowed."""
        if not self._futures.get_subscription_count() or not self._futures_limiter.is_due:
            return
        with self._futures_limiter.turn():
            if (futures := self._policy.futures(plan)) is not None:
                stamp = seconds_to_stamp(plan.chunk.stamp)
                self._futures.publish(message_from_rgb(contact_sheet(futures), stamp, "futures"))

    def _publish_markers(self, plan: Plan) -> None:
        others = self._policy.alternatives(plan, self._num_alternatives) if self._num_alternatives else ()
        chosen, lifetime = ImaginedMotion(plan.chunk, plan.values), _LIFETIME * self._limiter.period
        self._markers.publish(plan_messages.markers_message(chosen, others, lifetime))

    def _play(self, plan: Plan, episode: int) -> None:
        frames = np.swapaxes(self._policy.imagine(plan), 0, 1)  # [F, V, H, W, 3]
        stamps = [plan.chunk.stamp + ahead for ahead in self._frame_times]
        film = [TimedFrame(stamp, images) for stamp, images in zip(stamps, frames, strict=True)]
        with self._condition:
            if episode == self._episode:
                self._playback.play(film)

    def _publish_frame(self, frame: TimedFrame) -> None:
        stamp = seconds_to_stamp(frame.stamp)
        for (view, publisher), image in zip(self._images.items(), frame.images, strict=True):
            if publisher.get_subscription_count():
                publisher.publish(message_from_rgb(image, stamp, f"{view}_camera"))
        if self._montage.get_subscription_count() and (real := self._real_images()) is not None:
            self._montage.publish(message_from_rgb(montage(real, frame.images), stamp, "montage"))

    def _real_images(self) -> ImageArray | None:
        try:
            return np.asarray(self._observe().images[:, -1])
        except NotReady:
            return None


def montage(real: ImageArray, imagined: ImageArray) -> ImageArray:
    """Real views [V, H, W, 3] side by side above the imagined ones."""
    size = (_MONTAGE_SIZE, _MONTAGE_SIZE)
    rows: list[Any] = [
        np.hstack([cv2.resize(image, size, interpolation=cv2.INTER_CUBIC) for image in images])
        for images in (real, imagined)
    ]
    return np.vstack(rows)
