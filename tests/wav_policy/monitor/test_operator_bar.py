"""What the operator's bar obeys, and what it takes for a confirmation: over its websocket, without a browser."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from wav_policy.monitor import commands
from wav_policy.monitor.commands import CommandError, in_words
from wav_policy.monitor.operator_bar import OperatorBar, unconfirmed
from wav_policy.monitor.page import MonitorPage
from wav_policy.monitor.server import Address, PageServer
from wav_policy.monitor.snapshot import (
    ARMS,
    CONTROL,
    ERROR,
    OK,
    WARN,
    Heard,
    Snapshot,
    StatusReport,
    arms_text,
    next_step,
    state_lines,
)
from wav_policy.piper.absent_arm import ABSENT

ALL = frozenset({commands.STOP, commands.START, commands.HOLD, commands.HOME, commands.RESET})
STOPPED = {"state": "EMERGENCY_STOP", "feedback_age_ms": "5", "outage": ""}
TOUCH = "left link6 and right gripper: would come within 0.0010 m of each other, allowed 0.0030 m: braking"


class Robot:
    """Two arms that say what they are told to say; notes what they are asked."""

    def __init__(self) -> None:
        self.heard: dict[str, Heard] = {}
        self.obeyed: list[str] = []
        self.stops = True
        self.refusal = ""
        self.fault: Exception | None = None
        self.answers = threading.Event()
        self.answers.set()

    def say(self, name: str, message: str, level: int = OK, **values: str) -> None:
        self.heard[name] = Heard(time.monotonic(), StatusReport(level, message, values))

    def obey(self, command: str, text: str = "") -> str:
        self.obeyed.append(command)
        if command == commands.STOP and self.stops:
            for arm in ARMS:
                self.say(arm, "emergency stop", ERROR, **STOPPED)
        self.answers.wait(10.0)
        if self.fault is not None:
            raise self.fault
        if self.refusal:
            raise CommandError(self.refusal)
        return "done"


class Page:
    """The bar's document, without a browser."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.seen = 0

    def next(self, kind: str) -> dict[str, Any]:
        """The next message of this kind."""
        while True:
            message = dict(json.loads(self._socket.recv(timeout=20.0)))
            if message["kind"] == "status":
                self.seen = message["time"]
            if message["kind"] == kind:
                return message

    def send(self, command: str, **fields: Any) -> None:
        self._socket.send(json.dumps({"id": 1, "command": command, "seen": self.seen, **fields}))

    def send_text(self, text: str) -> None:
        self._socket.send(text)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Robot, OperatorBar, int]]:
    robot = Robot()
    bar = OperatorBar(robot, lambda name: robot.heard.get(name))
    server = PageServer(Address("127.0.0.1", 0), MonitorPage(robot), bar)
    yield robot, bar, server.port
    server.close()
    bar.close()


@pytest.fixture
def robot(served: tuple[Robot, OperatorBar, int]) -> Robot:
    robot = served[0]
    Robot.__init__(robot)
    robot.say(CONTROL, "following the chunk")
    for arm in ARMS:
        robot.say(arm, "enabled", state="NORMAL", feedback_age_ms="5", outage="")
    return robot


@contextmanager
def opened(bar: OperatorBar, port: int) -> Iterator[Page]:
    """A page that has heard one status."""
    origin = f"http://127.0.0.1:{port}"
    with connect(f"ws://127.0.0.1:{port}/operator", origin=origin, close_timeout=0.5) as socket:  # type: ignore[arg-type]
        page = Page(socket)
        bar.show(False, ALL)
        page.next("status")
        yield page


@pytest.fixture
def page(served: tuple[Robot, OperatorBar, int], robot: Robot) -> Iterator[Page]:
    with opened(served[1], served[2]) as page:
        yield page


def test_a_stop_is_confirmed_by_what_both_arms_say_afterwards(page: Page, robot: Robot) -> None:
    page.send(commands.STOP)
    answer = page.next("stop")
    while not answer["confirmed"]:
        answer = page.next("stop")
    assert answer["arms"] == {"left": "", "right": ""}
    assert robot.obeyed == [commands.STOP]


def test_the_answer_of_the_service_confirms_nothing(page: Page, robot: Robot) -> None:
    robot.stops = False
    page.send(commands.STOP)
    first = page.next("stop")
    assert not first["confirmed"]
    assert first["arms"] == {"left": "not heard since", "right": "not heard since"}
    robot.say(ARMS[0], "emergency stop", ERROR, **STOPPED)
    robot.say(ARMS[1], "enabled", state="NORMAL", feedback_age_ms="5", outage="")
    answers = [page.next("stop")]
    while answers[-1]["arms"] != {"left": "", "right": "enabled"}:
        answers.append(page.next("stop"))
    assert not any(answer["confirmed"] for answer in answers)
    robot.say(ARMS[1], "emergency stop", ERROR, **STOPPED)
    assert page.next("stop")["confirmed"]


@contextmanager
def busy(page: Page, robot: Robot, number: int) -> Iterator[None]:
    """So many commands are not answered before this ends."""
    robot.answers.clear()
    try:
        for _ in range(number):
            page.send(commands.HOLD)
        wait_for(lambda: commands.HOLD in robot.obeyed)
        yield
    finally:
        robot.answers.set()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5.0
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_stop_waits_for_no_other_command(page: Page, robot: Robot) -> None:
    with busy(page, robot, 60):
        page.send(commands.STOP)
        wait_for(lambda: commands.STOP in robot.obeyed)


def test_who_asks_without_waiting_for_an_answer_is_disconnected(page: Page, robot: Robot) -> None:
    with pytest.raises(ConnectionClosed, match="too many commands at once"), busy(page, robot, 200):
        page.next("answer")


def test_what_waited_too_long_for_others_is_not_done(page: Page, robot: Robot) -> None:
    with busy(page, robot, 60):
        page.send(commands.START, id=2)
        time.sleep(1.2)
    while (answer := page.next("answer"))["id"] != 2:
        pass
    assert not answer["done"]
    assert "out of date" in answer["text"]
    assert commands.START not in robot.obeyed


def test_a_command_that_fails_in_any_way_is_answered(page: Page, robot: Robot) -> None:
    robot.fault = RuntimeError("the middleware has gone")
    page.send(commands.HOLD)
    answer = page.next("answer")
    assert not answer["done"]
    assert answer["text"] == "the middleware has gone"


def test_a_stop_that_failed_says_so_at_once(page: Page, robot: Robot) -> None:
    robot.stops, robot.refusal = False, "there is no service piper/stop"
    page.send(commands.STOP)
    answer = page.next("stop")
    while not answer["error"]:
        answer = page.next("stop")
    assert answer["error"] == "there is no service piper/stop"
    assert not answer["confirmed"]


def test_no_other_command_keeps_a_stop_waiting(page: Page, robot: Robot) -> None:
    robot.answers.clear()
    try:
        for command in (commands.START, commands.HOME, commands.HOLD):
            page.send(command)
        page.send(commands.STOP)
        while not page.next("stop")["confirmed"]:
            pass
        assert commands.STOP in robot.obeyed
    finally:
        robot.answers.set()


@pytest.mark.parametrize("command", [commands.START, commands.HOME, commands.RESET])
def test_what_was_pressed_on_an_old_page_moves_nothing_later(page: Page, robot: Robot, command: str) -> None:
    """As after a frozen server, whose socket kept the command: the page has not heard of it for a second."""
    for seen in (page.seen - 1500, page.seen + 60_000, 0, -1):
        page.send(command, supported=True, seen=seen)
        answer = page.next("answer")
        assert not answer["done"]
        assert "out of date" in answer["text"]
    assert robot.obeyed == []
    page.send(commands.HOLD, seen=0)
    assert page.next("answer")["done"], "braking is never too late"
    page.send(commands.STOP, seen=0)
    while not page.next("stop")["confirmed"]:
        pass
    assert robot.obeyed == [commands.HOLD, commands.STOP]


@pytest.mark.parametrize("supported", [{}, {"supported": False}, {"supported": "yes"}, {"supported": 1}])
def test_a_reset_needs_the_tick(page: Page, robot: Robot, supported: dict[str, Any]) -> None:
    page.send(commands.RESET, **supported)
    assert "support both arms" in page.next("answer")["text"]
    assert robot.obeyed == []
    page.send(commands.RESET, supported=True)
    assert page.next("answer")["done"]
    assert robot.obeyed == [commands.RESET]


@pytest.mark.parametrize(
    "text",
    [
        *("", "stop", "[]", "null", "{}", "[" * 900, "x" * 100_000),
        '{"id": 1, "command": "sim_reset", "seen": 1}',
        '{"id": "1", "command": "stop", "seen": 1}',
        '{"id": 1, "command": ["stop"], "seen": 1}',
        '{"id": true, "command": "stop", "seen": 1}',
        '{"id": 1, "command": "stop"}',
    ],
)
def test_what_the_page_does_not_send_ends_the_connection(page: Page, robot: Robot, text: str) -> None:
    page.send_text(text)
    with pytest.raises(ConnectionClosed) as caught:
        page.next("answer")
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1008
    assert robot.obeyed == []


def test_a_browser_that_comes_later_gets_no_old_status(served: tuple[Robot, OperatorBar, int], robot: Robot) -> None:
    _, bar, port = served
    bar.show(False, ALL)
    time.sleep(1.1)
    with connect(f"ws://127.0.0.1:{port}/operator") as socket, pytest.raises(TimeoutError):
        socket.recv(timeout=0.5)


def test_browsers_are_counted(served: tuple[Robot, OperatorBar, int], robot: Robot) -> None:
    _, bar, port = served
    with opened(bar, port), opened(bar, port):
        assert bar.watched
    deadline = time.monotonic() + 10.0
    while bar.watched:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"state": "NORMAL", "feedback_age_ms": "5", "outage": ""}, "enabled"),
        ({**STOPPED, "outage": "can_left is down"}, "can_left is down"),
        ({**STOPPED, "feedback_age_ms": "501"}, "no joint feedback"),
        ({**STOPPED, "feedback_age_ms": "inf"}, "no joint feedback"),
        ({**STOPPED, "feedback_age_ms": "nan"}, "no joint feedback"),
        ({"state": "EMERGENCY_STOP"}, "no joint feedback"),
        (STOPPED, ""),
    ],
)
def test_only_an_arm_that_is_heard_confirms(values: dict[str, str], why: str) -> None:
    reports = {name: Heard(2.0, StatusReport(OK, "enabled", values)) for name in ARMS}
    assert unconfirmed(reports.get, 1.0) == {"left": why, "right": why}
    assert unconfirmed(reports.get, 2.0) == dict.fromkeys(("left", "right"), "not heard since")


def test_an_arm_that_was_never_there_is_not_waited_for_but_none_is_no_confirmation() -> None:
    left = {ARMS[0]: Heard(2.0, StatusReport(ERROR, "emergency stop", STOPPED))}
    assert unconfirmed(left.get, 1.0) == {"left": ""}
    assert unconfirmed({}.get, 1.0) == {"left": "not heard", "right": "not heard"}
    absent = {ARMS[1]: Heard(2.0, StatusReport(OK, ABSENT, {}))}
    assert unconfirmed({**left, **absent}.get, 1.0) == {"left": ""}


def test_a_hold_says_who_touches_whom_and_what_to_do_next(page: Page, robot: Robot, served: Any) -> None:
    robot.say(CONTROL, "holding: collision", WARN, detail=TOUCH, reason="collision")
    served[1].show(False, ALL)
    status = page.next("status")
    while "collision" not in status["text"]:
        status = page.next("status")
    assert status["text"] == f"holding: collision: {TOUCH}"
    assert "Home" in status["next"]
    assert status["level"] == "warn"
    arms = state_lines(Snapshot(reports={CONTROL: robot.heard[CONTROL].report}))[0]
    assert (arms.level, arms.name) == ("warn", "Arms")
    assert TOUCH in arms.text
    assert "Home" in arms.text


def test_pages_speak_of_buttons() -> None:
    fault = "left arm: in emergency stop. Support the arms, then call piper/reset and piper/enable."
    report = StatusReport(WARN, f"not commanding: {fault}", {"detail": fault, "reason": "emergency stop"})
    assert arms_text(report).endswith("Support the arms, then press Reset and Start.")
    assert in_words("Call piper/home, not piper/homeland; my_piper/stop is another") == (
        "Press Home, not piper/homeland; my_piper/stop is another"
    )
    assert in_words("piper/enable false switches the motors off") == "piper/enable false switches the motors off"
    assert in_words("recorder/stop refused: none; call recorder/start") == "Save refused: none; press Record"
    assert in_words("recorder/stop_failure refused: none") == "Failure refused: none"
    stopped = StatusReport(ERROR, "stopped: piper/stop", {"detail": "piper/stop", "reason": "stopped"})
    assert arms_text(stopped) == "stopped: EMERGENCY STOP"
    assert "Reset, then Start" in next_step(stopped)
    assert next_step(StatusReport(OK, "following the chunk", {"detail": "", "reason": ""})) == ""
    assert next_step(report) == "", "its own text says it"
