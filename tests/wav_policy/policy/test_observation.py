"""What comes in at different rates and phases becomes one observation, or a reason with a name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import pytest

from wav_models.data.images import resize_image
from wav_models.presets import WAV_TINY
from wav_models.types import ImageArray
from wav_policy.policy.observation import NotReady, ObservationBuffer
from wav_policy.policy.observation_config import ObservationConfig
from wav_policy.robot.cameras import VIEWS
from wav_policy.robot.joints import JOINT_DIM
from wav_policy.sim.read_noise import ReadNoise

SIZE = (8, 8)
HORIZON = WAV_TINY.horizon  # memory offsets -8 and 0 steps at 10 Hz
SIZES = {"head": (12, 20), "left_wrist": (9, 7), "right_wrist": SIZE}


def picture(value: int, size: tuple[int, int] = SIZE) -> ImageArray:
    return np.full((*size, 3), value, dtype=np.uint8)


def joints(value: float) -> np.ndarray:
    return np.full(JOINT_DIM, value)


class Stream:
    """Cameras with a rate and a phase each, joints at 200 Hz; pixel values are the frame's number."""

    def __init__(self, buffer: ObservationBuffer, rate: float = 30.0, phases: tuple[float, ...] = (0.0, 0.01, 0.02)):
        self.buffer = buffer
        self.period = 1.0 / rate
        self.phases = dict(zip(VIEWS, phases, strict=True))

    def run(self, start: float, end: float, without: tuple[str, ...] = ()) -> None:
        events: list[tuple[float, str, int]] = []
        for view, phase in self.phases.items():
            first, last = math.ceil((start - phase) / self.period), math.floor((end - phase) / self.period)
            events += [(n * self.period + phase, view, n) for n in range(first, last + 1)]
        events += [(n * 0.005, "joint_states", n) for n in range(math.ceil(start / 0.005), int(end / 0.005) + 1)]
        for stamp, source, number in sorted(events):
            if source in without:
                continue
            if source == "joint_states":
                self.buffer.add_joint_state(joints(stamp), stamp)
            else:
                self.buffer.add_image(source, picture(number % 256, SIZES[source]), stamp)


def make_buffer(**bounds: float) -> ObservationBuffer:
    return ObservationBuffer(HORIZON, SIZE, ObservationConfig(**bounds))


def values(images: np.ndarray) -> list[list[int]]:
    """[V][F] pixel values."""
    return [[int(frame[0, 0, 0]) for frame in view] for view in images]


def test_memory_frames_are_the_newest_not_newer_than_wanted() -> None:
    buffer = make_buffer()
    Stream(buffer).run(10.0, 12.001)
    observation = buffer.assemble(12.01, "go")
    # Newest: head frame 360 at 12.0; left 359 at 11.9767; right 359 at 11.9867. 0.8 s earlier: 11.2.
    assert observation.stamp == pytest.approx(12.0)
    expected = [[336, 360], [335, 359], [335, 359]]
    assert values(observation.images) == [[v % 256 for v in view] for view in expected]
    np.testing.assert_allclose(observation.joint_state, joints(12.0), atol=1e-9)
    assert observation.images.shape == (3, 2, *SIZE, 3)
    assert observation.instruction == "go"


def test_at_the_start_the_oldest_frame_stands_in_and_reset_starts_again() -> None:
    buffer = make_buffer()
    stream = Stream(buffer)
    stream.run(10.0, 10.2)
    assert values(buffer.assemble(10.2, "go").images)[0] == [300 % 256, 306 % 256]
    stream.run(10.2, 12.0)
    buffer.reset()
    with pytest.raises(NotReady, match="head/image_raw: nothing received"):
        buffer.assemble(12.0, "go")
    stream.run(12.0, 12.1)
    assert values(buffer.assemble(12.1, "go").images)[0] == [360 % 256, 363 % 256]


def test_frames_are_resized_as_in_training() -> None:
    buffer = make_buffer()
    image = np.random.default_rng(0).integers(0, 256, (31, 17, 3), dtype=np.uint8)
    Stream(buffer).run(10.0, 10.1, without=("head",))
    buffer.add_image("head", image, 10.1)
    np.testing.assert_array_equal(buffer.assemble(10.1, "go").images[0, 1], resize_image(image, SIZE))


def test_the_joint_state_is_the_one_at_the_time_of_the_images() -> None:
    buffer = make_buffer()
    stream = Stream(buffer)
    stream.run(10.0, 10.5)
    stream.run(10.5, 10.55, without=VIEWS)  # images come with a delay
    observation = buffer.assemble(10.55, "go")
    assert observation.stamp < 10.51
    assert observation.joint_state[0] == pytest.approx(observation.stamp, abs=0.0051)


def test_after_a_pause_of_a_camera_its_memory_is_not_from_before_the_pause() -> None:
    buffer = make_buffer()
    stream = Stream(buffer)
    stream.run(10.0, 11.0)
    stream.run(11.0, 21.0, without=("head",))
    stream.run(21.0, 21.5)
    with pytest.raises(NotReady, match=r"head/image_raw: nothing kept of 0\.80 s ago: the memory is incomplete"):
        buffer.assemble(21.5, "go")
    assert buffer.is_fresh(21.5), "what was planned before may be executed"
    stream.run(21.5, 22.0)
    assert values(buffer.assemble(22.0, "go").images)[0] == [636 % 256, 660 % 256]


def test_a_slow_camera_has_a_whole_memory() -> None:
    """With a picture every 0.35 s that of 0.8 s ago is 1.05 s old: within what a memory may be older than wanted."""
    buffer = make_buffer()
    Stream(buffer, rate=1.0 / 0.35, phases=(0.0, 0.0, 0.0)).run(10.0, 12.251)
    assert values(buffer.assemble(12.26, "go").images) == [[32, 35]] * 3


def test_nothing_of_before_is_left_after_a_reset() -> None:
    buffer = make_buffer()
    Stream(buffer).run(10.0, 11.0)
    buffer.reset()
    assert buffer.ages(11.0) == dict.fromkeys([*(f"{view}/image_raw" for view in VIEWS), "joint_states"], math.inf)


@pytest.mark.parametrize("source", [*VIEWS, "joint_states"])
def test_what_was_planned_may_be_executed_while_every_source_is_alive(source: str) -> None:
    buffer = make_buffer()
    stream = Stream(buffer)
    stream.run(10.0, 11.0)
    assert buffer.is_fresh(11.0)
    stream.run(11.0, 11.5, without=(source,))
    assert not buffer.is_fresh(11.5)
    stream.run(11.5, 11.6)
    assert buffer.is_fresh(11.6)


@pytest.mark.parametrize("view", VIEWS)
def test_a_camera_that_stops_is_named_and_planning_recovers_when_it_returns(view: str) -> None:
    buffer = make_buffer()
    stream = Stream(buffer)
    stream.run(10.0, 11.0)
    stream.run(11.0, 12.0, without=(view,))
    with pytest.raises(NotReady, match=r"newest message is .* old") as caught:
        buffer.assemble(12.0, "go")
    assert caught.value.topic == f"{view}/image_raw"
    stream.run(12.0, 13.0)
    buffer.assemble(13.0, "go")


def test_skew_names_the_camera_that_lags() -> None:
    buffer = make_buffer(max_image_skew=0.05)
    Stream(buffer, phases=(0.0, -0.09, 0.0)).run(10.0, 11.0)
    buffer.assemble(11.0, "go")  # 30 Hz: the phase wraps to 10 ms
    late = make_buffer(max_image_skew=0.05)
    stream = Stream(late)
    stream.run(10.0, 11.0)
    stream.run(11.0, 11.1, without=("left_wrist",))
    with pytest.raises(NotReady, match=r"left_wrist/image_raw: 0\.\d+ s behind the other cameras, allowed 0.05"):
        late.assemble(11.1, "go")


def test_joint_faults_block_until_a_good_message_comes() -> None:
    buffer = make_buffer()
    stream = Stream(buffer)
    stream.run(10.0, 11.0)
    broken, huge = joints(0.0), joints(0.0)
    broken[9] = math.nan
    huge[9] = 1e39  # finite, but not as the networks compute
    for reject, message in (
        (lambda: buffer.add_joint_state(broken, 11.0), "joint_states: right_joint3 is nan"),
        (lambda: buffer.add_joint_state(huge, 11.0), r"joint_states: right_joint3 is 1e\+39"),
        (lambda: buffer.reject_joint_state("missing: left_joint1"), "joint_states: missing: left_joint1"),
    ):
        reject()
        with pytest.raises(NotReady, match=message):
            buffer.assemble(11.01, "go")
        buffer.add_joint_state(joints(0.5), 11.0)
        assert np.isfinite(buffer.assemble(11.01, "go").joint_state).all()
    buffer.add_joint_state(joints(0.7), math.nan)
    assert (buffer.assemble(11.01, "go").joint_state == 11.0).all(), "one stray stamp is no reason to hold"
    stream.run(11.005, 11.2, without=("joint_states",))
    with pytest.raises(NotReady, match=r"joint_states: newest message is 0\.20 s old"):
        buffer.assemble(11.2, "go")


def test_an_unusable_image_is_the_reason_once_good_ones_are_too_old() -> None:
    buffer = make_buffer()
    stream = Stream(buffer)
    stream.run(10.0, 11.0)
    buffer.add_image("head", np.zeros((0, 5, 3), np.uint8), 11.0)
    buffer.assemble(11.01, "go")  # one bad frame is no reason to stop
    stream.run(11.01, 11.5, without=("head",))
    buffer.reject_image("head", "cannot convert encoding 'nv12'")
    with pytest.raises(NotReady, match=r"head/image_raw: .*last message: cannot convert encoding 'nv12'"):
        buffer.assemble(11.5, "go")


def test_images_out_of_order_are_dropped_and_a_restarted_clock_is_followed() -> None:
    buffer = make_buffer()
    stream = Stream(buffer)
    stream.run(10.0, 11.0)
    expected = values(buffer.assemble(11.0, "go").images)
    buffer.add_image("head", picture(7), 10.9)
    assert values(buffer.assemble(11.0, "go").images) == expected
    stream.run(2.0, 3.0)
    observation = buffer.assemble(3.0, "go")
    assert observation.stamp == pytest.approx(3.0, abs=0.034)
    assert values(observation.images)[0] == [66, 90]


def test_stamps_from_the_future_are_a_fault() -> None:
    buffer = make_buffer()
    Stream(buffer).run(10.0, 11.0)
    with pytest.raises(NotReady, match=r"head/image_raw: stamped 0\.50 s in the future"):
        buffer.assemble(10.5, "go")


def test_without_an_instruction_there_is_no_observation() -> None:
    buffer = make_buffer()
    Stream(buffer).run(10.0, 11.0)
    with pytest.raises(NotReady, match="instruction: no instruction received"):
        buffer.assemble(11.0, " ")


def test_what_was_told_is_kept_when_its_message_is_used_again() -> None:
    buffer, image = make_buffer(), picture(7)
    Stream(buffer).run(10.0, 10.1, without=("head", "joint_states"))
    buffer.add_image("head", image, 10.1)
    image[:] = 9
    state = joints(0.5)
    buffer.add_joint_state(state, 10.1)
    state[:] = 0.9
    observation = buffer.assemble(10.1, "go")
    assert values(observation.images)[0] == [7, 7]
    assert (observation.joint_state == 0.5).all()


def test_frames_are_right_however_long_and_fast_they_come() -> None:
    buffer = make_buffer()
    stream = Stream(buffer, rate=60.0)
    for end in np.arange(10.5, 20.0, 0.5):
        stream.run(end - 0.5, end)
        newest = int(values(buffer.assemble(end, "go").images)[0][1])
        assert newest == round(60.0 * end) % 256
        buffer.add_image("head", np.zeros((0, 5, 3), np.uint8), end + 0.02)
        if end > 11.0:
            assert values(buffer.assemble(end, "go").images)[0][0] == (newest - 48) % 256


def test_an_observation_is_not_changed_by_later_messages() -> None:
    buffer = make_buffer()
    stream = Stream(buffer)
    stream.run(10.0, 11.0)
    observation = buffer.assemble(11.0, "go")
    images, state = observation.images.copy(), observation.joint_state.copy()
    stream.run(11.0, 14.0)
    np.testing.assert_array_equal(observation.images, images)
    np.testing.assert_array_equal(observation.joint_state, state)


def test_a_camera_that_is_too_fast_does_not_push_the_memory_out() -> None:
    buffer = make_buffer(max_camera_rate=40.0)
    Stream(buffer, rate=200.0).run(10.0, 11.2)
    oldest, newest = values(buffer.assemble(11.2, "go").images)[0]
    assert (newest - oldest) % 256 == pytest.approx(0.8 * 200.0, abs=5)


def show(buffer: ObservationBuffer, start: float, numbers: Sequence[int]) -> None:
    """At 30 Hz the left camera sends the pictures with these numbers, the others something new; no joint moves."""
    for n, number in enumerate(numbers):
        stamp = start + n / 30.0
        buffer.add_joint_state(joints(0.5), stamp)
        for view in VIEWS:
            shown = number if view == "left_wrist" else round(30.0 * stamp) % 256
            buffer.add_image(view, picture(shown, SIZES[view]), stamp)


@pytest.mark.parametrize("before", ["nothing", "other pictures", "an episode", "another clock"])
def test_a_camera_that_repeats_one_picture_is_frozen_though_nothing_moves(before: str) -> None:
    buffer = make_buffer()
    if before == "other pictures":
        show(buffer, 9.0, range(30))
    elif before == "an episode":
        show(buffer, 9.0, [77] * 30)
        buffer.reset()
    elif before == "another clock":
        show(buffer, 100.0, [77] * 30)
    show(buffer, 10.0, [77] * 15)
    assert buffer.is_fresh(10.48)
    show(buffer, 10.5, [77] * 15)
    assert not buffer.is_fresh(10.99)
    with pytest.raises(NotReady, match=r"left_wrist/image_raw: frozen: the very same picture for 0\.9\d s"):
        buffer.assemble(10.99, "go")
    show(buffer, 11.0, [78])
    assert buffer.is_fresh(11.0)
    buffer.assemble(11.0, "go")


@pytest.mark.parametrize("copies", [2, 6, 15])
def test_a_driver_that_sends_pictures_several_times_is_not_blamed(copies: int) -> None:
    """30 messages a second of a camera that takes 15, 5 (dim light) or 2 pictures in it."""
    buffer = make_buffer()
    for n in range(90):
        show(buffer, 10.0 + n / 30.0, [n // copies])
        assert buffer.is_fresh(10.0 + n / 30.0), n


def test_a_frozen_camera_that_ends_is_not_taken_for_well() -> None:
    buffer = make_buffer()
    show(buffer, 10.0, [77] * 30)
    Stream(buffer).run(11.0, 13.0, without=("left_wrist",))
    assert not buffer.is_fresh(13.0)


@pytest.mark.parametrize("quality", [None, 90, 50], ids=["raw", "JPEG 90", "JPEG 50"])
@pytest.mark.parametrize("size", [(240, 320), (1080, 1920)], ids=str)
def test_the_noise_of_a_still_camera_survives_jpeg_and_resizing(size: tuple[int, int], quality: int | None) -> None:
    scene = np.linspace(20.0, 200.0, 3 * size[0] * size[1]).reshape(*size, 3).astype(np.uint8)
    noise, buffer = ReadNoise(scene.size), ObservationBuffer(HORIZON, WAV_TINY.latent.image_size)

    def shot() -> ImageArray:
        if quality is None:
            return noise(scene)
        data = cv2.imencode(".jpg", noise(scene), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)

    def run(start: float, pictures: Sequence[ImageArray]) -> None:
        for n, rgb in enumerate(pictures):
            buffer.add_joint_state(joints(0.5), start + n / 10.0)
            for view in VIEWS:
                buffer.add_image(view, rgb, start + n / 10.0)

    run(10.0, [shot() for _ in range(8)])
    assert buffer.is_fresh(10.7)
    run(10.8, [shot()] * 8)
    assert not buffer.is_fresh(11.5)


EPOCH = 1.8e9

STRAY = {
    "zero": lambda stamp: 0.0,
    "1.5 s late": lambda stamp: stamp - 1.5,
    "0.5 s late": lambda stamp: stamp - 0.5,
    "1 h ahead": lambda stamp: stamp + 3600.0,
    "0.9 s ahead": lambda stamp: stamp + 0.9,
    "1 h ago": lambda stamp: stamp - 3600.0,
    "negative": lambda stamp: -5.0,
}


def live_cameras(
    buffer: ObservationBuffer,
    now: list[float],
    numbers: range,
    alter: Callable[[int, float], list[float]] = lambda number, stamp: [stamp],
) -> dict[int, list[list[int]] | str]:
    """Cameras at 30 Hz, 20 ms on the way; `alter` gives the stamps of the head's messages. What is seen or why not.

    Pixel values are the frame's number, so that false stamps show.
    """
    seen: dict[int, list[list[int]] | str] = {}
    for number in numbers:
        stamp = EPOCH + number / 30.0
        now[0] = stamp + 0.02
        for view in VIEWS:
            for told in alter(number, stamp) if view == "head" else [stamp]:
                buffer.add_image(view, picture(number % 256), told)
        for tick in range(6):
            buffer.add_joint_state(joints(0.001 * number), stamp - 0.02 + tick * 0.005)
        try:
            seen[number] = values(buffer.assemble(now[0], "go").images)
        except NotReady as error:
            seen[number] = str(error)
    return seen


def true_memory(number: int) -> list[list[int]]:
    return [[(number - 24) % 256, number % 256]] * 3


@pytest.mark.parametrize("has_clock", [True, False], ids=["clock", "no clock"])
@pytest.mark.parametrize("kind", STRAY)
def test_a_stray_stamp_never_reaches_the_memory_and_is_counted(kind: str, has_clock: bool) -> None:
    now = [EPOCH]
    buffer = ObservationBuffer(HORIZON, SIZE, clock=(lambda: now[0]) if has_clock else None)

    def alter(number: int, stamp: float) -> list[float]:
        return [stamp, STRAY[kind](stamp)] if number in (70, 71, 80) else [stamp]

    seen = live_cameras(buffer, now, range(120), alter)
    assert {number: shown for number, shown in seen.items() if number > 24 and shown != true_memory(number)} == {}
    assert buffer.dropped() == {**dict.fromkeys(buffer.dropped(), 0), "head/image_raw": 3}


def test_a_camera_of_another_clock_is_not_ready_and_named_with_the_reason() -> None:
    now = [EPOCH]
    buffer = ObservationBuffer(HORIZON, SIZE, clock=lambda: now[0])
    seen = live_cameras(buffer, now, range(60), lambda number, stamp: [1000.0 + number / 30.0])
    assert all(isinstance(shown, str) for shown in seen.values())
    assert str(seen[59]).startswith("head/image_raw: nothing received (last message: stamped 100")
    assert buffer.dropped()["head/image_raw"] == 60


@pytest.mark.parametrize("has_clock", [True, False], ids=["clock", "no clock"])
def test_of_two_publishers_of_a_camera_the_one_of_our_clock_is_seen(has_clock: bool) -> None:
    now = [EPOCH]
    buffer = ObservationBuffer(HORIZON, SIZE, clock=(lambda: now[0]) if has_clock else None)
    seen = live_cameras(buffer, now, range(60), lambda number, stamp: [stamp, 1000.0 + number / 30.0])
    assert all(seen[number] == true_memory(number) for number in range(25, 60))


@pytest.mark.parametrize("step", [-3600.0, -2.0, 3600.0])
def test_after_a_step_of_all_clocks_nothing_of_before_is_remembered(step: float) -> None:
    """Ours too: the frames of the new time are believed once some agree, the memory is whole 0.8 s later."""
    now = [EPOCH]
    buffer = ObservationBuffer(HORIZON, SIZE, clock=lambda: now[0])
    live_cameras(buffer, now, range(60))
    shift = round(30 * step)
    seen = live_cameras(buffer, now, range(60 + shift, 120 + shift))
    first = next(number for number, shown in seen.items() if not isinstance(shown, str)) - shift - 60
    assert 24 <= first <= 28
    assert all(seen[number] == true_memory(number) for number in range(60 + first + shift, 120 + shift))
    reasons = {str(shown).split(":")[0] for shown in list(seen.values())[:first]}
    assert reasons <= {"head/image_raw", "joint_states"}


def test_frames_that_come_late_in_a_burst_are_no_new_clock() -> None:
    now = [EPOCH]
    buffer = ObservationBuffer(HORIZON, SIZE, clock=lambda: now[0])

    def alter(number: int, stamp: float) -> list[float]:
        return [stamp, *(stamp - 0.3 + k / 30.0 for k in range(8))] if number == 50 else [stamp]

    seen = live_cameras(buffer, now, range(90), alter)
    assert all(seen[number] == true_memory(number) for number in range(25, 90))
