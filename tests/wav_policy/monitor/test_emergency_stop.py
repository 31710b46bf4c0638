"""The emergency stop of the page in a real browser: always there, never mistaken, and red when nobody is there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from tests.wav_policy.monitor.browser import CHROMIUM, PATIENCE, Browser, Tab, running_browser

rclpy = pytest.importorskip("rclpy")

from rclpy.executors import SingleThreadedExecutor  # noqa: E402

from tests.wav_policy.nodes.operated_robot import Robot  # noqa: E402
from wav_policy.cli.demo_page import DemoPage  # noqa: E402
from wav_policy.nodes.runtime.diagnostics import OK, WARN  # noqa: E402

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.ros,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
]

SIZES = {"desktop": (1440, 900, False), "laptop": (1024, 768, False), "phone": (390, 844, True)}
SMALLEST = 64
"""Height of the button [px]."""
CONFIRMED = "Stop sent, confirmed by left and right"
NOT_CONFIRMED = "NOT CONFIRMED: use the power switch"
TOUCH = "left link6 and right gripper: would come within 0.0010 m of each other, allowed 0.0030 m: braking"
_TOP_OF_STOP = """(() => {
  const r = find('stop').getBoundingClientRect(), points = [];
  for (let i = 1; i < 10; i++) for (let j = 1; j < 10; j++)
    points.push(document.elementFromPoint(r.left + r.width * i / 10, r.top + r.height * j / 10));
  const inside = r.left >= 0 && r.top >= 0 && r.right <= innerWidth && r.bottom <= innerHeight;
  return {height: r.height, width: r.width, inside, free: points.filter(p => find('stop').contains(p)).length};
})()"""
_RED_AFTER = """new Promise(done => {
  const began = performance.now();
  const look = setInterval(() => {
    if (!document.body.classList.contains('silent') && performance.now() - began < 20000) return;
    clearInterval(look);
    done([performance.now() - heardAt, document.body.classList.contains('silent')]);
  }, 10);
})"""


class Monitor:
    """The node in a process of its own."""

    def __init__(self, port: int) -> None:
        self._command = [sys.executable, "-m", "wav_policy.nodes.monitor", "--ros-args", "-p", f"port:={port}"]
        self._page = DemoPage(port)
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(self._command)
        deadline = time.monotonic() + PATIENCE
        while not self._page.is_up():
            assert process.poll() is None, "the monitor has ended"
            assert time.monotonic() < deadline, "the monitor is not up"
            time.sleep(0.2)
        return process

    def restart(self) -> None:
        self.process = self._start()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def around() -> Iterator[Robot]:
    """Everything but the monitor."""
    rclpy.init()
    robot = Robot()
    executor = SingleThreadedExecutor()
    executor.add_node(robot.node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    yield robot
    executor.shutdown()
    thread.join(PATIENCE)
    robot.node.destroy_node()
    rclpy.shutdown()


@pytest.fixture(scope="module")
def page() -> DemoPage:
    return DemoPage.choose(0)


@pytest.fixture(scope="module")
def monitor(around: Robot, page: DemoPage) -> Iterator[Monitor]:
    monitor = Monitor(page.port)
    yield monitor
    monitor.end()


@pytest.fixture(scope="module")
def chromium(monitor: Monitor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with running_browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="module")
def opened(chromium: Browser, page: DemoPage) -> Iterator[tuple[Tab, Tab]]:
    with chromium.open(page.url) as tab, chromium.view() as view:
        view.wait_for("document.querySelectorAll('figure').length === 6")
        yield tab, view


@pytest.fixture
def tab(opened: tuple[Tab, Tab], around: Robot) -> Tab:
    """The page of a robot that follows its chunks."""
    around.refuse, around.deaf, around.stopped = "", set(), set()
    around.loop = ("following the chunk", OK, "", "")
    opened[0].resize(*SIZES["desktop"])
    wait_for_contact(opened[0])
    around.called.clear()
    return opened[0]


@pytest.fixture
def view(opened: tuple[Tab, Tab]) -> Tab:
    return opened[1]


def wait_for_contact(tab: Tab) -> None:
    """All is well and everything may be pressed; what was said before is forgotten."""
    tab.wait_for("!isSilent() && status.available.includes('home') && status.text === 'following the chunk'")
    tab.evaluate("(stop = order = null, show(), true)")


def answer(tab: Tab) -> str:
    return str(tab.evaluate("find('answer').textContent"))


def wait_for_answer(tab: Tab, text: str) -> None:
    tab.wait_for(f"find('answer').textContent.startsWith({text!r})")


@pytest.mark.parametrize("size", SIZES)
def test_nothing_covers_it_at_any_size(tab: Tab, view: Tab, size: str) -> None:
    """Nor do the buttons of the view, nor anything above all else in the view."""
    tab.resize(*SIZES[size])
    view.evaluate("[...document.querySelectorAll('button, summary')].forEach(b => b.click())")
    view.evaluate(
        "(d => (d.style.cssText = 'position:fixed;inset:-500px;z-index:2147483647;background:red', "
        "document.body.append(d), d.id = 'cover'))(document.createElement('div'))"
    )
    try:
        top = tab.evaluate(_TOP_OF_STOP)
        assert top["height"] >= SMALLEST
        assert top["width"] >= SMALLEST
        assert top["inside"]
        assert top["free"] == 81
        assert tab.evaluate("document.documentElement.scrollHeight <= innerHeight")
    finally:
        view.evaluate("document.getElementById('cover').remove()")


def test_a_finger_on_a_phone_finds_the_buttons_of_the_recorder(tab: Tab, view: Tab) -> None:
    tab.resize(*SIZES["phone"])
    view.wait_for(f"innerWidth === {SIZES['phone'][0]}")
    heights = view.evaluate(
        "[...document.querySelectorAll('#buttons button')].map(b => b.getBoundingClientRect().height)"
    )
    assert len(heights) == 6
    assert min(heights) >= 44


def test_a_click_is_confirmed_by_both_arms(tab: Tab, around: Robot) -> None:
    x, y = tab.evaluate("(r => [r.left + r.width / 2, r.top + r.height / 2])(find('stop').getBoundingClientRect())")
    for kind in ("mousePressed", "mouseReleased"):
        tab.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
    wait_for_answer(tab, CONFIRMED)
    assert around.called == ["piper/stop"], "pressed once"


@pytest.mark.parametrize(("key", "code"), [(" ", "Space"), ("Escape", "Escape")])
@pytest.mark.parametrize("focus", ["bar", "button", "view"])
def test_keys_stop_whatever_has_the_focus(tab: Tab, view: Tab, around: Robot, key: str, code: str, focus: str) -> None:
    if focus == "view":
        view.wait_for("(window.focus(), document.querySelector('button').focus(), true)")
        keyboard: Tab = view
    else:
        tab.evaluate("(window.focus(), document.querySelector('[data-command=start]').focus(), true)")
        if focus == "bar":
            tab.evaluate("(document.activeElement.blur(), true)")
        keyboard = tab
    keyboard.press(key, code)
    wait_for_answer(tab, CONFIRMED)
    assert around.called == ["piper/stop"], "no button was pressed with it"


def test_a_space_in_a_text_is_a_space_and_escape_still_stops(tab: Tab, view: Tab, around: Robot) -> None:
    view.wait_for("(e => e && (window.focus(), e.focus(), true))(document.querySelector('form input'))")
    view.press(" ", "Space")
    view.wait_for("document.querySelector('form input').value.endsWith(' ')")
    assert around.called == []
    view.press("Escape", "Escape")
    wait_for_answer(tab, CONFIRMED)


def test_an_arm_that_does_not_stop_is_named(tab: Tab, around: Robot) -> None:
    around.deaf = {"right"}
    tab.evaluate("pressStop()")
    wait_for_answer(tab, NOT_CONFIRMED)
    assert "right: enabled" in answer(tab)
    assert "left" not in answer(tab)
    around.stopped = {"left", "right"}
    wait_for_answer(tab, CONFIRMED)


def test_a_refusal_is_no_confirmation(tab: Tab, around: Robot) -> None:
    around.refuse = "the bus is gone"
    tab.evaluate("pressStop()")
    wait_for_answer(tab, NOT_CONFIRMED)
    assert "the bus is gone" in answer(tab)


def test_reset_waits_for_the_tick_which_does_not_stay(tab: Tab, around: Robot) -> None:
    reset = "document.querySelector('[data-command=reset]')"
    assert tab.evaluate(f"{reset}.disabled")
    tab.evaluate(f"({reset}.click(), find('supported').click(), true)")
    tab.wait_for(f"!{reset}.disabled")
    tab.evaluate(f"({reset}.click(), true)")
    wait_for_answer(tab, "Reset: done")
    assert around.called == ["piper/reset"]
    assert tab.evaluate(f"{reset}.disabled && !find('supported').checked")
    tab.evaluate("(find('supported').click(), pressStop(), true)")
    assert not tab.evaluate("find('supported').checked"), "a stop takes it back"


def test_home_and_what_to_do_in_a_hold(tab: Tab, around: Robot) -> None:
    around.loop = ("holding: collision", WARN, "collision", TOUCH)
    tab.wait_for(f"find('arms').textContent === 'Arms: holding: collision: {TOUCH}'")
    assert "press Home" in tab.evaluate("find('next').textContent")
    tab.evaluate("(document.querySelector('[data-command=home]').click(), true)")
    wait_for_answer(tab, "Home: done")
    assert "piper/home" in around.called


def test_an_answer_that_was_lost_with_its_connection_is_not_waited_for(tab: Tab, around: Robot) -> None:
    tab.evaluate("(press('hold'), connect(), true)")
    wait_for_answer(tab, "Hold: not confirmed, the connection was lost")
    wait_for_contact(tab)


def test_silent_arms_are_told_though_the_monitor_is_there(tab: Tab, around: Robot) -> None:
    around.silent = True
    try:
        tab.wait_for("find('arms').textContent.startsWith('Arms: silent') && find('arms').className === 'error'")
        assert not tab.evaluate("isSilent()")
    finally:
        around.silent = False


def test_a_frozen_server_turns_the_page_red_and_what_was_pressed_meanwhile(
    tab: Tab, monitor: Monitor, around: Robot
) -> None:
    os.kill(monitor.process.pid, signal.SIGSTOP)
    try:
        silent_for, is_red = tab.evaluate(_RED_AFTER)
        assert is_red
        assert 1000 <= silent_for < 1500, f"red after {silent_for:.0f} ms"
        assert tab.evaluate(_TOP_OF_STOP)["free"] == 81, "the stop stays above the red"
        assert "NO CONNECTION" in tab.text()
        assert tab.evaluate("buttons.every(b => b.disabled)")
        tab.evaluate("(press('start'), true)")  # as if it had been quicker than the alarm
        tab.evaluate("pressStop()")
        assert answer(tab).startswith(NOT_CONFIRMED), "at once"
        assert around.called == []
    finally:
        os.kill(monitor.process.pid, signal.SIGCONT)
    tab.wait_for("!document.body.classList.contains('silent')")
    wait_for_answer(tab, CONFIRMED)
    assert set(around.called) == {"piper/stop"}, "the stop came through, Start did not"


def test_a_killed_server_turns_the_page_red_until_another_is_there(tab: Tab, monitor: Monitor, around: Robot) -> None:
    monitor.end()
    silent_for, is_red = tab.evaluate(_RED_AFTER)
    assert is_red
    assert silent_for < 1500
    tab.evaluate("(window.focus(), find('stop').focus(), true)")
    tab.press(" ", "Space")
    wait_for_answer(tab, NOT_CONFIRMED)
    monitor.restart()
    wait_for_contact(tab)
    around.called.clear()
    tab.evaluate("pressStop()")
    wait_for_answer(tab, CONFIRMED)
