"""How a silent bus is watched: what is said of it, and when it is opened again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from wav_policy.piper.errors import BusSilentError
from wav_policy.piper.link import ArmLink


class Watched:
    """A link that is watched by hand: nothing is opened, and every wait is over at once.

    Attributes:
        link: what is tested.
        reader: as the link sees it.
        waits: how long it would have waited before each attempt to open [s].
        is_healed: by the next attempt.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.link = ArmLink("left", "slcan", "nowhere", 1.0, 0.3, lambda: 0.0, lambda: None, "")
        self.reader = SimpleNamespace(lost=None, age=float("inf"), missing=[])
        self.waits: list[float] = []
        self.is_healed = False
        self._wait = 0.2
        for name, value in {
            "_reader": self.reader,
            "_bus": SimpleNamespace(),
            "_closing": SimpleNamespace(wait=self.waits.append),
            "_explain": lambda: BusSilentError("the cable is out"),
            "_open_again": self._open_again,
        }.items():
            monkeypatch.setattr(self.link, name, value)

    def look(self) -> None:
        self._wait = self.link._look_after(self._wait)

    def _open_again(self) -> None:
        if self.is_healed:
            self.reader.age = 0.0


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Any:
    return Watched(monkeypatch)


def test_a_bus_that_stays_silent_is_opened_ever_more_rarely(watched: Watched) -> None:
    for _ in range(8):
        watched.look()
    before_opening, after_opening = watched.waits[::2], watched.waits[1::2]
    assert before_opening[:4] == [0.2, 0.4, 0.8, 1.6]
    assert before_opening == sorted(before_opening)
    assert before_opening[-1] == before_opening[-2] <= 5.0
    assert set(after_opening) == {0.3}, "feedback has time to come"


def test_a_bus_that_was_healed_is_opened_soon_the_next_time(watched: Watched) -> None:
    for _ in range(4):
        watched.look()
    watched.is_healed = True
    watched.look()
    watched.look()
    watched.reader.age = 1.0
    watched.waits.clear()
    watched.look()
    assert watched.waits[0] == 0.2


def test_what_was_wrong_with_a_bus_is_not_said_once_it_is_heard(watched: Watched) -> None:
    watched.look()
    assert watched.link.outage == "the cable is out"
    watched.is_healed = True
    watched.look()
    watched.look()
    assert watched.link.outage == ""
    watched.reader.missing = ["motors (0x261-0x266)"]
    assert watched.link.outage.endswith("waiting for feedback of motors (0x261-0x266)")
