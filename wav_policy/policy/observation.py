"""Cameras and joints as they come in -> `Observation` as the model was trained.

Every camera has a `StreamBuffer` of already resized frames (`resize_image`, the function training uses), so cameras may
run at different rates and phases. Memory frames are picked as `wav_models.alignment` has it for training: at the start
of an episode, where nothing is that old, the first frame stands in; in its middle nothing does.

An observation is given only when nothing in it is missing, old, skewed or non-finite; otherwise `NotReady` names the
topic to blame. There is no state to repair: as soon as good messages come again, `assemble` works again, after a gap
once the memory is past it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np

from wav_models.alignment import memory_times
from wav_models.data.images import resize_image
from wav_models.presets import HorizonConfig
from wav_models.types import FloatArray, ImageArray, Observation
from wav_policy.policy.observation_config import ObservationConfig
from wav_policy.policy.stream_buffer import StampLimits, StreamBuffer, is_same_picture
from wav_policy.robot.cameras import VIEWS
from wav_policy.robot.joints import JOINT_NAMES, first_not_finite

JOINT_TOPIC = "joint_states"
INSTRUCTION_TOPIC = "instruction"
IMAGE_TOPICS: Mapping[str, str] = {view: f"{view}/image_raw" for view in VIEWS}


class NotReady(Exception):
    """No observation can be given now.

    Attributes:
        topic: the topic to blame.
        reason: what is wrong with it.
    """

    def __init__(self, topic: str, reason: str) -> None:
        super().__init__(f"{topic}: {reason}")
        self.topic = topic
        self.reason = reason


class ObservationBuffer:
    """Collects messages (from any thread) and assembles observations (in any other).

    Args:
        horizon: memory offsets and step rate of the model.
        image_size: (height, width) the model sees [px].
        config: bounds on age and skew.
        clock: the present on the clock of the stamps [s]; None: no clock is known, as in a recorded stream.
        views: that the model sees, in its order.
        fit_image: makes a frame of any size one of `image_size`, as `resize_image`.
    """

    def __init__(
        self,
        horizon: HorizonConfig,
        image_size: tuple[int, int],
        config: ObservationConfig | None = None,
        clock: Callable[[], float] | None = None,
        views: Sequence[str] = VIEWS,
        fit_image: Callable[[ImageArray, tuple[int, int], ImageArray | None], ImageArray] = resize_image,
    ) -> None:
        self._config = config = config or ObservationConfig()
        self._fit_image = fit_image
        self._clock = clock
        self._horizon = horizon
        self._image_size = image_size
        limits = StampLimits(config.max_stamp_age, config.max_stamp_ahead)
        kept = config.max_image_skew - float(memory_times(0.0, horizon).min()) + config.max_memory_gap
        # 10 % tolerance: a camera at exactly the highest rate jitters around it.
        self._images: dict[str, StreamBuffer[ImageArray]] = {
            view: StreamBuffer(IMAGE_TOPICS[view], kept, limits, 0.9 / config.max_camera_rate, is_same_picture)
            for view in views
        }
        # Frames are resized into rows that are used again once what they hold is forgotten.
        num_rows = math.ceil(kept * config.max_camera_rate / 0.9) + 2
        self._rows = {view: cycle(np.zeros((num_rows, *image_size, 3), np.uint8)) for view in views}
        self._row: dict[str, ImageArray] = {view: next(rows) for view, rows in self._rows.items()}
        kept = config.max_image_age + config.max_memory_gap
        self._joints: StreamBuffer[FloatArray] = StreamBuffer(JOINT_TOPIC, kept, limits, 0.9 / config.max_joint_rate)
        self._lock = threading.Lock()

    @property
    def _streams(self) -> tuple[StreamBuffer[Any], ...]:
        return (*self._images.values(), self._joints)

    def reset(self) -> None:
        """Forget everything: the next frames start a new episode."""
        with self._lock:
            for stream in self._streams:
                stream.clear()

    def _now(self) -> float | None:
        return None if self._clock is None else self._clock()

    def add_image(self, view: str, rgb: ImageArray, stamp: float) -> None:
        """Resize and keep one frame.

        Args:
            view: one of those the model sees.
            rgb: uint8, shape [H, W, 3], any size.
            stamp: capture time [s].
        """
        stream = self._images[view]
        with self._lock:
            if not stream.admits(stamp, self._now()):
                return
            try:
                image = self._fit_image(rgb, self._image_size, self._row[view])
            except ValueError as error:
                stream.reject(str(error))
                return
            stream.append(stamp, image)
            self._row[view] = next(self._rows[view])

    def add_joint_state(self, positions: FloatArray, stamp: float) -> None:
        """Keep one measurement.

        Args:
            positions: shape [14] in the order of `JOINT_NAMES`, rad and m.
            stamp: time of the measurement [s].
        """
        bad = first_not_finite(positions)
        with self._lock:
            if bad is not None:
                self._joints.reject(f"{JOINT_NAMES[bad]} is {positions[bad]}")
            elif self._joints.admits(stamp, self._now()):
                self._joints.append(stamp, np.array(positions, dtype=np.float64))

    def reject_image(self, view: str, reason: str) -> None:
        """Note that a camera's message could not be decoded: the reason is given once its frames are too old."""
        with self._lock:
            self._images[view].reject(reason)

    def reject_joint_state(self, reason: str) -> None:
        """Note an unusable joint message: no observation until the next good one."""
        with self._lock:
            self._joints.reject(reason)

    def note_joint_state(self, reason: str) -> None:
        """Note a joint message that is not about our joints: the reason is given where none about them come."""
        with self._lock:
            self._joints.note(reason)

    def ages(self, now: float) -> dict[str, float]:
        """Age of the newest usable message of every topic, inf where there is none [s]."""
        with self._lock:
            return {stream.topic: now - stream.newest for stream in self._streams}

    def dropped(self) -> dict[str, int]:
        """Messages of every topic whose stamp was not believed."""
        with self._lock:
            return {stream.topic: stream.num_dropped for stream in self._streams}

    def require_fresh(self, now: float) -> None:
        """Make sure that every source is alive: what was planned on it may be executed.

        Raises:
            NotReady: a camera is frozen, or the newest message of a topic is too old; names the topic.
        """
        with self._lock:
            self._check_images(now)
            _check_age(self._joints, now, self._config.max_joint_age)

    def is_fresh(self, now: float) -> bool:
        """Whether `require_fresh` is content."""
        try:
            self.require_fresh(now)
        except NotReady:
            return False
        return True

    def assemble(self, now: float, instruction: str) -> Observation:
        """The observation at the newest image.

        Args:
            now: same clock as the stamps [s].
            instruction: the language command.

        Returns:
            Arrays of its own: later messages do not change it.

        Raises:
            NotReady: something is missing, too old, too far apart or not finite; names the topic.
        """
        if not instruction.strip():
            raise NotReady(INSTRUCTION_TOPIC, "no instruction received")
        with self._lock:
            stamp = self._check(now)
            times = memory_times(stamp, self._horizon)
            images = np.stack([self._memory(stream, times) for stream in self._images.values()])
            joint_state = self._memory(self._joints, np.array([stamp]))[0]
        return Observation(images=images, joint_state=joint_state, instruction=instruction, stamp=stamp)

    def _memory(self, stream: StreamBuffer[Any], times: FloatArray) -> Any:
        """The captures at `times` as one array; NotReady where there is a gap."""
        found = stream.memory(times, self._config.max_memory_gap)
        if isinstance(found, str):
            raise NotReady(stream.topic, found)
        return np.stack(found)

    def _check(self, now: float) -> float:
        """Stamp of the newest image [s]; NotReady where any source is not good enough."""
        self._check_images(now)
        if self._joints.unusable:
            raise NotReady(JOINT_TOPIC, self._joints.fault)
        _check_age(self._joints, now, self._config.max_joint_age)
        oldest = min(self._images.values(), key=lambda stream: stream.newest)
        stamp = max(stream.newest for stream in self._images.values())
        if stamp - oldest.newest > self._config.max_image_skew:
            raise NotReady(
                oldest.topic,
                f"{stamp - oldest.newest:.3f} s behind the other cameras, allowed {self._config.max_image_skew:g} s",
            )
        return stamp

    def _check_images(self, now: float) -> None:
        for stream in self._images.values():
            if text := stream.frozenness(self._config.max_frozen_time):
                raise NotReady(stream.topic, text)
        for stream in self._images.values():
            _check_age(stream, now, self._config.max_image_age)


def _check_age(stream: StreamBuffer[Any], now: float, max_age: float) -> None:
    """NotReady unless the newest capture is younger than `max_age` [s], and not from the future."""
    if text := stream.staleness(now, max_age):
        raise NotReady(stream.topic, text)
