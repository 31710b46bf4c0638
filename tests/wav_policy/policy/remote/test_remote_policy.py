"""A policy server of somebody else, good and bad, behind the thread that plans."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from websockets.sync.server import ServerConnection

from tests.wav_policy.policy.remote.foreign_server import ForeignServer, packed, running
from wav_models import project_files
from wav_models.configuration import load
from wav_models.types import ActionChunk, Observation, Plan
from wav_policy.policy.chunk_continuation import ChunkContinuation, CommittedMotion
from wav_policy.policy.planning_worker import PlanningWorker
from wav_policy.policy.remote.address import check_address
from wav_policy.policy.remote.connection import MAX_ANSWER, TOKEN_VARIABLE, RemoteError
from wav_policy.policy.remote.mapping import RemoteMapping
from wav_policy.policy.remote.remote_policy import POSITIONS, STAMP, WAV_METADATA, RemotePolicy
from wav_policy.robot.joints import JOINT_DIM, JOINT_NAMES

MAPPING = replace(
    load(RemoteMapping, project_files.find("config/remote_openpi.yaml")), image_size=(16, 16), timeout=1.0
)
STATE = np.linspace(0.01, 0.14, JOINT_DIM)
PATIENCE = 20.0


def observe() -> Observation:
    return Observation(np.zeros((3, 1, 16, 16, 3), np.uint8), STATE, "fold the towel", time.time())


def still(question: dict[str, Any]) -> dict[str, Any]:
    return {"actions": np.tile(question["state"], (50, 1)).astype(np.float32), "server_timing": {"infer_ms": 12.5}}


@pytest.fixture
def server() -> Iterator[ForeignServer]:
    with running(ForeignServer(still)) as made:
        yield made


@pytest.fixture
def policy(server: ForeignServer) -> Iterator[RemotePolicy]:
    with closing(RemotePolicy(server.address, MAPPING)) as made:
        yield made


def test_an_answer_is_a_chunk_of_the_observations_moment(server: ForeignServer, policy: RemotePolicy) -> None:
    observation = observe()
    plan = policy.plan(observation)
    np.testing.assert_allclose(plan.chunk.positions, np.tile(STATE, (50, 1)), atol=1e-6)
    assert (plan.chunk.stamp, plan.chunk.step) == (observation.stamp, 0.02)
    assert plan.seconds["remote_inference"] == 0.0125
    assert set(server.questions[0]) == {"images", "state", "prompt"}
    assert policy.config.horizon.action_horizon == 50


def test_the_token_is_sent_as_openpis_client_does(
    server: ForeignServer, policy: RemotePolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "secret")
    policy.plan(observe())
    assert server.headers[0]["Authorization"] == "Api-Key secret"


def silent(connection: ServerConnection) -> None:
    connection.recv()
    connection.recv()


def dripping(connection: ServerConnection) -> None:
    connection.recv()

    def drip() -> Iterator[bytes]:
        while True:
            time.sleep(0.02)
            yield b"\x80"

    connection.send(drip())


def raw(*messages: bytes | str) -> Callable[[ServerConnection], None]:
    def behave(connection: ServerConnection) -> None:
        connection.recv()
        for message in messages:
            connection.send(message)
        connection.recv()

    return behave


def pushing(connection: ServerConnection) -> None:
    """Sends a chunk nobody asked for: the answer to a question would be that of the question before."""
    connection.send(packed(still({"state": STATE})))
    connection.recv()
    connection.recv()


def leaving(connection: ServerConnection) -> None:
    connection.recv()
    connection.close(1011, "Internal server error")


def actions(rows: Any) -> Callable[[ServerConnection], None]:
    return raw(packed({"actions": rows}))


ROWS = np.tile(MAPPING.to_remote(STATE), (50, 1))
BAD = {
    "silent": (silent, "no answer within 1 s"),
    "dripping": (dripping, "no answer within 1 s"),
    "leaves": (leaving, "closed the connection .Internal server error"),
    "reports": (
        raw("Traceback ...\n  x = 1/0\nZeroDivisionError: division by zero\n"),
        "reports 'ZeroDivisionError: div",
    ),
    "nonsense": (raw(b"\xc1\xff\x00"), "no message of openpi's protocol: not msgpack"),
    "pickle": (raw(b"\x80\x04\x95\x1a\x00."), "no message of openpi's protocol"),
    "oversized": (raw(bytes(MAX_ANSWER + 1)), f"larger than {MAX_ANSWER} bytes"),
    "NaN": (actions(np.full_like(ROWS, np.nan)), "nan in row 0, left_joint1"),
    "another robot": (actions(ROWS[:, :7]), "another robot"),
    "too few rows": (actions(ROWS[:3]), "3 rows"),
    "of yesterday": (actions(ROWS + 1.0), "begins 1.00 rad from where left_joint1 is"),
    "unasked": (pushing, "nobody had asked for"),
    "no actions": (raw(packed({"action": ROWS})), "actions is missing; there is action"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_server_is_named_and_taken_back_when_it_is_good(
    server: ForeignServer, policy: RemotePolicy, name: str
) -> None:
    server.behave, message = BAD[name]
    policy._connection.open()
    time.sleep(0.05 if name == "unasked" else 0.0)
    with pytest.raises(RemoteError, match=message) as caught:
        policy.plan(observe())
    assert str(caught.value).startswith(server.address)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 450
    server.behave = server.answer_all
    with contextlib.suppress(RemoteError):  # of a connection that the server has ended meanwhile
        policy.plan(observe())
    np.testing.assert_allclose(policy.plan(observe()).chunk.positions[0], STATE, atol=1e-6)


def test_a_late_answer_is_never_taken_for_that_of_the_next_question(
    server: ForeignServer, policy: RemotePolicy
) -> None:
    def late(connection: ServerConnection) -> None:
        connection.recv()
        server.ended.wait(1.3)
        connection.send(packed({"actions": ROWS + 0.1}))
        connection.recv()

    server.behave = late
    with pytest.raises(RemoteError, match="no answer"):
        policy.plan(observe())
    server.behave = server.answer_all
    time.sleep(0.5)
    np.testing.assert_allclose(policy.plan(observe()).chunk.positions[0], STATE, atol=1e-6)


def test_an_answer_whose_rows_are_all_past_is_refused(server: ForeignServer) -> None:
    def slow(question: dict[str, Any]) -> dict[str, Any]:
        server.ended.wait(0.15)
        return still(question)

    server.answer = slow
    fast = replace(MAPPING, step_hz=500.0)
    with (
        closing(RemotePolicy(server.address, fast)) as policy,
        pytest.raises(RemoteError, match="50 rows last 0.10 s: all are past"),
    ):
        policy.plan(observe())


def test_nobody_there_is_said_and_does_not_keep_the_node_from_starting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with closing(RemotePolicy(f"ws://127.0.0.1:{port}", MAPPING)) as policy:
        for ask in (policy.warm_up, lambda: policy.plan(observe())):
            with pytest.raises(RemoteError, match="nobody listens there; start the policy server"):
                ask()
        with running(ForeignServer(still), port):
            policy.plan(observe())


def test_what_is_no_websocket_server_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        policy = RemotePolicy(f"ws://127.0.0.1:{listener.getsockname()[1]}", MAPPING)
        with pytest.raises(RemoteError, match="no websocket server"):
            policy.plan(observe())
        thread.join()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("lerobot://robot:8080", "sends pickles.*openpi's protocol"),
        ("http://robot:8000", "ws://HOST:PORT or wss://HOST:PORT fits"),
        ("robot:8000", "ws://HOST:PORT"),
        ("ws://", "ws://HOST:PORT"),
        ("ws://robot:port", "ws://HOST:PORT"),
        ("ws://user:pw@robot:8000", "ws://HOST:PORT"),
    ],
)
def test_a_wrong_address_is_refused(address: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_address(address)


def test_joints_the_policy_does_not_know_do_not_sag_from_chunk_to_chunk(server: ForeignServer) -> None:
    mapping, sagging, gripper = replace(MAPPING, joints=JOINT_NAMES[:6]), 8, 13
    with closing(RemotePolicy(server.address, mapping)) as policy:
        told = policy.plan(observe()).chunk.positions[-1]
        for _ in range(5):
            state = told - 0.03 * (np.arange(JOINT_DIM) == sagging)
            state[gripper] = told[gripper] + 0.02  # around what it holds
            told = policy.plan(replace(observe(), joint_state=state)).chunk.positions[-1]
        np.testing.assert_allclose(told, STATE, atol=1e-6)
        moved = STATE + 0.4 * (np.arange(JOINT_DIM) == sagging)
        before, told = told, policy.plan(replace(observe(), joint_state=moved)).chunk.positions[-1]
        assert told[sagging] == moved[sagging], "by hand, or by piper/home"
        np.testing.assert_allclose(before, STATE, atol=1e-6, err_msg="the plan before is as it was")
        policy.plan(observe())
        policy.reset()
        told = policy.plan(replace(observe(), joint_state=state)).chunk.positions[-1]
        assert told[sagging] == state[sagging] < STATE[sagging], "where it is when an episode begins"
        assert policy.plan(replace(observe(), joint_state=STATE)).chunk.positions[-1][sagging] == state[sagging]


def test_a_server_that_says_its_mapping_needs_no_file(server: ForeignServer) -> None:
    with pytest.raises(RemoteError, match="policy_mapping:=FILE"):
        RemotePolicy(server.address)
    server.metadata = {WAV_METADATA: asdict(MAPPING)}
    server.answer = lambda question: {**still(question), STAMP: question[STAMP]}
    with closing(RemotePolicy(server.address)) as policy:
        assert policy.mapping == MAPPING
        committed = CommittedMotion(np.tile(STATE, (50, 1)), np.linspace(1.0, 0.0, 50))
        policy.plan(observe(), committed=committed)
        np.testing.assert_allclose(server.questions[-1][POSITIONS][:, 0], STATE[0])
        server.answer = lambda question: {**still(question), STAMP: question[STAMP] - 1.0}
        with pytest.raises(RemoteError, match="of another observation"):
            policy.plan(observe())
        server.metadata = {WAV_METADATA: asdict(replace(MAPPING, step_hz=10.0))}
        policy.close()
        with pytest.raises(RemoteError, match="another policy now"):
            policy.plan(observe())


@pytest.mark.parametrize(
    "metadata", [{WAV_METADATA: {"step_hz": -1.0}}, {WAV_METADATA: {}}, b"\xc1", b"\x93\x01\x02\x03"]
)
def test_bad_metadata_are_named(server: ForeignServer, metadata: Any) -> None:
    left = threading.Event()

    def watch(connection: ServerConnection) -> None:
        try:
            connection.recv()
        finally:
            left.set()

    server.metadata, server.behave = metadata, watch
    with pytest.raises(RemoteError, match="step_hz|is missing|openpi's protocol|policy_mapping"):
        RemotePolicy(server.address)
    assert left.wait(5.0), "a connection that nobody will use is left open"


class Delivered:
    """A planning worker around a remote policy, and what it delivered."""

    def __init__(self, policy: RemotePolicy) -> None:
        self.chunks: list[ActionChunk] = []
        self.reported: list[str] = []
        self.worker = PlanningWorker(
            policy,
            observe,
            lambda: None,
            self._deliver,
            interval=0.1,
            continuation=ChunkContinuation("rtc", policy.config.horizon),
            clock=time.time,
            report_error=self.reported.append,
        )
        self.worker.activate()

    def _deliver(self, plan: Plan) -> None:
        self.chunks.append(plan.chunk)

    def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, self.worker.blocked
            time.sleep(0.005)


def test_silence_lets_the_arms_hold_and_the_server_is_used_again_when_it_is_back(
    server: ForeignServer, policy: RemotePolicy
) -> None:
    gone = threading.Event()

    def mute(connection: ServerConnection) -> None:
        while True:
            data = connection.recv()
            if gone.is_set():
                server.ended.wait(0.2)
                continue
            server.questions.append({})
            connection.send(packed({"actions": ROWS}))
            assert data

    server.behave = mute
    around = Delivered(policy)
    try:
        around.until(lambda: len(around.chunks) >= 3)
        assert around.worker.stands
        gone.set()
        around.until(lambda: not around.worker.stands)
        around.until(lambda: around.worker.blocked is not None)
        assert around.worker.blocked is not None
        assert f"{server.address}: no answer within 1 s" in around.worker.blocked
        gone.clear()
        count = len(around.chunks)
        around.until(lambda: len(around.chunks) > count)
        around.until(lambda: around.worker.stands)
        assert around.reported
        assert not any("Traceback" in text for text in around.reported)
    finally:
        around.worker.close()
