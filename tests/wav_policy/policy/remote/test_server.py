"""What `wav serve` runs: our own client, openpi's client, and clients that do not behave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.wav_policy.policy.remote.foreign_server import packed, unpacked
from wav_models import project_files
from wav_models.data.images import resize_image
from wav_models.planner.config import PlannerConfig
from wav_models.presets import WAV_TINY
from wav_models.types import ActionChunk, ImageArray, Observation, Plan, PlanRound
from wav_policy.bringup.arguments import DEFAULT_CHECKPOINT
from wav_policy.policy.chunk_continuation import CommittedMotion
from wav_policy.policy.remote.connection import TOKEN_VARIABLE, RemoteError
from wav_policy.policy.remote.remote_policy import POSITIONS, WEIGHT, RemotePolicy
from wav_policy.policy.remote.server import MAX_CLIENTS, PolicyServer
from wav_policy.policy.wav_policy import WAVPolicy
from wav_policy.robot.joints import JOINT_DIM

STATE = np.linspace(0.01, 0.14, JOINT_DIM)
VARIABLE = "WAV_OPENPI_PYTHON"


class Recorded:
    """A policy that stays where it is, and remembers what it was asked."""

    def __init__(self) -> None:
        self.config = WAV_TINY
        self.planner = PlannerConfig(num_iterations=0)
        self.rounds: tuple[PlanRound, ...] = ()
        self.description = "no networks"
        self.asked: list[tuple[Observation, CommittedMotion | None]] = []
        self.num_resets = 0
        self.error: Exception | None = None

    fit_image = staticmethod(resize_image)

    def plan(self, observation: Observation, *, committed: CommittedMotion | None = None, **_: Any) -> Plan:
        if self.error is not None:
            raise self.error
        self.asked.append((observation, committed))
        chunk = ActionChunk(np.tile(observation.joint_state, (16, 1)), observation.stamp, 0.1)
        return Plan(chunk, np.ones(16), self.rounds, "planning off", {}, 0)

    def imagine(self, plan: Plan) -> ImageArray:
        raise NotImplementedError

    def futures(self, plan: Plan) -> None:
        return None

    def alternatives(self, plan: Plan, count: int) -> tuple[()]:
        return ()

    def reset(self) -> None:
        self.num_resets += 1

    def warm_up(self, instruction: str = "") -> float:
        return 0.0

    def close(self) -> None:
        pass


@pytest.fixture
def policy() -> Recorded:
    return Recorded()


@pytest.fixture
def server(policy: Recorded) -> Iterator[PolicyServer]:
    with closing(PolicyServer(policy, "127.0.0.1", 0, None)) as made:
        yield made


@pytest.fixture
def client(server: PolicyServer) -> Iterator[ClientConnection]:
    with connect(f"ws://127.0.0.1:{server.port}", max_size=None, proxy=None) as made:
        yield made


def question(value: int = 7) -> dict[str, Any]:
    picture = np.full((48, 64, 3), value, np.uint8)
    return {
        "images": dict.fromkeys(("head", "left_wrist", "right_wrist"), picture),
        "state": STATE,
        "prompt": "put the bowl on the plate",
    }


def test_our_own_client_is_answered_as_if_it_planned_itself(server: PolicyServer, policy: Recorded) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 2, 64, 64, 3), dtype=np.uint8)
    observation = Observation(frames, STATE, "put it down", 1700000000.123456)
    committed = CommittedMotion(np.tile(STATE, (16, 1)), np.linspace(1.0, 0.0, 16))
    with closing(RemotePolicy(f"ws://127.0.0.1:{server.port}")) as remote:
        assert remote.config.horizon.step_hz == WAV_TINY.horizon.step_hz
        assert remote.config.latent.image_size == WAV_TINY.latent.image_size
        plan = remote.plan(observation, committed=committed)
    asked, told = policy.asked[0]
    np.testing.assert_array_equal(asked.images, frames)
    np.testing.assert_array_equal(asked.joint_state, STATE)
    assert (asked.instruction, asked.stamp) == (observation.instruction, observation.stamp)
    assert told is not None
    np.testing.assert_array_equal(told.positions, committed.positions)
    np.testing.assert_array_equal(told.weight, committed.weight)
    assert (plan.chunk.stamp, plan.chunk.step) == (observation.stamp, 0.1)


def test_one_picture_at_a_time_is_given_a_memory(client: ClientConnection, policy: Recorded) -> None:
    unpacked(client.recv())
    for value in (10, 20):
        client.send(packed(question(value)))
        assert unpacked(client.recv())["actions"].shape == (16, 14)
    first, second = (asked.images for asked, _ in policy.asked)
    assert (first == 10).all()
    assert (second[:, 0] == 10).all()
    assert (second[:, 1] == 20).all()


def test_plans_without_a_round_are_told_where_rounds_are_asked_for(policy: Recorded) -> None:
    said: list[str] = []
    for policy.planner in (PlannerConfig(num_iterations=0), PlannerConfig(num_iterations=3)):
        with (
            closing(PolicyServer(policy, "127.0.0.1", 0, None, said.append)) as server,
            connect(f"ws://127.0.0.1:{server.port}") as client,
        ):
            client.recv()
            one = (PlanRound(np.zeros(2), np.zeros((2, 1)), np.zeros(2), 0.1),)
            for policy.rounds in ((), (), *9 * [one]):
                client.send(packed(question()))
                client.recv()
    told = [text for text in said if "plan" in text]
    assert told == ["acting WITHOUT planning: the deadline leaves no time for a round", "planning again"]


def test_another_clients_task_is_no_warm_start(server: PolicyServer, policy: Recorded) -> None:
    with connect(f"ws://127.0.0.1:{server.port}") as one, connect(f"ws://127.0.0.1:{server.port}") as two:
        for client in (one, one, two):
            client.send(packed(question()))
        for client in (one, two):
            unpacked(client.recv())
            unpacked(client.recv())
    assert policy.num_resets >= 2


BAD: list[tuple[bytes | str, str]] = [
    ("hello", "sends bytes"),
    (b"\xc1", "not msgpack"),
    (b"\x80\x04\x95.", "not msgpack"),
    (packed({}), "images/head is missing"),
    (packed({**question(), "state": STATE[:7]}), r"state is float64 [7]"),
    (packed({**question(), "state": STATE * np.nan}), "not finite"),
    (packed({**question(), "prompt": " "}), "prompt"),
    (packed({**question(), "images": {"head": np.zeros((4, 4), np.uint8)}}), "images/head (head) is uint8 [4, 4]"),
    (packed({**question(), POSITIONS: np.zeros((3, 14)), WEIGHT: np.zeros(3)}), POSITIONS),
    (packed({**question(), POSITIONS: np.zeros((16, 14))}), WEIGHT),
]


@pytest.mark.parametrize(("message", "said"), BAD)
def test_a_bad_question_is_answered_in_words_and_the_next_one_is_served(
    client: ClientConnection, message: bytes | str, said: str
) -> None:
    client.recv()
    client.send(message)
    answer = client.recv()
    assert isinstance(answer, str)
    assert said in answer
    client.send(packed(question()))
    assert isinstance(client.recv(), bytes)


def test_a_policy_that_fails_does_not_end_the_server(server: PolicyServer, policy: Recorded) -> None:
    policy.error = ValueError("the scores are not finite")
    observation = Observation(np.zeros((3, 2, 64, 64, 3), np.uint8), STATE, "put it down", 1.0)
    with closing(RemotePolicy(f"ws://127.0.0.1:{server.port}")) as remote:
        with pytest.raises(RemoteError, match="reports 'planning failed: ValueError: the scores are not finite'"):
            remote.plan(observation)
        policy.error = None
        remote.plan(observation)


def test_who_has_left_is_not_planned_for(server: PolicyServer, policy: Recorded) -> None:
    with server._planning, connect(f"ws://127.0.0.1:{server.port}") as client:  # a plan for somebody is under way
        client.recv()
        client.send(packed(question()))
        client.close()
    with connect(f"ws://127.0.0.1:{server.port}") as client:
        client.recv()
        client.send(packed(question(9)))
        client.recv()
    assert [int(asked.images.max()) for asked, _ in policy.asked] == [9]


def test_without_the_token_nobody_is_served(policy: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(PolicyServer(policy, "127.0.0.1", 0, "a-token-of-many-letters")) as server:
        address = f"ws://127.0.0.1:{server.port}"
        for wrong in (None, "Api-Key a-token", "Bearer a-token-of-many-letters"):
            with pytest.raises(InvalidStatus, match="401"):
                connect(address, additional_headers={"Authorization": wrong} if wrong else None)
        monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
        with pytest.raises(RemoteError, match=f"HTTP status 401; set {TOKEN_VARIABLE}"):
            RemotePolicy(address)
        monkeypatch.setenv(TOKEN_VARIABLE, "a-token-of-many-letters")
        with closing(RemotePolicy(address)):
            pass


def test_web_pages_are_not_served(server: PolicyServer) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"ws://127.0.0.1:{server.port}", origin="http://127.0.0.1:8000")  # type: ignore[arg-type]


def test_no_more_clients_than_the_server_can_hold(server: PolicyServer) -> None:
    address = f"ws://127.0.0.1:{server.port}"
    clients = [connect(address) for _ in range(MAX_CLIENTS)]
    for client in clients:
        client.recv()
    with connect(address) as late, pytest.raises(ConnectionClosed, match="clients are served already"):
        late.recv()
    for client in clients:
        client.close()


def test_closing_ends_the_connections_and_their_threads(policy: Recorded) -> None:
    before = threading.active_count()
    server = PolicyServer(policy, "127.0.0.1", 0, None)
    with connect(f"ws://127.0.0.1:{server.port}") as client:
        client.recv()
        server.close()
        with pytest.raises(ConnectionClosed, match="the server ends"):
            client.recv()
    for _ in range(200):
        if threading.active_count() <= before:
            return
        threading.Event().wait(0.02)
    raise AssertionError(threading.enumerate())


def test_openpis_own_client_uses_the_trained_checkpoint() -> None:
    python = os.environ.get(VARIABLE) or (sys.executable if find_spec("openpi_client") else "")
    if not python:
        pytest.skip(f"set {VARIABLE} to the Python of an environment with openpi-client (docs/remote.md)")
    trained = WAVPolicy.load(
        project_files.find(DEFAULT_CHECKPOINT), engine="torch", num_threads=1, planner=PlannerConfig(num_iterations=0)
    )
    reports: list[str] = []
    with closing(PolicyServer(trained, "127.0.0.1", 0, "a-token-of-many-letters", reports.append)) as server:
        script = Path(__file__).with_name("openpi_robot.py")
        arguments = ["127.0.0.1", str(server.port), "a-token-of-many-letters", "240", "424", "3"]
        done = subprocess.run([python, script, *arguments], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    horizon = trained.config.horizon
    assert found["step_hz"] == horizon.step_hz
    assert found["shapes"] == [[horizon.action_horizon, JOINT_DIM]] * 4
    assert found["finite"]
    assert np.abs(np.array(found["first"]) - STATE).max() < 1.0
    assert found["infer_ms"] > 0.0
    assert "state is float64 [7]" in found["refused"]
    assert any("connected" in text for text in reports)


def test_a_served_policy_gives_the_chunk_it_gives_at_home() -> None:
    planner = replace(PlannerConfig(), num_iterations=0)
    trained = WAVPolicy.load(project_files.find(DEFAULT_CHECKPOINT), engine="torch", num_threads=1, planner=planner)
    frames = np.random.default_rng(0).integers(0, 256, (3, 2, 64, 64, 3), dtype=np.uint8)
    observation = Observation(frames, STATE, "put the bowl on the plate", 5.0)
    committed = CommittedMotion(np.tile(STATE, (16, 1)), np.where(np.arange(16) < 4, 1.0, 0.0))
    here = trained.plan(observation, committed=committed).chunk.positions
    with (
        closing(PolicyServer(trained, "127.0.0.1", 0, None)) as server,
        closing(RemotePolicy(f"ws://127.0.0.1:{server.port}")) as remote,
    ):
        there = remote.plan(observation, committed=committed).chunk.positions
    np.testing.assert_allclose(there, here, atol=1e-6)
