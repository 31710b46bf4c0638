"""What the page's own buttons ask for, over its websocket, without a browser."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from wav_policy.monitor import commands
from wav_policy.monitor.commands import CommandError
from wav_policy.monitor.page import _NUM_THREADS, MonitorPage
from wav_policy.monitor.server import Address, PageServer

HANGING = commands.RECORD_START


class Recorder:
    """Answers nothing while it is told to hang; notes what it does."""

    def __init__(self) -> None:
        self.obeyed: list[tuple[str, str]] = []
        self.hangs = threading.Event()
        self.ends = threading.Event()

    def obey(self, command: str, text: str = "") -> str:
        self.obeyed.append((command, text))
        if command == HANGING:
            self.hangs.set()
            self.ends.wait(10.0)
        if not text:
            raise CommandError("the instruction is empty")
        return f"instruction: {text}"


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def page(recorder: Recorder) -> Iterator[ClientConnection]:
    shown = MonitorPage(recorder)
    server = PageServer(Address("127.0.0.1", 0), shown)
    try:
        with connect(f"ws://127.0.0.1:{server.port}/stream") as socket:
            yield socket
    finally:
        recorder.ends.set()
        server.close()
        shown.close()


def ask(page: ClientConnection, command: str, text: str = "x") -> None:
    page.send(json.dumps({"command": command, "text": text}))


def flood(page: ClientConnection) -> None:
    for _ in range(200):
        ask(page, HANGING)
    answer(page)


def answer(page: ClientConnection) -> dict[str, Any]:
    return dict(json.loads(page.recv(timeout=20.0)))


def test_what_was_done_and_what_was_refused_is_told(page: ClientConnection) -> None:
    ask(page, commands.INSTRUCT, "open the drawer")
    assert answer(page) == {"done": True, "text": "instruction: open the drawer"}
    ask(page, commands.INSTRUCT, "")
    assert answer(page) == {"done": False, "text": "the instruction is empty"}


@pytest.mark.parametrize(
    "text", ["", "{}", "x" * 5000, '{"command": "stop", "text": ""}', '{"command": "instruct", "text": 1}']
)
def test_what_the_page_does_not_send_ends_the_connection(page: ClientConnection, recorder: Recorder, text: str) -> None:
    page.send(text)
    with pytest.raises(ConnectionClosed, match="not a command"):
        answer(page)
    assert recorder.obeyed == []


def test_who_asks_without_waiting_for_an_answer_is_disconnected(page: ClientConnection, recorder: Recorder) -> None:
    with pytest.raises(ConnectionClosed, match="too many commands at once"):
        flood(page)
    assert len(recorder.obeyed) <= _NUM_THREADS


def test_what_waited_too_long_for_others_is_not_done(page: ClientConnection, recorder: Recorder) -> None:
    """An instruction that comes when nobody expects it any more would change what the arms do."""
    for _ in range(_NUM_THREADS):
        ask(page, HANGING)
    assert recorder.hangs.wait(5.0)
    ask(page, commands.INSTRUCT, "open the drawer")
    time.sleep(1.2)
    recorder.ends.set()
    answers = [answer(page) for _ in range(_NUM_THREADS + 1)]
    assert {"done": False, "text": "not done, others kept it waiting; press again"} in answers
    assert {command for command, _ in recorder.obeyed} == {HANGING}
