"""Who asks gets an answer from the loop's thread; who stops does not wait for others."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from wav_policy.control import loop_thread
from wav_policy.control.loop_statistics import LoopStatistics
from wav_policy.control.loop_thread import LoopFailedError, LoopStalledError, LoopThread


class Ticker:
    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.gate = threading.Event()
        self.gate.set()
        self.in_tick = threading.Event()
        self.thread = LoopThread("ticker", 0.01, self.tick, self.errors.append, LoopStatistics())

    def tick(self) -> None:
        self.in_tick.set()
        self.gate.wait()

    def stall(self) -> None:
        """Be in a tick that does not end."""
        self.gate.clear()
        self.in_tick.clear()
        assert self.in_tick.wait(5.0)


@pytest.fixture
def ticker() -> Iterator[Ticker]:
    ticker = Ticker()
    ticker.thread.start()
    yield ticker
    ticker.gate.set()
    ticker.thread.close()


def test_it_acts_in_its_own_thread_in_the_order_of_asking(ticker: Ticker) -> None:
    names: list[str] = []
    for count in range(20):
        assert ticker.thread.ask(lambda count=count: names.append(threading.current_thread().name) or count) == count
    assert set(names) == {"ticker"}


def test_before_the_start_and_after_the_end_whoever_asks_acts() -> None:
    thread = LoopThread("ticker", 0.01, lambda: None, lambda error: None, LoopStatistics())
    assert thread.ask(threading.current_thread) is threading.current_thread()
    LoopThread("never started", 0.01, lambda: None, lambda error: None, LoopStatistics()).close()
    thread.start()
    assert thread.ask(threading.current_thread) is not threading.current_thread()
    thread.close()
    assert thread.ask(threading.current_thread) is threading.current_thread()


def test_of_too_many_offers_the_newest_are_done(ticker: Ticker) -> None:
    ticker.stall()
    done: list[int] = []
    for count in range(1000):
        ticker.thread.offer(lambda count=count: done.append(count))
    ticker.gate.set()
    ticker.thread.ask(lambda: None)
    assert done == [996, 997, 998, 999]


def test_what_a_stalled_loop_was_asked_for_is_not_done_later(ticker: Ticker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_thread, "_ANSWER_TIMEOUT", 0.05)
    ticker.stall()
    done: list[str] = []
    with pytest.raises(LoopStalledError, match="power switch"):
        ticker.thread.ask(lambda: done.append("enable"))
    ticker.gate.set()
    time.sleep(0.1)
    assert done == []


def test_what_takes_longer_is_answered_when_it_is_done(ticker: Ticker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begun in time, it is done: who asked must not take it for refused."""
    monkeypatch.setattr(loop_thread, "_ANSWER_TIMEOUT", 0.4)
    assert ticker.thread.ask(lambda: time.sleep(0.5) or "done") == "done"
    began = threading.Event()
    with pytest.raises(LoopStalledError, match="has not answered"):
        ticker.thread.ask(lambda: began.set() or time.sleep(1.5))
    assert began.is_set()


def test_what_is_urgent_stays_and_is_seen_by_the_tick_under_way(ticker: Ticker) -> None:
    ticker.stall()
    done: list[str] = []
    began = time.monotonic()
    ticker.thread.urge(lambda: done.append("stop"))
    assert time.monotonic() - began < 0.1, "who stops goes on to the arms"
    assert ticker.thread.must_hurry
    ticker.gate.set()
    ticker.thread.ask(lambda: None)
    assert done == ["stop"]
    assert not ticker.thread.must_hurry


def test_an_error_is_told_and_ends_nothing(ticker: Ticker) -> None:
    def fail() -> Any:
        raise ZeroDivisionError("nobody foresaw this")

    with pytest.raises(LoopFailedError, match="not done: ZeroDivisionError: nobody foresaw this"):
        ticker.thread.ask(fail)
    assert [str(error) for error in ticker.errors] == ["nobody foresaw this"]
    assert ticker.thread.ask(lambda: "goes on") == "goes on"
