"""Cameras and joints as they come in -> `Observation` as the model was trained.

Every camera has a ring of already resized frames (`resize_image`, the function training uses), every ring its own
stamps, so cameras may run at different rates and phases. Memory frames are picked by time: at `offset / step_hz`
relative to the newest image, the newest frame that is not newer than that, as a recording at `step_hz` would have
seen. At the start of an episode, where nothing is that old, the oldest frame stands in, as in training.

An observation is given only when nothing in it is missing, old, skewed or non-finite; otherwise `NotReady` names the
topic to blame. There is no state to repair: as soon as good messages come again, `assemble` works again.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wav_models.data.images import resize_image
from wav_models.presets import HorizonConfig
from wav_models.types import JOINT_DIM, JOINT_NAMES, VIEWS, FloatArray, ImageArray, Observation

JOINT_TOPIC = "joint_states"
INSTRUCTION_TOPIC = "instruction"
IMAGE_TOPICS: Mapping[str, str] = {view: f"{view}/image_raw" for view in VIEWS}

_STAMP_TOLERANCE = 1e-4
"""Stamps are float seconds: at today's epoch they resolve 0.2 us, and drivers round to 0.1 ms [s]."""


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


@dataclass(frozen=True)
class ObservationConfig:
    """When an observation may be trusted, and how much is kept."""

    max_image_age: float = 0.25
    """Age of the newest frame of every camera [s]."""
    max_image_skew: float = 0.1
    """Between the newest frames of the three cameras: two frame times at 20 Hz [s]."""
    max_joint_age: float = 0.1
    """[s]"""
    max_frozen_time: float = 0.5
    """A camera that shows the very same picture for longer is frozen, whatever its stamps and whether anything moves:
    the sensor of a live one has noise. Drivers that send a picture twice, or five times in dim light, are not [s]."""
    max_camera_rate: float = 60.0
    """Frames that come faster are thinned out; decides how many are kept [Hz]."""
    max_joint_rate: float = 250.0
    """[Hz]"""
    max_memory_gap: float = 0.3
    """A memory frame may be this much older than wanted; where a camera had paused longer, the next newer frame is
    used [s]."""
    restart_gap: float = 1.0
    """A stamp this much older than the newest one means that the source's clock restarted [s]."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0.0 < value < np.inf:
                raise ValueError(f"{name} must be positive and finite, got {value}")


class _Ring:
    """The last `capacity` rows with their increasing stamps, preallocated."""

    def __init__(
        self, topic: str, capacity: int, shape: tuple[int, ...], dtype: type, config: ObservationConfig
    ) -> None:
        self.topic = topic
        self.fault: str | None = None
        self.changed = -np.inf
        """Stamp of the first row that equals the newest one [s]."""
        self._rows: NDArray = np.zeros((capacity, *shape), dtype=dtype)
        self._stamps = np.full(capacity, -np.inf)
        self._next = 0
        self._restart_gap = config.restart_gap

    def clear(self) -> None:
        self._stamps[:] = -np.inf
        self._next = 0
        self.fault = None

    @property
    def newest(self) -> float:
        """Stamp of the newest row, -inf when empty [s]."""
        return float(self._stamps[self._next - 1])

    @property
    def newest_row(self) -> NDArray:
        row: NDArray = self._rows[self._next - 1]
        return row

    def next_row(self, stamp: float, min_interval: float) -> NDArray | None:
        """Where to write the row of `stamp`, before `keep`; None if it is out of order, or comes sooner than
        `min_interval` after the last."""
        since = stamp - self.newest
        if since < -self._restart_gap:
            self.clear()
        elif since < max(min_interval, _STAMP_TOLERANCE):
            return None
        self._stamps[self._next] = -np.inf
        row: NDArray = self._rows[self._next]
        return row

    def keep(self, stamp: float) -> None:
        """The row that `next_row` gave is written."""
        # Buffers are compared in place, up to the first difference; `np.array_equal` would allocate.
        if self.newest == -np.inf or self._rows[self._next].data != self._rows[self._next - 1].data:
            self.changed = stamp
        self._stamps[self._next] = stamp
        self._next = (self._next + 1) % len(self._stamps)

    def at(self, stamp: float, max_gap: float) -> NDArray:
        """The newest row not newer than `stamp`; the oldest newer one where that is missing or older by `max_gap`."""
        newer = self._stamps > stamp + _STAMP_TOLERANCE
        before = np.where(newer, -np.inf, self._stamps)
        index = int(before.argmax())
        if before[index] <= stamp - max_gap and newer.any():
            index = int(np.where(newer, self._stamps, np.inf).argmin())
        return self._rows[index]

    @property
    def unchanged_for(self) -> float:
        """Time between the newest row and the first one that equals it [s]."""
        return max(0.0, self.newest - self.changed)

    def check_age(self, now: float, max_age: float) -> None:
        """NotReady unless the newest row is younger than `max_age`, and not from the future."""
        age = now - self.newest
        suffix = f" (last message: {self.fault})" if self.fault else ""
        if age == np.inf:
            raise NotReady(self.topic, f"nothing received{suffix}")
        if age > max_age:
            raise NotReady(self.topic, f"newest message is {age:.2f} s old, allowed {max_age:g} s{suffix}")
        if age < -max_age:
            raise NotReady(self.topic, f"stamped {-age:.2f} s in the future: synchronise the clocks{suffix}")


class ObservationBuffer:
    """Collects messages (from any thread) and assembles observations (in any other).

    Args:
        horizon: memory offsets and step rate of the model.
        image_size: (height, width) the model sees [px].
        config: bounds on age and skew.
    """

    def __init__(
        self, horizon: HorizonConfig, image_size: tuple[int, int], config: ObservationConfig | None = None
    ) -> None:
        self._config = config or ObservationConfig()
        self._image_size = image_size
        self._memory_times = np.asarray(horizon.memory_offsets) / horizon.step_hz
        span = self._config.max_image_skew - float(self._memory_times.min()) + self._config.max_memory_gap
        num_frames = int(np.ceil(span * self._config.max_camera_rate)) + 2
        num_joint_rows = int(np.ceil(self._config.max_image_age * self._config.max_joint_rate)) + 2
        self._lock = threading.Lock()
        self._images = {
            view: _Ring(IMAGE_TOPICS[view], num_frames, (*image_size, 3), np.uint8, self._config) for view in VIEWS
        }
        self._joints = _Ring(JOINT_TOPIC, num_joint_rows, (JOINT_DIM,), np.float64, self._config)

    def reset(self) -> None:
        """Forget everything: the next frames start a new episode."""
        with self._lock:
            for ring in (*self._images.values(), self._joints):
                ring.clear()

    def add_image(self, view: str, rgb: ImageArray, stamp: float) -> None:
        """Resize and keep one frame.

        Args:
            view: one of `VIEWS`.
            rgb: uint8, shape [H, W, 3], any size.
            stamp: capture time [s].
        """
        ring = self._images[view]
        with self._lock:
            ring.fault = None
            try:
                _check_stamp(stamp)
                # 10 % tolerance: a camera at exactly the highest rate jitters around it.
                row = ring.next_row(stamp, 0.9 / self._config.max_camera_rate)
                if row is None:
                    return
                resize_image(rgb, self._image_size, out=row)
            except ValueError as error:
                ring.fault = str(error)
                return
            ring.keep(stamp)

    def add_joint_state(self, positions: FloatArray, stamp: float) -> None:
        """Keep one measurement.

        Args:
            positions: shape [14] in the order of `JOINT_NAMES`, rad and m.
            stamp: time of the measurement [s].
        """
        finite = np.isfinite(positions)
        if not finite.all():
            worst = int(finite.argmin())
            self._set_fault(self._joints, f"{JOINT_NAMES[worst]} is {positions[worst]}")
            return
        try:
            _check_stamp(stamp)
        except ValueError as error:
            self._set_fault(self._joints, str(error))
            return
        with self._lock:
            self._joints.fault = None
            row = self._joints.next_row(stamp, 0.9 / self._config.max_joint_rate)
            if row is not None:
                row[:] = positions
                self._joints.keep(stamp)

    def reject_image(self, view: str, reason: str) -> None:
        """Note that a camera's message could not be decoded: the reason is given once its frames are too old."""
        self._set_fault(self._images[view], reason)

    def reject_joint_state(self, reason: str) -> None:
        """Note an unusable joint message: no observation until the next good one."""
        self._set_fault(self._joints, reason)

    def ages(self, now: float) -> dict[str, float]:
        """Age of the newest usable message of every topic, inf where there is none [s]."""
        with self._lock:
            return {ring.topic: now - ring.newest for ring in (*self._images.values(), self._joints)}

    def require_fresh(self, now: float) -> None:
        """Make sure that every source is alive: what was planned on it may be executed.

        Raises:
            NotReady: a camera is frozen, or the newest message of a topic is too old; names the topic.
        """
        with self._lock:
            self._check_images(now)
            self._joints.check_age(now, self._config.max_joint_age)

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
            images = np.empty((len(VIEWS), len(self._memory_times), *self._image_size, 3), dtype=np.uint8)
            for view_index, view in enumerate(VIEWS):
                for frame_index, offset in enumerate(self._memory_times):
                    images[view_index, frame_index] = self._images[view].at(stamp + offset, self._config.max_memory_gap)
            joint_state = self._joints.at(stamp, np.inf).copy()
        return Observation(images=images, joint_state=joint_state, instruction=instruction, stamp=stamp)

    def _check(self, now: float) -> float:
        """Stamp of the newest image [s]; NotReady where any source is not good enough."""
        self._check_images(now)
        if self._joints.fault is not None:
            raise NotReady(JOINT_TOPIC, self._joints.fault)
        self._joints.check_age(now, self._config.max_joint_age)
        oldest = min(self._images.values(), key=lambda ring: ring.newest)
        stamp = max(ring.newest for ring in self._images.values())
        if stamp - oldest.newest > self._config.max_image_skew:
            raise NotReady(
                oldest.topic,
                f"{stamp - oldest.newest:.3f} s behind the other cameras, allowed {self._config.max_image_skew:g} s",
            )
        return stamp

    def _check_images(self, now: float) -> None:
        for ring in self._images.values():
            if ring.unchanged_for > self._config.max_frozen_time:
                raise NotReady(ring.topic, f"frozen: the very same picture for {ring.unchanged_for:.2f} s")
        for ring in self._images.values():
            ring.check_age(now, self._config.max_image_age)

    def _set_fault(self, ring: _Ring, reason: str) -> None:
        with self._lock:
            ring.fault = reason


def _check_stamp(stamp: float) -> None:
    if not np.isfinite(stamp):
        raise ValueError(f"stamp is {stamp}")
