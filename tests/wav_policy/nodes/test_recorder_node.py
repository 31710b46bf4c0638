"""recorder_node in a process of its own, fed by another one; seen through services, /diagnostics and the disk."""

from __future__ import annotations

import os
import pty
import random
import re
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from wav_models.data.check import check_dataset
from wav_models.data.dataset import Dataset
from wav_policy.nodes.clients.recorder_client import RecorderClient
from wav_policy.nodes.clients.system_client import ServiceError

pytestmark = pytest.mark.ros

FAKE_ROBOT = Path(__file__).with_name("fake_robot.py")


@pytest.fixture(scope="module")
def robot() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, FAKE_ROBOT])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def client() -> Iterator[RecorderClient]:
    client = RecorderClient()
    yield client
    client.close()


class Recorder:
    """The node's process, recording into `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.start()

    def start(self) -> None:
        module = ["-m", "wav_policy.nodes.recorder_node"]
        # On a busy machine frames come late; what is tested here is not how late.
        patience = [
            "-p",
            "sampling.max_image_age:=0.5",
            "-p",
            "sampling.max_joint_age:=0.5",
            "-p",
            "sampling.max_gap:=1.0",
        ]
        settings = ["-p", f"dataset:={self.root}", "-p", "min_free_megabytes:=1", *patience]
        self.process = subprocess.Popen([sys.executable, *module, "--ros-args", *settings])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def recorder(tmp_path: Path, robot: subprocess.Popen[bytes]) -> Iterator[Recorder]:
    recorder = Recorder(tmp_path / "dataset")
    yield recorder
    recorder.process.terminate()
    assert recorder.process.wait(timeout=20) == 0


def wait_ready(client: RecorderClient) -> None:
    client.reports.clear()
    client.await_recorder()
    client.wait(lambda: client.recorder.message == "ready", 30.0, lambda: "not ready")


def record(client: RecorderClient, seconds: float) -> None:
    client.trigger("recorder/start")
    wait_recorded(client, seconds)


def wait_recorded(client: RecorderClient, seconds: float) -> None:
    """Until the episode that has just begun is so long; what was said of the one before does not count."""
    client.wait(lambda: float(client.recorder.values["seconds"]) < seconds, 30.0, lambda: "no new episode")
    client.wait(lambda: float(client.recorder.values["seconds"]) >= seconds, 30.0, lambda: "does not record")


def sound(root: Path) -> Dataset:
    """The dataset, which has no errors."""
    assert [problem for problem in check_dataset(root) if problem.severity == "error"] == []
    return Dataset(root)


def test_commands(recorder: Recorder, client: RecorderClient, robot: subprocess.Popen[bytes]) -> None:
    wait_ready(client)
    with pytest.raises(ServiceError, match="no episode is being recorded"):
        client.trigger("recorder/stop")
    record(client, 1.0)
    with pytest.raises(ServiceError, match="an episode is being recorded"):
        client.trigger("recorder/start")
    assert client.trigger("recorder/stop_success").startswith("episode 0 kept, success")
    record(client, 0.6)
    client.trigger("recorder/discard")
    record(client, 0.6)
    client.trigger("recorder/rerecord")
    wait_recorded(client, 0.6)
    assert client.trigger("recorder/stop_failure").startswith("episode 1 kept, failure")
    assert client.trigger("recorder/rerecord").startswith("recording episode 1")
    wait_recorded(client, 1.5)
    robot.send_signal(signal.SIGUSR1)
    client.wait(
        lambda: "head/image_raw stopped" in client.recorder.values["last"], 30.0, lambda: "the camera is not missed"
    )
    with pytest.raises(ServiceError, match="head/image_raw: newest message is"):
        client.trigger("recorder/start")
    robot.send_signal(signal.SIGUSR1)
    wait_ready(client)
    dataset = sound(recorder.root)
    assert [(episode.success, episode.instruction) for episode in dataset.episodes] == [
        (True, "stack the plates"),
        (None, "stack the plates"),
    ]
    cut = dataset.read_episode(1)
    assert any("cut: head/image_raw stopped" in note for note in cut.info.extra["notes"])
    assert cut.source_times is not None
    assert len(cut) >= 10
    assert cut.info.extra["camera_info"].keys() == {"head"}, "the others say nothing, or nonsense"
    told = cut.info.extra["camera_info"]["head"]
    assert (told["width"], told["height"], told["frame_id"], told["k"][0]) == (106, 60, "head_optical", 80.0)
    assert (told["distortion_model"], told["d"], len(told["r"]), len(told["p"])) == ("plumb_bob", [0.1] * 5, 9, 12)
    efforts = dataset.read_episode(0, efforts=True).efforts
    assert efforts is not None
    assert efforts[0] == pytest.approx([0.1 * joint for joint in range(14)])


def test_killed_at_any_moment_it_loses_the_episode_in_progress_only(recorder: Recorder, client: RecorderClient) -> None:
    rng = random.Random(0)
    for kept in range(3):
        wait_ready(client)
        record(client, 0.6)
        client.trigger("recorder/stop")
        record(client, 0.6)
        time.sleep(rng.uniform(0.0, 0.3))
        if kept == 2:  # in the midst of writing the episode
            future = client.node.create_client(*_trigger("recorder/stop"))
            client.spin_until(future.service_is_ready, 5.0)
            future.call_async(_trigger("")[0].Request())
            time.sleep(rng.uniform(0.0, 0.05))
        recorder.kill()
        assert len(sound_but_for_leftovers(recorder.root)) >= kept + 1
        recorder.start()
    wait_ready(client)
    record(client, 0.6)
    client.trigger("recorder/stop")
    assert len(sound(recorder.root)) >= 4


def _trigger(name: str):  # type: ignore[no-untyped-def]
    from std_srvs.srv import Trigger

    return Trigger, name


def sound_but_for_leftovers(root: Path) -> Dataset:
    """Right after a kill every episode in the table is whole; totals and orphans are put right by the next start."""
    repaired = ("meta/info.json", "meta/stats.json", "data/", "videos/")
    errors = [problem for problem in check_dataset(root) if problem.severity == "error"]
    assert [problem for problem in errors if not problem.where.startswith(repaired)] == []
    return Dataset(root)


def test_a_full_disk_costs_one_episode_and_nothing_else(recorder: Recorder, client: RecorderClient) -> None:
    wait_ready(client)
    record(client, 0.6)
    client.trigger("recorder/stop")
    pid, (_, hard) = recorder.process.pid, resource.prlimit(recorder.process.pid, resource.RLIMIT_FSIZE)
    client.trigger("recorder/start")
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (8_000, hard))
    client.wait(
        lambda: "the episode is lost" in client.recorder.values["last"], 30.0, lambda: "the full disk is not noticed"
    )
    assert "all earlier ones are safe" in client.recorder.values["last"]
    assert len(sound(recorder.root)) == 1
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
    record(client, 0.6)
    assert client.trigger("recorder/stop").startswith("episode 1 kept")
    assert len(sound(recorder.root)) == 2


class Terminal:
    """`wav record --attach` in a real pseudo-terminal."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "wav_policy.cli", "record", "--attach"]
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.execv(sys.executable, command)
        self.text = ""

    def expect(self, pattern: str, timeout: float = 30.0) -> None:
        deadline = time.monotonic() + timeout
        while not re.search(pattern, self.text):
            assert time.monotonic() < deadline, f"no {pattern!r} in {self.text[-800:]!r}"
            if select.select([self.descriptor], [], [], 0.1)[0]:
                self.text += os.read(self.descriptor, 4096).decode()

    def press(self, key: str) -> None:
        self.text = ""
        os.write(self.descriptor, key.encode())

    def wait(self) -> int:
        def ended() -> bool:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

        wait_for(ended)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def wait_for(condition: Callable[[], bool], timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_keys_in_a_terminal(recorder: Recorder) -> None:
    terminal = Terminal()
    terminal.expect(r"\[s\] start .*\[q\] quit")
    terminal.expect("ready; 0 episodes, .* GB free")
    terminal.press("s")
    terminal.expect("recording episode 0: 'stack the plates'")
    terminal.expect(r"episode 0 +[1-9]\.\d s  \d+ frames +\d+\.\d+ Hz")
    terminal.press("y")
    terminal.expect("episode 0 kept, success")
    terminal.press("s")
    terminal.expect(r"episode 1 +[2-9]\.\d s")
    terminal.press("r")
    terminal.expect("recording episode 1")
    terminal.expect(r"episode 1 +[01]\.\d s")
    terminal.press("q")
    terminal.expect("press q again")
    terminal.press("d")
    terminal.expect("episode discarded")
    terminal.press("q")
    terminal.expect("1 episode recorded, 1 in the dataset")
    assert terminal.wait() == 0
    (episode,) = sound(recorder.root).episodes
    assert episode.success is True
