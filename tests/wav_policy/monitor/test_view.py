"""What stands below the bar, in a real browser: one screen, aligned pairs, the choice, the last minute, dark mode."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.wav_policy.monitor.browser import CHROMIUM, Browser, Tab, running_browser
from wav_models.types import ActionChunk, ImageArray
from wav_policy.monitor import commands
from wav_policy.monitor.operator_bar import OperatorBar
from wav_policy.monitor.page import MonitorPage
from wav_policy.monitor.server import Address, PageServer
from wav_policy.monitor.snapshot import CONTROL, OK, WARN, Heard, ReplayPlace, Snapshot, StatusReport
from wav_policy.policy.imagined_futures import ImaginedFutures, contact_sheet
from wav_policy.robot.cameras import IMAGE_SIZES, VIEWS
from wav_policy.robot.model import home_positions

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
]

PERIOD = 0.1
SIZES = {"desktop": (1440, 900), "tablet": (1024, 768)}
WORDS = "fold <img src=x onerror=alert(1)> it"
_OVERFLOWING = """[...document.querySelectorAll("canvas, button, h2, li, input, figure, summary")].filter(e => {
  const r = e.getBoundingClientRect();
  return e.checkVisibility() && (r.right > innerWidth + 1 || r.bottom > innerHeight + 1 || r.left < -1 || r.top < -1);
}).map(e => e.id || e.textContent)"""
_PAIRS = "Object.values(pairs).map(pair => [pair.real, pair.imagined].map(f => f.getBoundingClientRect().toJSON()))"
_SMALL = """["futures", "value", "scores", "arms", "timeline"].filter(id => {
  const r = find(id).getBoundingClientRect();
  return r.width < 100 || r.height < 55;
})"""


def flat(view: str, brightness: int) -> ImageArray:
    return np.full((*IMAGE_SIZES[view], 3), brightness, np.uint8)


class Robot:
    """Shows and does what a test says; its cameras become brighter with the time."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        scores = np.linspace(0.1, 0.8, 8)
        futures = ImaginedFutures(np.zeros((8, 16, 16, 3), np.uint8), scores, scores, 7)
        chunk = ActionChunk(np.tile(home_positions(), (16, 1)), 0.0, 0.1)
        self.report = StatusReport(OK, "following the chunk", {"interventions_velocity_limit": "12"})
        self.snapshot = Snapshot(
            joints=home_positions(),
            imagined={view: flat(view, 100) for view in VIEWS},
            chunk=chunk,
            value_times=np.arange(1, 17) / 10,
            values=np.linspace(0.2, 0.6, 16),
            scores=np.stack([scores / 2, scores]),
            taken=(1, 7),
            futures=contact_sheet(futures),
            instruction=WORDS,
            available=frozenset({commands.STOP, commands.INSTRUCT, commands.SEEK}),
        )
        self.lost: set[str] = set()
        self.brightness = 0

    def hear(self, name: str) -> Heard | None:
        return Heard(time.monotonic(), self.report) if name == CONTROL else None

    def obey(self, command: str, text: str = "") -> str:
        self.asked.append((command, text))
        if text == "no":
            raise commands.CommandError("the robot does not want to")
        return "done"

    def now(self) -> Snapshot:
        self.brightness = (self.brightness + 2) % 250
        real = {view: flat(view, self.brightness) for view in VIEWS if view not in self.lost}
        return dataclasses.replace(self.snapshot, real=real, reports={CONTROL: self.report})


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with running_browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@contextmanager
def served(robot: Robot, *, with_bar: bool) -> Iterator[str]:
    page, bar = MonitorPage(robot), OperatorBar(robot, robot.hear)
    server, end = PageServer(Address(port=0), page, bar if with_bar else None), threading.Event()

    def run() -> None:
        while not end.wait(PERIOD):
            page.show(robot.now())
            bar.show(False, robot.snapshot.available)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield server.url
    end.set()
    thread.join()
    server.close()
    bar.close()
    page.close()


@pytest.fixture(scope="module")
def live() -> Iterator[tuple[Robot, str]]:
    robot = Robot()
    with served(robot, with_bar=True) as url:
        yield robot, url


@pytest.fixture(scope="module")
def opened(chromium: Browser, live: tuple[Robot, str]) -> Iterator[tuple[Tab, Tab]]:
    with chromium.open(live[1]) as tab, chromium.view() as view:
        view.wait_for("document.querySelectorAll('figure').length === 6")
        yield tab, view


@pytest.fixture
def robot(live: tuple[Robot, str]) -> Robot:
    robot = live[0]
    Robot.__init__(robot)
    return robot


@pytest.fixture
def tab(opened: tuple[Tab, Tab]) -> Tab:
    opened[0].resize(*SIZES["desktop"])
    return opened[0]


@pytest.fixture
def view(opened: tuple[Tab, Tab], tab: Tab, robot: Robot) -> Tab:
    opened[1].evaluate("(lookAt(Infinity), true)")
    opened[1].wait_for("Boolean(newest.pictures['real head']) && find('word').textContent === 'FOLLOWING THE CHUNK'")
    return opened[1]


@pytest.mark.parametrize("size", SIZES)
def test_everything_is_on_one_screen_and_pairs_are_aligned(tab: Tab, view: Tab, size: str) -> None:
    tab.resize(*SIZES[size])
    view.wait_for(f"innerWidth === {SIZES[size][0]} && !isDue")
    assert view.evaluate("document.documentElement.scrollHeight <= innerHeight")
    assert view.evaluate(_OVERFLOWING) == []
    assert view.evaluate(_SMALL) == []
    boxes = view.evaluate(
        "Object.values(pairs).map(p => [p.real, p.imagined].map(f => f.getBoundingClientRect().toJSON()))"
    )
    for real, imagined in boxes:
        assert (real["left"], real["width"], real["height"]) == pytest.approx(
            (imagined["left"], imagined["width"], imagined["height"]), abs=0.6
        )
        assert real["bottom"] < imagined["top"]
        assert real["height"] > 120
    head = boxes[0][0]
    assert head["width"] > 0.35 * SIZES[size][0] * 0.7


def test_the_choice_is_told(view: Tab, robot: Robot) -> None:
    view.wait_for("find('futures').width === 1280")
    assert "2 rounds of 8, acting on one of round 2, score 0.800" in view.text()
    robot.snapshot = dataclasses.replace(robot.snapshot, scores=np.zeros((0, 0)), taken=None, futures=None)
    view.wait_for("find('choice-words').textContent.includes('acting WITHOUT planning')")
    view.wait_for("find('futures').width === 1")


def test_what_a_recorder_offers_can_be_pressed(view: Tab, robot: Robot) -> None:
    marks = {commands.RECORD_SUCCESS: "Success", commands.RECORD_FAILURE: "Failure"}
    robot.snapshot = dataclasses.replace(robot.snapshot, available=frozenset(marks))
    for command, button in marks.items():
        view.wait_for(f"!document.querySelector('[data-needs={command}]').disabled")
        view.click(button)
    deadline = time.monotonic() + 20
    while len(robot.asked) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert robot.asked == [(command, "") for command in marks]


def test_where_there_was_no_value_the_last_minute_has_no_line(view: Tab) -> None:
    """The last one before a stop must not go on as if it were predicted."""
    line = """((records) => {
      const drawn = [], canvas = find("timeline").cloneNode(), was = CanvasRenderingContext2D.prototype.lineTo;
      document.body.append(canvas);
      CanvasRenderingContext2D.prototype.lineTo = (x, y) => drawn.push(Math.round(x));
      drawTimeline(canvas, records.map(([at, value]) => ({at, value, level: "ok"})), 1000, 1000, null);
      CanvasRenderingContext2D.prototype.lineTo = was;
      const {width} = canvas.getBoundingClientRect();
      canvas.remove();
      return drawn.map(x => Math.round(100 * x / width));
    })([[0, 0.5], [200, 0.5], [400, null], [600, 0.4], [800, null]])"""
    assert view.evaluate(line) == [20, 20, 40, 80]


def test_a_lost_camera_is_told_and_comes_back(view: Tab, robot: Robot) -> None:
    robot.lost = {"left_wrist"}
    view.wait_for("document.querySelectorAll('figure.lost').length === 1")
    assert view.evaluate("document.querySelector('figure.lost').dataset.view") == "left_wrist"
    assert "NO PICTURE" in view.text()
    view.wait_for("ring.at(-1).lost")
    robot.lost = set()
    view.wait_for("document.querySelectorAll('figure.lost').length === 0")


def test_a_hold_and_a_stop_change_word_and_colour(view: Tab, robot: Robot) -> None:
    robot.report = StatusReport(WARN, "holding: collision", {"reason": "collision", "detail": "a touches b"})
    view.wait_for("find('word').textContent === 'HOLDING' && find('word').className === 'warn'")
    view.wait_for("ring.at(-1).level === 'warn'")


def test_one_can_look_back_and_the_page_says_so(view: Tab, robot: Robot) -> None:
    view.wait_for("performance.now() - ring[0].at > 3000")
    bright = "find('pairs').querySelector('canvas').getContext('2d').getImageData(5, 5, 1, 1).data[0]"
    view.evaluate("(lookAt(performance.now() - 2000), true)")
    view.wait_for("document.body.classList.contains('scrubbed')")
    time.sleep(0.5)
    then = view.evaluate(bright)
    time.sleep(1.0)
    assert view.evaluate(bright) == then, "what is looked at stands still"
    assert "s ago" in view.text()
    view.evaluate("(find('live').click(), true)")
    view.wait_for(f"!document.body.classList.contains('scrubbed') && {bright} !== {then}")


def test_the_last_minute_is_all_that_is_kept(view: Tab) -> None:
    length, oldest = view.evaluate(
        "(() => { const now = performance.now(); for (let i = 0; i < 5000; i++) remember(now + 20 * i);"
        " const found = [ring.length, ring.at(-1).at - ring[0].at]; ring = []; return found; })()"
    )
    assert length == 1200
    assert oldest <= 60_000


def test_words_of_others_are_only_words(view: Tab) -> None:
    view.wait_for(f"find('state').innerText.includes({WORDS!r})")
    assert view.evaluate("document.querySelectorAll('#state img').length") == 0


def test_an_instruction_is_sent_and_a_refusal_is_told(view: Tab, robot: Robot) -> None:
    view.type("#instruction", "no")
    view.click("Send instruction")
    view.wait_for("find('note').textContent === 'Not done: the robot does not want to' && !find('note').hidden")
    assert robot.asked == [(commands.INSTRUCT, "no")]
    assert view.evaluate("document.querySelector('[data-needs=record_start]').disabled"), "nobody offers it"


def test_dark_mode_follows_the_system_and_the_button(tab: Tab, view: Tab, tmp_path: Path) -> None:
    def brightness(scheme: str) -> float:
        tab.wait_for(f"matchMedia('(prefers-color-scheme: {scheme})').matches")
        tab.screenshot(tmp_path / "page.png")
        picture = cv2.imread(str(tmp_path / "page.png"))
        assert picture is not None
        return float(np.median(picture))

    for scheme in ("dark", "light"):
        for page in (tab, view):
            page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        assert (brightness(scheme) < 80) == (scheme == "dark")
    view.evaluate("(find('theme').click(), true)")
    tab.wait_for("document.documentElement.style.colorScheme === 'dark'")
    time.sleep(0.5)
    assert brightness("light") < 80
    view.evaluate("(find('theme').click(), true)")
    tab.wait_for("document.documentElement.style.colorScheme === 'light'")


def test_a_recording_has_a_time_line_and_no_buttons(chromium: Browser) -> None:
    robot = Robot()
    robot.snapshot = dataclasses.replace(
        robot.snapshot, playback=ReplayPlace(1.0, 4.0, playing=True, speed=1.0, step=0.1), title="drawer, episode 3"
    )
    with served(robot, with_bar=False) as url, chromium.open(url) as tab:
        tab.wait_for("find('word').textContent === 'drawer, episode 3' && !find('playback').hidden")
        assert not tab.evaluate("find('instruct').checkVisibility()")
        tab.evaluate("(find('position').value = 2.5, find('position').dispatchEvent(new Event('input')), true)")
        tab.click("Pause")
        deadline = time.monotonic() + 20
        while len(robot.asked) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert robot.asked == [(commands.SEEK, "2.5"), (commands.PLAY, "no")]


def test_a_recording_is_stepped_by_keys_and_shows_what_was_recorded_beside_the_plan(chromium: Browser) -> None:
    robot = Robot()
    chunk = robot.snapshot.chunk
    assert chunk is not None
    robot.snapshot = dataclasses.replace(
        robot.snapshot,
        playback=ReplayPlace(1.0, 4.0, playing=False, speed=1.0, step=0.1),
        recorded_values=np.linspace(0.3, 0.4, 16),
        recorded_actions=chunk.positions[:10] + 0.1,
    )
    drawn = """(id => {
      const g = find(id).getContext("2d"), {data} = g.getImageData(0, 0, find(id).width, find(id).height);
      return data.some(value => value);
    })"""
    with served(robot, with_bar=False) as url, chromium.open(url) as tab:
        tab.wait_for("Boolean(newest.playback) && !find('joints').hidden")
        tab.resize(*SIZES["desktop"])
        tab.wait_for(f"!isDue && {drawn}('joints') && {drawn}('value')")
        assert tab.evaluate("newest.recorded_value.length === 16 && newest.recorded_paths[0].length === 10")
        assert tab.evaluate(_OVERFLOWING) == []
        shift = 8
        for key, modifiers in (("ArrowRight", 0), ("ArrowLeft", shift), (" ", 0)):
            number = len(robot.asked)
            for kind in ("keyDown", "keyUp"):
                tab.call("Input.dispatchKeyEvent", type=kind, key=key, modifiers=modifiers)
            deadline = time.monotonic() + 20
            while len(robot.asked) == number:
                assert time.monotonic() < deadline, key
                time.sleep(0.05)
        (right, there), (left, before), play = robot.asked
        assert (right, left) == (commands.SEEK, commands.SEEK)
        assert float(there) == pytest.approx(1.1)
        assert float(before) == pytest.approx(0.1)
        assert play == (commands.PLAY, "yes")
        assert not tab.evaluate("find('episodes').checkVisibility()"), "it is the only one"


def test_the_next_episode_of_a_dataset_is_asked_for_once(chromium: Browser) -> None:
    robot, playback = Robot(), ReplayPlace(1.0, 4.0, playing=False, speed=1.0, step=0.1, episode=0, num_episodes=2)
    robot.snapshot = dataclasses.replace(robot.snapshot, playback=playback)
    with served(robot, with_bar=False) as url, chromium.open(url) as tab:
        tab.wait_for("find('episode-words').textContent.startsWith('episode 0 ')")
        assert tab.evaluate("find('previous').disabled")
        tab.press("PageDown", "PageDown")
        tab.press("PageDown", "PageDown")
        tab.wait_for("find('episode-words').textContent.startsWith('opening episode 1')")
        robot.snapshot = dataclasses.replace(robot.snapshot, playback=dataclasses.replace(playback, episode=1))
        tab.wait_for("find('episode-words').textContent.startsWith('episode 1 ') && find('next').disabled")
        assert robot.asked == [(commands.EPISODE, "1")]
