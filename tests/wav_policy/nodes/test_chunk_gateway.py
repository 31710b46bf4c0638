"""The process that listens for piper_node: what it passes on, and what follows when either of the two is gone."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

rclpy = pytest.importorskip("rclpy")

from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402

from tests.wav_policy.nodes.arms_process import LOOP, Probe, Robot  # noqa: E402
from wav_models.types import ActionChunk  # noqa: E402
from wav_policy.control.joint_trajectory import Progress  # noqa: E402
from wav_policy.nodes.chunk_gateway import Speaker, listen  # noqa: E402
from wav_policy.nodes.messages import chunk_topic  # noqa: E402
from wav_policy.nodes.messages.gateway_words import (  # noqa: E402
    MAX_INTRODUCTION,
    MAX_PACKET,
    NAME,
    Answer,
    Beat,
    Ended,
    Introduction,
    Lost,
    Order,
    Refused,
    UnderWay,
    Wanted,
    Word,
    pack,
    unpack,
    unpack_order,
)
from wav_policy.nodes.messages.limits import MAX_ROWS  # noqa: E402
from wav_policy.nodes.messages.trajectory import chunk_to_message  # noqa: E402
from wav_policy.nodes.runtime import chunk_listener  # noqa: E402
from wav_policy.nodes.runtime.chunk_listener import ChunkListener  # noqa: E402
from wav_policy.robot.joints import JOINT_DIM  # noqa: E402

pytestmark = pytest.mark.ros

LISTENER = "piper_node: chunk listener"


def chunk(stamp: float, rows: int = 4) -> ActionChunk:
    return ActionChunk(np.full((rows, JOINT_DIM), 0.25), stamp, 0.1)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30.0
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def heard(end: socket.socket) -> list[Word]:
    words: list[Word] = []
    while True:
        try:
            words.append(unpack(end.recv(MAX_PACKET, socket.MSG_DONTWAIT)))
        except BlockingIOError:
            return [word for word in words if not isinstance(word, Beat)]


def gist(word: Word) -> str | float:
    match word:
        case ActionChunk():
            return word.stamp
        case Wanted(_, transition):
            return transition
        case Refused(reason) | Lost(reason):
            return reason
    raise AssertionError(word)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ([chunk(1.0), chunk(2.0)], [2.0]),
        ([chunk(1.0), Refused("a")], ["a"]),
        ([Refused("a"), chunk(1.0)], ["a", 1.0]),
        ([Lost("a"), chunk(1.0), chunk(2.0)], ["a", 2.0]),
        ([Refused("a"), Wanted(1, 3), chunk(1.0), Lost("b")], [3, "b"]),
        ([Refused("a"), chunk(1.0), Lost("b"), chunk(2.0)], ["b", 2.0]),
    ],
)
def test_of_many_words_the_newest_are_told(
    said: list[Word], told: list[str | float], ends: tuple[socket.socket, socket.socket]
) -> None:
    """A reason to hold is never overtaken by an older chunk, nor lost to a newer one."""
    speaker = Speaker(ends[1])
    for word in said:
        speaker.say(word)
    speaker.speak()
    assert [gist(word) for word in heard(ends[0])] == told


def test_nobody_waits_for_a_reader_who_does_not_read(ends: tuple[socket.socket, socket.socket]) -> None:
    speaker, longest, stamp = Speaker(ends[1]), 0.0, 0.0
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        stamp += 1.0
        speaker.say(chunk(stamp, MAX_ROWS))
        start = time.thread_time()
        wait = speaker.speak()
        longest = max(longest, time.thread_time() - start)
        time.sleep(wait)
    assert longest < 0.05
    assert len(heard(ends[0])) < 40, "what waits is bounded"
    time.sleep(0.01)
    speaker.speak()
    (word,) = heard(ends[0])
    assert isinstance(word, ActionChunk)
    assert word.stamp == stamp


def test_it_says_when_nobody_is_left(ends: tuple[socket.socket, socket.socket]) -> None:
    speaker = Speaker(ends[1])
    ends[0].close()
    with pytest.raises(ConnectionError):
        speaker.speak()


def test_after_something_large_it_rests_and_beats_on(ends: tuple[socket.socket, socket.socket]) -> None:
    """A flood is taken for a twentieth of the time, and what waits meanwhile is not mistaken for silence."""
    taken: list[float] = []

    class Flooded(SingleThreadedExecutor):
        """Something large has always come."""

        def spin_once(self, timeout_sec: float | None = None) -> None:
            taken.append(time.monotonic())
            end = time.thread_time() + 0.03
            while time.thread_time() < end:
                pass

    beats, reasons = 0, []

    def attend() -> None:
        nonlocal beats
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            word = unpack(ends[0].recv(MAX_PACKET))
            beats += isinstance(word, Beat)
            reasons.extend([word] * isinstance(word, Lost))
        ends[0].close()

    rclpy.init(args=[])
    reader = threading.Thread(target=attend)
    try:
        reader.start()
        with pytest.raises(ConnectionError):
            listen(Speaker(ends[1]), Flooded())
    finally:
        reader.join()
        rclpy.shutdown()
    assert 2 <= len(taken) <= 6
    assert beats > 20
    assert "nobody listens to it for 0.6 s after a message that took" in str(reasons[0]), "the policy may die meanwhile"


def test_a_callback_that_fails_holds_the_arms_and_does_not_end_the_listening(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    """One that goes on failing does: a new process is better then."""
    turns = 0

    class Failing(SingleThreadedExecutor):
        """Every other time, then always."""

        def spin_once(self, timeout_sec: float | None = None) -> None:
            nonlocal turns
            turns += 1
            if turns % 2 or turns > 20:
                raise ValueError(f"200 is not a valid Type ({turns})")

    rclpy.init(args=[])
    try:
        with pytest.raises(ValueError, match="not a valid Type"):
            listen(Speaker(ends[1]), Failing())
    finally:
        rclpy.shutdown()
    assert turns > 25
    reasons = [word.reason for word in heard(ends[0]) if isinstance(word, Refused)]
    assert reasons[0] == "a message could not be dealt with: ValueError: 200 is not a valid Type (1)"


def test_the_rest_after_a_message_that_was_refused_does_not_hide_why(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    for said, told in (([], ["rest"]), ([chunk(1.0)], ["rest"]), ([Refused("too long")], ["too long"])):
        speaker = Speaker(ends[1])
        for word in said:
            speaker.say(word)
        speaker.make_hold("rest")
        speaker.speak()
        assert [gist(word) for word in heard(ends[0])] == told


INTRODUCTION = Introduction("arms", 1, ((1, "here"), (2, "there")), ((7, "go", 1, "here", 2, "there"),), ())


def test_it_listens_where_the_topic_was_remapped_to_and_asks_for_transitions(probe: Probe) -> None:
    chunks: list[ActionChunk] = []
    reasons: list[str] = []
    wanted: list[Wanted] = []
    listener = ChunkListener(
        "/robot/other_chunk",
        "/robot",
        chunks.append,
        reasons.append,
        lambda _: None,
        lambda: INTRODUCTION,
        wanted.append,
    )
    publisher = probe.node.create_publisher(JointTrajectory, "/robot/other_chunk", chunk_topic.REQUESTED_QOS)
    try:
        listener.wait()
        probe.wait_until(lambda: publisher.get_subscription_count() == 1)
        publisher.publish(chunk_to_message(chunk(3.0)))
        probe.wait_until(lambda: bool(chunks))
        np.testing.assert_array_equal(chunks[0].positions, chunk(3.0).positions)
        assert (chunks[0].stamp, chunks[0].step) == (3.0, 0.1)
        publisher.publish(JointTrajectory(joint_names=["x"] * 300))
        probe.wait_until(lambda: any("300 joint names refused" in reason for reason in reasons))
        assert listener.state.num_restarts == 0
        probe.wait_until(lambda: (NAME, "/robot") in probe.node.get_node_names_and_namespaces())
        names = {name for name, _ in probe.node.get_service_names_and_types_by_node(NAME, "/robot")}
        assert {name.rpartition("/")[0] for name in names} == {"/robot/arms"}, "of the one it answers for, none its own"
        client = probe.node.create_client(ChangeState, "/robot/arms/change_state")
        probe.wait_until(client.service_is_ready)
        answer = client.call_async(ChangeState.Request(transition=Transition(label="go")))
        probe.wait_until(lambda: bool(wanted))
        (asked,) = wanted
        assert asked.transition == 7
        probe.spin(0.2)
        assert not answer.done()
        listener.tell(Answer(asked.number ^ 1, True, 2))  # to another question
        probe.spin(0.2)
        assert not answer.done()
        listener.tell(Answer(asked.number, True, 2))
        probe.wait_until(answer.done)
        assert answer.result().success
    finally:
        listener.close()
        probe.node.destroy_publisher(publisher)
    assert children(psutil.Process()) == []


def test_where_no_process_can_be_started_it_is_tried_again_ever_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    start = subprocess.Popen
    said: list[str] = []

    def fail_thrice(*arguments: Any, **options: Any) -> Any:
        if len(said) == 2:
            monkeypatch.setattr(subprocess, "Popen", start)
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(subprocess, "Popen", fail_thrice)
    nothing = [lambda _: None] * 2
    listener = ChunkListener(
        "/robot/other_chunk", "/robot", *nothing, said.append, lambda: INTRODUCTION, lambda _: None
    )
    try:
        listener.wait()
        assert "BlockingIOError: [Errno 11] Resource temporarily unavailable; started again" in said[0]
        assert [text.rpartition("started again in ")[2] for text in said] == ["0.2 s", "0.4 s", "0.8 s"]
        assert listener.state.num_restarts == 3
    finally:
        listener.close()


class Lingering:
    """In place of the process that listens: it has gone from the socket, but takes its time to end."""

    def __init__(self, command: Sequence[str], **options: Any) -> None:
        descriptor = int(command[3])
        with socket.socket(fileno=os.dup(descriptor)) as end:
            end.send(pack(Beat()))

    def wait(self, timeout: float | None = None) -> int:
        time.sleep(1.0 if timeout is None else timeout)
        return 1

    kill = wait


def test_the_arms_hold_as_soon_as_it_is_gone_however_long_it_takes_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[float] = []
    began = time.monotonic()
    monkeypatch.setattr(subprocess, "Popen", Lingering)
    monkeypatch.setattr(chunk_listener, "_END_TIME", 1.0)
    nothing = [lambda _: None] * 3
    listener = ChunkListener(
        "/chunk", "/", nothing[0], lambda _: held.append(time.monotonic()), nothing[1], lambda: INTRODUCTION, nothing[2]
    )
    try:
        wait_for(lambda: bool(held))
        assert held[0] - began < 0.5
    finally:
        listener.close()


class Resting:
    """In place of the process that listens: it beats, and reads nothing for a while."""

    end: socket.socket

    def __init__(self, command: Sequence[str], **options: Any) -> None:
        Resting.end = socket.socket(fileno=os.dup(int(command[3])))
        Resting.end.send(pack(Beat()))

    def wait(self, timeout: float | None = None) -> int:
        return 0


def test_how_a_goal_ended_is_told_after_a_rest_in_which_the_socket_was_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it was lost, whoever sent the goal, or wanted a transition, would wait for ever."""
    monkeypatch.setattr(subprocess, "Popen", Resting)
    nothing = [lambda _: None] * 4
    listener = ChunkListener("/chunk", "/", *nothing[:3], lambda: INTRODUCTION, nothing[3])
    try:
        listener.wait()
        moment = Progress(0.0, np.zeros((2, JOINT_DIM)), np.zeros((2, JOINT_DIM)))
        told: list[Order] = [Ended(7, 0, False, ""), Answer(8, True, 3)]
        for order in (*[UnderWay(7, moment)] * 2000, *told):
            listener.tell(order)
        heard: list[Order] = []
        wait_for(lambda: Resting.end.send(pack(Beat())) > 0 and told[-1] in _drain(heard))
        assert heard[-2:] == told
        assert len(heard) < 1000, "it was full"
    finally:
        Resting.end.close()
        listener.close()


def _drain(heard: list[Order]) -> list[Order]:
    with suppress(BlockingIOError):
        while True:
            heard.append(unpack_order(Resting.end.recv(MAX_INTRODUCTION, socket.MSG_DONTWAIT)))
    return heard[-1:]


def test_whoever_is_told_cannot_end_the_listening(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(ChunkListener, "_pass_on", lambda self, packet: 1 / 0)
    nothing = [lambda _: None] * 3
    listener = ChunkListener("/chunk", "/", nothing[0], nothing[1], said.append, lambda: INTRODUCTION, nothing[2])
    try:
        wait_for(lambda: len(said) > 1)
        assert "ZeroDivisionError: division by zero; started again" in said[0]
    finally:
        listener.close()


def children(process: psutil.Process) -> list[psutil.Process]:
    return [child for child in process.children() if any("chunk_gateway" in word for word in child.cmdline())]


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory, repository: Path, probe: Probe) -> Iterator[Robot]:
    """Active; holds."""
    robot = Robot(tmp_path_factory.mktemp("arms"), repository, ["-p", "control_rate:=100.0"])
    for arm in robot.arms:
        arm.start()
    assert probe.change_state(Transition.TRANSITION_CONFIGURE)
    assert probe.change_state(Transition.TRANSITION_ACTIVATE)
    probe.wait_until(lambda: probe.chunks.get_subscription_count() >= 1)
    yield robot
    robot.close()


def test_piper_node_takes_nothing_of_any_length(probe: Probe, robot: Robot) -> None:
    def kinds() -> set[str]:
        return {
            kind for _, kinds in probe.node.get_service_names_and_types_by_node("piper_node", "/") for kind in kinds
        }

    probe.wait_until(lambda: ("piper_node", "/") in probe.node.get_node_names_and_namespaces())
    probe.wait_until(lambda: "std_srvs/srv/Trigger" in kinds())
    assert probe.node.get_subscriber_names_and_types_by_node("piper_node", "/") == []
    assert kinds() == {"std_srvs/srv/SetBool", "std_srvs/srv/Trigger"}


def gateway(robot: Robot) -> psutil.Process:
    (process,) = children(psutil.Process(robot.process.pid))
    return process


def follow(probe: Probe, robot: Robot) -> None:
    probe.lead(robot.position, 0.1, lambda: probe.messages().get(LOOP) == "following the chunk", rows=20)


def lost(probe: Probe) -> bool:
    return "policy lost: the process that listens" in probe.messages()[LOOP] and "holding" in probe.messages()[LOOP]


def test_the_arms_hold_when_it_is_killed_and_go_on_once_it_is_back(probe: Probe, robot: Robot) -> None:
    follow(probe, robot)
    first = gateway(robot)
    first.kill()
    probe.wait_until(lambda: lost(probe))
    probe.wait_until(lambda: probe.value(LISTENER, "restarts") == "1")
    probe.wait_until(lambda: probe.messages()[LISTENER] == "listening to action_chunk", 30.0)
    assert gateway(robot).pid != first.pid
    follow(probe, robot)
    assert "policy lost" in robot.log.read_text()


def test_the_arms_hold_while_it_is_frozen_and_go_on_after(probe: Probe, robot: Robot) -> None:
    follow(probe, robot)
    before = int(probe.value(LISTENER, "silences"))
    process = gateway(robot)
    process.send_signal(signal.SIGSTOP)
    probe.wait_until(lambda: lost(probe))
    process.send_signal(signal.SIGCONT)
    probe.wait_until(lambda: probe.messages()[LISTENER] == "listening to action_chunk")
    assert int(probe.value(LISTENER, "silences")) > before
    follow(probe, robot)
    assert gateway(robot).pid == process.pid


def test_piper_node_comes_before_ordinary_processes_and_this_one_is_ordinary(probe: Probe, robot: Robot) -> None:
    follow(probe, robot)
    told = probe.value(LOOP, "scheduling")
    assert told == "SCHED_FIFO 50" or told.startswith("ordinary, not permitted")
    expected = os.SCHED_FIFO if told == "SCHED_FIFO 50" else os.SCHED_OTHER
    threads = Path(f"/proc/{robot.process.pid}/task").iterdir()
    assert {os.sched_getscheduler(int(thread.name)) for thread in threads} == {expected}

    first = gateway(robot)
    assert os.sched_getscheduler(first.pid) == os.SCHED_OTHER
    for process in (robot.process.pid, first.pid):
        assert "/dev/shm/fastrtps" not in Path(f"/proc/{process}/maps").read_text()
    first.kill()
    probe.wait_until(lambda: lost(probe))
    probe.wait_until(lambda: probe.messages()[LISTENER] == "listening to action_chunk", 30.0)
    assert os.sched_getscheduler(gateway(robot).pid) == os.SCHED_OTHER


def test_one_that_hangs_is_replaced(probe: Probe, robot: Robot) -> None:
    first = gateway(robot)
    first.send_signal(signal.SIGSTOP)
    probe.wait_until(lambda: not first.is_running(), 20.0)
    probe.wait_until(lambda: probe.messages()[LISTENER] == "listening to action_chunk", 30.0)
    follow(probe, robot)


def test_signals_that_end_others_leave_it_to_piper_node(probe: Probe, robot: Robot) -> None:
    """Ctrl-C reaches both: the arms are held by piper_node, in its own order."""
    process = gateway(robot)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        process.send_signal(number)
    probe.spin(0.5)
    assert process.is_running()
    follow(probe, robot)


def test_it_ends_with_piper_node(probe: Probe, robot: Robot) -> None:
    process = gateway(robot)
    robot.process.send_signal(signal.SIGTERM)
    assert robot.process.wait(10.0) == 0
    assert not process.is_running()
    assert "Traceback" not in robot.log.read_text()


def test_it_does_not_outlive_a_piper_node_that_was_killed(tmp_path: Path, repository: Path, probe: Probe) -> None:
    """Not even when it is frozen itself, and would not notice."""
    robot = Robot(tmp_path, repository)
    for arm in robot.arms:
        arm.start()
    try:
        assert probe.change_state(Transition.TRANSITION_CONFIGURE)
        process = gateway(robot)
        process.send_signal(signal.SIGSTOP)
        robot.process.kill()
        assert psutil.wait_procs([process], 3.0)[1] == []
    finally:
        robot.close()
