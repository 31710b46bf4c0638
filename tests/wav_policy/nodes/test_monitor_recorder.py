"""The page's recorder buttons against the real recorder_node."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy")

from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402

from wav_models.data.dataset import Dataset  # noqa: E402
from wav_policy.monitor.commands import (  # noqa: E402
    RECORD_DISCARD,
    RECORD_FAILURE,
    RECORD_START,
    RECORD_STOP,
    RECORD_SUCCESS,
    CommandError,
)
from wav_policy.nodes.monitor import Monitor  # noqa: E402

pytestmark = pytest.mark.ros

FAKE_ROBOT = Path(__file__).with_name("fake_robot.py")
PATIENT = ("min_free_megabytes:=1", *(f"sampling.max_{what}:=1.0" for what in ("image_age", "joint_age", "gap")))
"""For machines that are busy with other things."""


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[Path]:
    """Of a recorder that runs beside a robot."""
    root = tmp_path / "dataset"
    settings = [word for setting in (f"dataset:={root}", *PATIENT) for word in ("-p", setting)]
    recorder = [sys.executable, "-m", "wav_policy.nodes.recorder_node", "--ros-args", *settings]
    processes = [subprocess.Popen([sys.executable, FAKE_ROBOT]), subprocess.Popen(recorder)]
    yield root
    for process in processes:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    rclpy.init()
    monitor, executor = Monitor(parameter_overrides=[Parameter("port", value=0)]), SingleThreadedExecutor()
    executor.add_node(monitor)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    yield monitor
    executor.shutdown()
    thread.join(30.0)
    monitor.close()
    rclpy.shutdown()


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 60.0
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_record_mark_save_and_discard(monitor: Monitor, dataset: Path) -> None:
    obey = monitor.commander.obey
    wanted = {RECORD_START, RECORD_STOP, RECORD_DISCARD, RECORD_SUCCESS, RECORD_FAILURE}
    wait_for(lambda: wanted <= monitor.commander.available(), "nobody offers to record")

    def starts() -> bool:
        with suppress(CommandError):  # until all cameras are there
            return obey(RECORD_START).startswith("recording episode 0: 'stack the plates'")
        return False

    wait_for(starts, "the recorder does not start")
    with pytest.raises(CommandError, match="recorder/start refused: an episode is being recorded"):
        obey(RECORD_START)
    time.sleep(1.5)
    assert obey(RECORD_STOP).startswith("episode 0 kept")
    assert obey(RECORD_START).startswith("recording episode 1")
    time.sleep(1.0)
    assert obey(RECORD_DISCARD) == "episode discarded"
    with pytest.raises(CommandError, match="recorder/stop refused: no episode is being recorded"):
        obey(RECORD_STOP)
    for mark, said in ((RECORD_SUCCESS, "episode 1 kept, success"), (RECORD_FAILURE, "episode 2 kept, failure")):
        assert obey(RECORD_START).startswith("recording episode")
        time.sleep(1.0)
        assert obey(mark).startswith(said)
    episodes = Dataset(dataset).episodes
    assert [episode.success for episode in episodes] == [None, True, False]
    assert {episode.instruction for episode in episodes} == {"stack the plates"}
