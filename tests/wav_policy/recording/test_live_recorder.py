"""The recorder's thread outlives whatever the disk does."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from wav_models.data.dataset import Dataset
from wav_policy.recording.episode_recorder import EpisodeRecorder
from wav_policy.recording.live_recorder import IDLE, RECORDING, LiveRecorder, RecorderError
from wav_policy.recording.live_recorder_config import LiveRecorderConfig
from wav_policy.recording.sources import SamplingLimits, Sources, SyncedSample
from wav_policy.robot.cameras import SOURCES, VIEWS
from wav_policy.robot.joints import JOINT_DIM


class FedSources(Sources):
    """Something new of every source whenever somebody looks."""

    efforts: np.ndarray | None = None

    def unready(self, now: float) -> str | None:
        self.feed(now)
        return super().unready(now)

    def sample(self, tick: float, period: float, now: float) -> SyncedSample:
        self.feed(now)
        return super().sample(tick, period, now)

    def feed(self, now: float) -> None:
        for source in SOURCES:
            if source in VIEWS:
                self.add_image(source, np.random.default_rng().integers(256, size=(24, 32, 3), dtype=np.uint8), now)
            else:
                self.add_joints(source, np.zeros(JOINT_DIM), now, self.efforts)


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[LiveRecorder]:
    limits = SamplingLimits(max_image_age=2.0, max_joint_age=2.0, max_gap=2.0)
    config = LiveRecorderConfig(tmp_path / "dataset", min_free_megabytes=1)
    recorder = LiveRecorder(config, FedSources({source: source for source in SOURCES}, limits, time.time))
    recorder.instruction = "stack the plates"
    yield recorder
    recorder.close()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def record(recorder: LiveRecorder) -> str:
    recorder.start()
    wait_for(lambda: recorder.status().seconds >= 0.5)
    return recorder.stop()


def test_an_episode_has_its_mark_and_the_instruction_that_it_began_with(recorder: LiveRecorder) -> None:
    for success in (True, False, None):
        recorder.instruction = f"task of {success}"
        recorder.start()
        wait_for(lambda: recorder.status().seconds >= 0.5)
        recorder.instruction = "the next task"
        assert "'the next task' meanwhile" in recorder.stop(success)
    episodes = Dataset(recorder.config.dataset).episodes
    assert [(episode.success, episode.instruction) for episode in episodes] == [
        (success, f"task of {success}") for success in (True, False, None)
    ]


def test_a_disk_that_goes_away_costs_one_episode(recorder: LiveRecorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its free space can be asked for nor the staging directory be removed."""
    assert "episode 0 kept" in record(recorder)

    def fail(*_: object, **__: object) -> None:
        raise OSError("Input/output error")

    def fail_to_remove(path: Path, ignore_errors: bool = False, **_: object) -> None:
        if not ignore_errors:
            fail()

    recorder.start()
    with monkeypatch.context() as broken:
        broken.setattr(shutil, "disk_usage", fail)
        broken.setattr(shutil, "rmtree", fail_to_remove)
        wait_for(lambda: recorder.status().state == IDLE)
        assert "Input/output error" in recorder.status().message
        assert recorder.status().failed
    assert "episode 1 kept" in record(recorder)


def test_with_too_little_disk_recording_ends_and_does_not_start(
    recorder: LiveRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was recorded before is kept, and says why it ended."""
    recorder.start()
    wait_for(lambda: recorder.status().seconds >= 0.5)
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=900_000))
        wait_for(lambda: recorder.status().state == IDLE)
        status = recorder.status()
        assert "episode 0 kept" in status.message
        assert "cut: 0 MB left on the disk" in status.message
        assert (status.episodes, status.free_megabytes, status.failed) == (1, 0, True)
        assert "1 MB are the least: make room" in status.blocked
        with pytest.raises(RecorderError, match="0 MB left on the disk"):
            recorder.start()
    wait_for(lambda: recorder.status().free_megabytes > 1)
    assert "episode 1 kept" in record(recorder)


def test_an_encoder_that_fails_at_the_end_leaves_nothing_behind(
    recorder: LiveRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: EpisodeRecorder) -> None:
        raise av.FFmpegError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(EpisodeRecorder, "finish", fail)
        with pytest.raises(RecorderError, match="the episode is lost"):
            record(recorder)
    assert not list(recorder.config.dataset.rglob("*.mp4"))
    assert "episode 0 kept" in record(recorder)


def test_a_disk_that_runs_low_ends_the_episode_and_keeps_it(
    recorder: LiveRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    plenty = shutil.disk_usage(recorder.config.dataset)
    recorder.start()
    wait_for(lambda: recorder.status().seconds >= 0.5)
    with monkeypatch.context() as low:
        low.setattr(shutil, "disk_usage", lambda _: plenty._replace(free=500_000))
        wait_for(lambda: recorder.status().state == IDLE)
        assert "episode 0 kept" in recorder.status().message
        assert "make room or record elsewhere" in recorder.status().message
        with pytest.raises(RecorderError, match="0 MB left on the disk of .*, 1 MB are the least"):
            recorder.start()
    wait_for(lambda: not recorder.status().blocked)
    assert "episode 1 kept" in record(recorder)


def test_a_source_that_holds_up_the_first_frame_is_named(
    recorder: LiveRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recording nothing is no success, neither meanwhile nor at the end."""
    monkeypatch.setattr(recorder._sources, "limits", SamplingLimits(0.05, max_joint_age=2.0, max_gap=2.9))
    stopped = time.time() - 0.1
    add_image = recorder._sources.add_image
    monkeypatch.setattr(
        recorder._sources,
        "add_image",
        lambda view, rgb, stamp: add_image(view, rgb, stopped if view == "head" else stamp),
    )
    recorder.start()
    wait_for(lambda: recorder.status().slow)
    status = recorder.status()
    assert (status.state, status.frames) == (RECORDING, 0)
    assert recorder.stop() == "episode discarded, shorter than 0.5 s: no frames without head"
    assert recorder.status().failed


def test_whoever_stops_the_recorder_keeps_the_episode_in_progress(recorder: LiveRecorder) -> None:
    recorder.start()
    wait_for(lambda: recorder.status().seconds >= 0.5)
    recorder.close()
    (info,) = Dataset(recorder.config.dataset).episodes
    assert info.length >= 5
    assert "cut: the recorder was stopped" in info.extra["notes"]


TOLD = np.linspace(0.1, 1.0, JOINT_DIM)
NOT_TOLD = np.append(TOLD[:-1], np.nan)


@pytest.fixture
def make_recorder(tmp_path: Path) -> Iterator[Callable[..., LiveRecorder]]:
    made: list[LiveRecorder] = []

    def make(told: np.ndarray | None, **options: str) -> LiveRecorder:
        limits = SamplingLimits(max_image_age=0.5, max_joint_age=0.5, max_gap=0.5)
        sources = FedSources({source: source for source in SOURCES}, limits, time.time)
        sources.efforts = told
        config = LiveRecorderConfig(tmp_path / "dataset", min_free_megabytes=1, **options)  # type: ignore[arg-type]
        made.append(LiveRecorder(config, sources))
        made[-1].instruction = "stack the plates"
        return made[-1]

    yield make
    for recorder in made:
        recorder.close()


def efforts_in(root: Path) -> list[bool]:
    """Of each episode, whether it has efforts."""
    dataset = Dataset(root)
    episodes = [dataset.read_episode(index, efforts=True) for index in range(len(dataset))]
    for episode in episodes:
        if episode.efforts is not None:
            np.testing.assert_allclose(episode.efforts, np.tile(TOLD, (len(episode), 1)), rtol=1e-6)
    return [episode.efforts is not None for episode in episodes]


@pytest.mark.parametrize(
    ("told", "choice", "expected"),
    [(TOLD, "auto", True), (TOLD, "never", False), (NOT_TOLD, "auto", False), (None, "auto", False)],
    ids=["told", "not wanted", "not told of one joint", "not told"],
)
def test_efforts_are_recorded_where_all_are_told(
    make_recorder: Callable[..., LiveRecorder], told: np.ndarray | None, choice: str, expected: bool
) -> None:
    recorder = make_recorder(told, efforts=choice)
    assert "episode 0 kept" in record(recorder)
    assert efforts_in(recorder.config.dataset) == [expected]


def test_a_dataset_of_before_goes_on_without_efforts(make_recorder: Callable[..., LiveRecorder]) -> None:
    first = make_recorder(None)
    record(first)
    first.close()
    second = make_recorder(TOLD)
    assert "episode 1 kept" in record(second)
    assert efforts_in(second.config.dataset) == [False, False]


def test_efforts_that_fail_end_the_episode_and_let_none_begin(make_recorder: Callable[..., LiveRecorder]) -> None:
    recorder = make_recorder(TOLD)
    sources = recorder._sources
    assert isinstance(sources, FedSources)
    recorder.start()
    wait_for(lambda: recorder.status().seconds >= 0.6)
    sources.efforts = NOT_TOLD
    wait_for(lambda: recorder.status().state == IDLE)
    why = "no effort of right_gripper, but the dataset has observation.effort"
    assert "episode 0 kept" in recorder.status().message
    assert f"joint_states stopped for more than 0.5 s (last message: {why})" in recorder.status().message
    with pytest.raises(RecorderError, match=why):
        recorder.start()
    sources.efforts = TOLD
    assert "episode 1 kept" in record(recorder)
    assert efforts_in(recorder.config.dataset) == [True, True]


@pytest.mark.parametrize("is_kept", [False, True], ids=["discarded", "recorded again"])
def test_without_an_episode_nothing_is_decided(make_recorder: Callable[..., LiveRecorder], is_kept: bool) -> None:
    recorder = make_recorder(TOLD)
    sources = recorder._sources
    assert isinstance(sources, FedSources)
    if is_kept:
        record(recorder)
        recorder.rerecord()
    else:
        recorder.start()
    recorder.discard()
    sources.efforts = None
    sources.feed(time.time())
    assert "episode 0 kept" in record(recorder)
    assert efforts_in(recorder.config.dataset) == [False]
