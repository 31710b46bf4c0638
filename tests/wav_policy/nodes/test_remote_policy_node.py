"""The policy node with a policy server in the place of its checkpoint: real topics, a real websocket."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

rclpy = pytest.importorskip("rclpy")

from lifecycle_msgs.msg import Transition  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402

from tests.wav_policy.nodes.test_policy_node import PATIENCE, POSITIONS, Outside, wait_for  # noqa: E402
from tests.wav_policy.policy.remote.foreign_server import ForeignServer, packed, running  # noqa: E402
from wav_models import project_files  # noqa: E402
from wav_policy.nodes.policy_node import PolicyNode  # noqa: E402

pytestmark = pytest.mark.ros


@dataclass
class Scene:
    """The node, what is around it, and the server."""

    outside: Outside
    server: ForeignServer


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    mapping = yaml.safe_load(project_files.find("config/remote_openpi.yaml").read_text())
    mapping |= {"timeout": 0.5, "scale": {}}
    (tmp_path / "mapping.yaml").write_text(yaml.safe_dump(mapping))
    server = ForeignServer(lambda question: {"actions": np.tile(question["state"], (50, 1))})
    with running(server), spinning(server.address, tmp_path / "mapping.yaml") as outside:
        yield Scene(outside, server)


class spinning:
    """A node with the server's address, configured by the test, both spinning until the context ends."""

    def __init__(self, address: str, mapping: Path | None) -> None:
        self._overrides = {"policy": address, "policy_mapping": str(mapping or ""), "instruction": "fold it"}

    def __enter__(self) -> Outside:
        rclpy.init()
        parameters = [Parameter(name, value=value) for name, value in self._overrides.items()]
        self._node = PolicyNode(parameter_overrides=parameters)
        self._outside = Outside()
        self._executors = [SingleThreadedExecutor(), SingleThreadedExecutor()]
        self._executors[0].add_node(self._node)
        self._executors[1].add_node(self._outside.node)
        self._threads = [threading.Thread(target=each.spin, daemon=True) for each in self._executors]
        for thread in self._threads:
            thread.start()
        return self._outside

    def __exit__(self, *_: Any) -> None:
        for executor, thread in zip(self._executors, self._threads, strict=True):
            executor.shutdown()
            thread.join(PATIENCE)
        self._node.close()
        self._outside.node.destroy_node()
        rclpy.try_shutdown()


def test_a_foreign_policy_moves_the_arms_through_the_same_topics(scene: Scene) -> None:
    assert scene.outside.change(Transition.TRANSITION_CONFIGURE)
    assert scene.outside.change(Transition.TRANSITION_ACTIVATE)
    chunk = scene.outside.await_chunks(3)
    assert len(chunk.points) == 50
    np.testing.assert_allclose(chunk.points[20].positions, POSITIONS, atol=1e-6)
    question = scene.server.questions[-1]
    assert question["images"]["cam_high"].shape == (3, 224, 224)
    assert (question["images"]["cam_high"][:, 0] == 0).all(), "padded: the picture is wider than high"
    assert question["prompt"] == "fold it"
    wait_for(lambda: scene.outside.planning == "planning", "the report of a plan")
    assert "remote policy at ws://127.0.0.1" in scene.outside.value("engine")


def test_a_bad_server_is_named_in_diagnostics_and_nothing_is_published_until_it_is_good(scene: Scene) -> None:
    good: Callable[..., None] = scene.server.behave

    def lie(connection: Any) -> None:
        while True:
            connection.recv()
            connection.send(packed({"actions": np.full((50, 14), np.nan)}))

    scene.server.behave = lie
    assert scene.outside.change(Transition.TRANSITION_CONFIGURE)
    assert scene.outside.change(Transition.TRANSITION_ACTIVATE)
    wait_for(lambda: "nan in row 0, left_joint1" in scene.outside.planning, "the server's fault by name")
    assert not scene.outside.chunks
    scene.server.behave = good
    for connection in list(scene.server.connections):
        connection.close()
    scene.outside.await_chunks(2)


def test_a_server_that_never_answers_keeps_no_service_waiting(scene: Scene) -> None:
    """Nor does it keep the node from being configured: it is named, and asked again."""
    good: Callable[..., None] = scene.server.behave
    scene.server.behave = lambda connection: scene.server.ended.wait(PATIENCE)
    began = time.monotonic()
    scene.outside.activate()
    wait_for(lambda: "no answer within 0.5 s" in scene.outside.planning, "the server's silence")
    assert scene.server.address in scene.outside.planning
    assert scene.outside.change(Transition.TRANSITION_DEACTIVATE)
    assert scene.outside.change(Transition.TRANSITION_CLEANUP)
    assert time.monotonic() - began < 15.0
    scene.server.behave = good
    scene.outside.activate()
    scene.outside.await_chunks(2)


def test_what_accepts_connections_and_says_nothing_is_named_at_once() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as deaf,
        spinning(f"ws://127.0.0.1:{deaf.getsockname()[1]}", None) as outside,
    ):
        began = time.monotonic()
        assert not outside.change(Transition.TRANSITION_CONFIGURE)
        assert time.monotonic() - began < 6.0
        outside.await_message(f":{deaf.getsockname()[1]}: no connection within 2 s; is the server running there?")
