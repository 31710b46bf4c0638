"""Asynchronous sources to frames at an even rate, at times of our choice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.wav_policy.recording.fake_operator import FPS, INSTRUCTION, SIZES, make_images
from wav_models.data.check import check_dataset
from wav_models.data.dataset import Dataset, DatasetError
from wav_policy.recording.episode_recording import EpisodeRecording
from wav_policy.recording.episode_writer import DatasetWriter
from wav_policy.recording.sources import SamplingLimits, SourceLostError, Sources
from wav_policy.robot.cameras import SOURCES, VIEWS

START = 1000.0
RATES = {"head": 30.0, "left_wrist": 30.0, "right_wrist": 15.0, "joint_states": 200.0, "action": 50.0}
PHASES = {"head": 0.004, "left_wrist": 0.011, "right_wrist": 0.02, "joint_states": 0.001, "action": 0.007}


def ramp(time: float) -> np.ndarray:
    """Joints that tell their time."""
    return np.full(14, (time - START) / 30)


def feed(
    sources: Sources,
    until: float,
    begin: float = START - 0.5,
    without: tuple[str, ...] = (),
    frozen: tuple[str, ...] = (),
) -> None:
    """Every source at its own rate and phase; images tell their number, but those of frozen cameras."""
    for source, rate in RATES.items():
        first = int(np.ceil((begin - START) * rate))
        times = START + PHASES[source] + np.arange(first, int((until - START) * rate)) / rate
        for time in times if source not in without else ():
            if source in VIEWS:
                number = 7 if source in frozen else round((time - START) * 10)
                sources.add_image(source, make_images(number)[source], time)
            else:
                sources.add_joints(source, ramp(time), time)


def make_sources(**limits: float) -> Sources:
    return Sources({source: f"topic/{source}" for source in SOURCES}, SamplingLimits(**limits))


@pytest.fixture
def writer(tmp_path: Path):  # type: ignore[no-untyped-def]
    with DatasetWriter(tmp_path, fps=FPS, image_sizes=SIZES, source_times=True) as writer:
        writer.start_episode(INSTRUCTION)
        yield writer


def test_frames_hold_the_newest_captures_before_their_tick(writer: DatasetWriter) -> None:
    sources = make_sources()
    feed(sources, START)
    recording = EpisodeRecording(writer, sources, START)
    for now in START + 0.1 * np.arange(1, 21):
        feed(sources, now, begin=now - 0.2)  # what is fed twice counts once
        assert recording.advance(now) is None
    assert recording.rate == pytest.approx(FPS)
    assert recording.finish(True) == 0
    dataset = Dataset(writer.root)
    episode = dataset.read_episode(0)
    times, sampled = episode.capture_times, episode.source_times
    assert sampled is not None
    np.testing.assert_allclose(times, START + np.arange(len(episode)) / FPS)
    wanted = np.stack([times + (0.1 if source == "action" else 0.0) for source in SOURCES], axis=1)
    ages = wanted - sampled
    assert (ages >= 0).all()
    assert (ages.max(axis=0) < [1 / RATES[source] for source in SOURCES]).all()
    np.testing.assert_allclose(episode.states[:, 0], (sampled[:, 3] - START) / 30, atol=1e-7)
    np.testing.assert_allclose(episode.actions[:, 0], (sampled[:, 4] - START) / 30, atol=1e-7)
    assert (episode.info.success, episode.info.extra["notes"]) == (True, [])
    assert episode.info.achieved_fps == pytest.approx(FPS)
    problems = [problem.message for problem in check_dataset(writer.root)]
    assert all("ask for no motion" in message for message in problems), "the ramp is slow as a rest is"


def test_a_camera_that_stops_ends_the_episode_before_the_gap(writer: DatasetWriter) -> None:
    sources = make_sources()
    recording = EpisodeRecording(writer, sources, START)
    feed(sources, START + 1.0)
    feed(sources, START + 2.0, begin=START + 1.0, without=("left_wrist",))
    assert recording.advance(START + 2.0) == "topic/left_wrist stopped for more than 0.5 s"
    assert recording.finish(None) == 0
    episode = Dataset(writer.root).read_episode(0)
    assert episode.source_times is not None
    ages = episode.capture_times - episode.source_times[:, 1]
    assert 0.9 < len(episode) / FPS < 1.2
    assert ages.max() < SamplingLimits().max_image_age


def test_a_camera_that_freezes_ends_the_episode_before_the_gap(writer: DatasetWriter) -> None:
    sources = make_sources()
    recording = EpisodeRecording(writer, sources, START)
    feed(sources, START + 1.0)
    feed(sources, START + 2.0, begin=START + 1.0, frozen=("left_wrist",))
    assert recording.advance(START + 2.0) == "topic/left_wrist frozen: the very same picture for more than 0.5 s"
    assert sources.unready(START + 2.0) == "topic/left_wrist: frozen: the very same picture for 0.97 s"
    assert recording.finish(None) == 0
    episode = Dataset(writer.root).read_episode(0)
    assert episode.source_times is not None
    assert 0.9 < len(episode) / FPS < 1.3
    ages = episode.capture_times - episode.source_times[:, 1]
    assert ages.max() < SamplingLimits().max_image_age
    feed(sources, START + 2.1, begin=START + 2.0)
    assert sources.unready(START + 2.1) is None, "it shows something new"


def test_a_picture_that_is_sent_again_for_less_is_bridged_with_its_own_time(writer: DatasetWriter) -> None:
    sources = make_sources()
    recording = EpisodeRecording(writer, sources, START)
    feed(sources, START + 1.0)
    feed(sources, START + 1.4, begin=START + 1.0, frozen=("head",))
    assert recording.advance(START + 1.4) is None
    assert recording.awaited == "topic/head"
    feed(sources, START + 2.0, begin=START + 1.4)
    assert recording.advance(START + 2.0) is None
    recording.finish(None)
    episode = Dataset(writer.root).read_episode(0)
    assert len(episode) == 19
    assert 2 <= episode.info.extra["bridged"]["head"] <= 4
    assert episode.source_times is not None
    assert 0.2 < (episode.capture_times - episode.source_times[:, 0]).max() < 0.4


def test_a_short_pause_is_bridged_and_said(writer: DatasetWriter) -> None:
    sources = make_sources()
    recording = EpisodeRecording(writer, sources, START)
    feed(sources, START + 1.0)
    feed(sources, START + 1.3, begin=START + 1.0, without=("head", "action"))
    assert recording.advance(START + 1.3) is None
    frames_before = recording.num_frames
    feed(sources, START + 2.0, begin=START + 1.3)
    assert recording.advance(START + 2.0) is None
    assert recording.num_frames > frames_before
    recording.finish(None)
    info = Dataset(writer.root).episodes[0]
    assert info.extra["bridged"]["head"] >= 1
    assert any("bridged" in note and "topic/head" in note for note in info.extra["notes"])


@pytest.mark.parametrize("delay", [0.2, 0.3, 0.45])
def test_a_camera_whose_frames_come_late_is_recorded_as_it_was_captured(writer: DatasetWriter, delay: float) -> None:
    sources = make_sources()
    others = tuple(source for source in SOURCES if source != "head")
    feed(sources, START, without=("head",))
    feed(sources, START - delay, without=others)
    assert sources.unready(START) is None
    recording = EpisodeRecording(writer, sources, START)
    for now in START + 0.05 * np.arange(1, 61):
        feed(sources, now, begin=now - 0.2, without=("head",))
        feed(sources, now - delay, begin=now - delay - 0.2, without=others)
        assert recording.advance(now) is None
        assert recording.seconds > now - START - SamplingLimits().max_gap - 0.3
    recording.finish(None)
    episode = Dataset(writer.root).read_episode(0)
    assert episode.source_times is not None
    ages = episode.capture_times - episode.source_times[:, 0]
    assert ages[:-3].max() < SamplingLimits().max_image_age
    assert delay == 0.2 or ages[:-3].max() < 1 / RATES["head"]
    assert episode.info.extra["bridged"] == {}


def test_cameras_that_are_never_fresh_all_at_once_are_recorded(
    writer: DatasetWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    for view, phase in {"head": 0.15, "left_wrist": 0.05, "right_wrist": 0.14}.items():
        monkeypatch.setitem(RATES, view, 5.0)
        monkeypatch.setitem(PHASES, view, phase)
    sources = make_sources()
    feed(sources, START)
    recording = EpisodeRecording(writer, sources, START)
    for now in START + 0.05 * np.arange(1, 61):
        feed(sources, now, begin=now - 0.5)
        assert recording.advance(now) is None
    assert recording.seconds > 2.5
    recording.finish(None)
    extra = Dataset(writer.root).episodes[0].extra
    assert min(extra["bridged"][view] for view in VIEWS) > 10
    assert any("topic/head came at 5.0" in note for note in extra["notes"])


def test_a_stalled_recorder_does_not_bridge_a_pause_that_was_too_long(writer: DatasetWriter) -> None:
    sources = make_sources()
    recording = EpisodeRecording(writer, sources, START)
    feed(sources, START + 1.0)
    feed(sources, START + 2.0, begin=START + 1.0, without=("head",))
    feed(sources, START + 2.0, begin=START + 1.6)
    assert recording.advance(START + 2.0) == "topic/head stopped for more than 0.5 s"
    recording.finish(None)
    episode = Dataset(writer.root).read_episode(0)
    assert episode.capture_times[-1] < START + 1.15
    assert episode.info.extra["bridged"] == {}


def test_a_slow_camera_is_flagged(writer: DatasetWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RATES, "head", 8.0)
    sources = make_sources(max_image_age=0.2)
    recording = EpisodeRecording(writer, sources, START)
    feed(sources, START + 2.0)
    recording.advance(START + 2.0)
    recording.finish(None)
    info = Dataset(writer.root).episodes[0]
    assert info.achieved_fps == pytest.approx(8.0, rel=0.05)
    assert any("topic/head came at 8.0" in note and "says 10 Hz" in note for note in info.extra["notes"])
    assert any("8.00 Hz" in str(problem) for problem in check_dataset(writer.root))


def test_a_recorder_that_fell_behind_says_so(writer: DatasetWriter) -> None:
    sources = make_sources()
    feed(sources, START + 6.0)
    assert "cannot encode that fast" in str(EpisodeRecording(writer, sources, START).advance(START + 6.0))


def test_what_is_unusable_is_named() -> None:
    sources = make_sources()
    assert sources.unready(START) == "topic/head: nothing received"
    feed(sources, START)
    assert sources.unready(START) is None
    nan = np.zeros(14)
    nan[6] = np.nan
    sources.add_joints("joint_states", nan, START)
    sources.add_image("head", make_images(0)["head"], float("nan"))
    assert (
        sources.unready(START + 1.0)
        == "topic/head: newest message is 1.03 s old, allowed 0.5 s (last message: stamp is nan)"
    )
    with pytest.raises(SourceLostError, match="topic/head stopped"):
        sources.sample(START + 1.0, 0.1, START + 1.1)
    feed(sources, START + 1.0, begin=START, without=("joint_states",))
    assert "left_gripper is nan" in str(sources.unready(START + 1.0))
    sources.add_joints("action", np.zeros(14), START + 9.0)


def test_a_dataset_of_recordings_and_one_of_demonstrations_do_not_mix(tmp_path: Path) -> None:
    DatasetWriter(tmp_path, fps=FPS, image_sizes=SIZES, source_times=True).close()
    assert "source_times" in json.loads((tmp_path / "meta/info.json").read_text())["features"]
    with pytest.raises(DatasetError, match="use another directory"):
        DatasetWriter(tmp_path, fps=FPS, image_sizes=SIZES)


def test_a_capture_from_the_future_does_not_shut_out_the_others() -> None:
    now = [START]
    sources = Sources({source: f"topic/{source}" for source in SOURCES}, clock=lambda: now[0])
    feed(sources, START)
    sources.add_joints("action", ramp(START), START + 60.0)
    now[0] += 0.6
    feed(sources, now[0], begin=START, without=("action",))
    assert "stamped 60.00 s in the future: synchronise the clocks" in (sources.unready(now[0]) or "")
    feed(sources, now[0], begin=now[0] - 0.2)
    assert sources.unready(now[0]) is None


@pytest.mark.parametrize("source", SOURCES)
def test_stray_stamps_change_nothing_of_an_episode_and_are_counted(source: str, tmp_path: Path) -> None:
    recorded, dropped = [], []
    for strays in ((), (0.0, START - 3600.0, START + 3600.0, START + 1.4, float("nan"))):
        now = [START]
        sources = Sources({source: f"topic/{source}" for source in SOURCES}, clock=lambda: now[0])  # noqa: B023
        feed(sources, START)
        with DatasetWriter(tmp_path / str(len(strays)), fps=FPS, image_sizes=SIZES, source_times=True) as writer:
            writer.start_episode(INSTRUCTION)
            recording = EpisodeRecording(writer, sources, START)
            for number in range(1, 13):
                now[0] = START + 0.1 * number
                feed(sources, now[0], begin=now[0] - 0.2)
                for stray in strays if number == 5 else ():
                    if source in VIEWS:
                        sources.add_image(source, make_images(255)[source], stray)
                    else:
                        sources.add_joints(source, ramp(START + 99.0), stray)
                assert recording.advance(now[0]) is None
            recording.finish(None)
        episode = Dataset(writer.root).read_episode(0)
        recorded.append((episode.source_times, episode.states, episode.actions))
        dropped.append(sources.dropped()[f"topic/{source}"])
    for clean, strayed in zip(*recorded, strict=True):
        np.testing.assert_array_equal(strayed, clean)
    assert dropped[1] - dropped[0] == 5


def test_a_clock_set_back_ends_the_episode_and_the_sources_go_on(writer: DatasetWriter) -> None:
    sources = make_sources()
    feed(sources, START)
    recording = EpisodeRecording(writer, sources, START)
    feed(sources, START + 1.0, begin=START)
    assert recording.advance(START + 1.0) is None
    assert recording.advance(START - 59.0) == "the clock was set back by 60.00 s"
    feed(sources, START - 59.0, begin=START - 60.0)
    assert sources.unready(START - 59.0) is None


@pytest.mark.parametrize("step", [1.5, 3600.0])
def test_a_clock_set_forward_is_the_reason_and_not_a_slow_machine(writer: DatasetWriter, step: float) -> None:
    sources, looked = make_sources(), [0.0]
    feed(sources, START)
    recording = EpisodeRecording(writer, sources, START, lambda: looked[0])
    feed(sources, START + 1.0, begin=START)
    looked[0] = 1.0
    assert recording.advance(START + 1.0) is None
    feed(sources, START + 1.1 + step, begin=START + 1.0 + step)
    looked[0] = 1.1
    assert recording.advance(START + 1.1 + step) == f"the clock was set forward by {step:.2f} s"


@pytest.mark.parametrize("source", ["joint_states", "action"])
@pytest.mark.parametrize("number", [np.nan, np.inf, 1e39, -1.7e308])
def test_a_number_that_no_dataset_holds_costs_its_message_not_the_episode(
    writer: DatasetWriter, source: str, number: float
) -> None:
    """1e39 is finite, but not in the single precision that is recorded."""
    sources = make_sources()
    feed(sources, START)
    recording = EpisodeRecording(writer, sources, START)
    for tick in range(1, 13):
        feed(sources, START + 0.1 * tick, begin=START + 0.1 * (tick - 1))
        broken = ramp(START)
        broken[3] = number
        sources.add_joints(source, broken, START + 0.1 * tick)
        assert recording.advance(START + 0.1 * tick) is None
    assert recording.finish(None) == 0
    assert len(Dataset(writer.root).read_episode(0)) >= 10


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e39])
def test_an_effort_that_no_dataset_holds_is_not_told(number: float) -> None:
    sources = make_sources()
    efforts = np.ones(14)
    sources.add_joints("joint_states", ramp(START), START, efforts)
    assert sources.tells_efforts(START)
    efforts[2] = number
    sources.add_joints("joint_states", ramp(START), START + 0.01, efforts)
    assert not sources.tells_efforts(START + 0.01)
