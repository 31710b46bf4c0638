"""The planning thread outlives whatever its surroundings raise."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from wav_models.planner.config import PlannerConfig
from wav_models.presets import HorizonConfig
from wav_models.types import ActionChunk, Plan
from wav_policy.policy import planning_worker
from wav_policy.policy.chunk_continuation import ChunkContinuation
from wav_policy.policy.observation import NotReady
from wav_policy.policy.planning_worker import PlanningWorker
from wav_policy.robot.joints import JOINT_DIM

STILL = np.zeros((54, JOINT_DIM))
PATIENCE = 20.0


class Surroundings:
    """Policy, observations and node in one; fail in one place until told to go on."""

    planner = PlannerConfig(num_iterations=0)

    def __init__(self, broken: str = "") -> None:
        self.broken = broken
        self.seconds = 0.0
        self.go_on = threading.Event()
        self.go_on.set()
        self.delivered = threading.Event()
        self.num_delivered = 0
        self.num_resets = 0
        self.observed: list[float] = []
        self.acted_on: list[float] = []
        self.rows = STILL
        self.lost = False

    def _at(self, place: str) -> None:
        if place == self.broken:
            raise RuntimeError(f"broken {place}")

    def reset(self) -> None:
        self._at("reset")
        self.num_resets += 1

    def observe(self) -> Any:
        self._at("observe")
        self.observed.append(time.time())
        return SimpleNamespace(stamp=self.observed[-1], joint_state=STILL[0])

    def plan(self, observation: Any, **_: Any) -> Plan:
        self._at("plan")
        self.go_on.wait(PATIENCE)
        time.sleep(self.seconds)
        return Plan(ActionChunk(self.rows, observation.stamp, 1 / 30), np.ones(54), (), "planning off", {}, 0)

    def confirm(self) -> None:
        if self.lost:
            raise NotReady("head/image_raw", "frozen")

    def deliver(self, plan: Plan) -> None:
        self._at("deliver")
        self.acted_on.append(plan.chunk.stamp)
        self.num_delivered += 1
        self.delivered.set()


def make_worker(around: Surroundings, interval: float, report: Callable[[str], None]) -> PlanningWorker:
    return PlanningWorker(
        around,  # type: ignore[arg-type]
        around.observe,
        around.confirm,
        around.deliver,
        interval=interval,
        continuation=ChunkContinuation("naive", HorizonConfig()),
        clock=time.time,
        report_error=report,
    )


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("place", ["reset", "observe", "plan", "deliver"])
def test_an_error_anywhere_is_reported_and_planning_goes_on(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning_worker, "_RETRY_FAILED", 0.01)
    around = Surroundings(place)
    reported = threading.Event()
    errors: list[str] = []

    def report(text: str) -> None:
        errors.append(text)
        reported.set()

    worker = make_worker(around, 0.05, report)
    try:
        worker.activate()
        assert reported.wait(5.0)
        assert f"broken {place}" in errors[0]
        assert not worker.stands
        around.broken = ""
        assert around.delivered.wait(5.0)
    finally:
        worker.close()


def test_a_plan_is_dropped_when_a_source_failed_while_it_was_made() -> None:
    around = Surroundings()
    worker = make_worker(around, 0.05, pytest.fail)
    try:
        worker.activate()
        wait_for(around.delivered.is_set)
        around.lost = True
        wait_for(lambda: worker.statistics.dropped > 1)
        assert not worker.stands
        assert worker.blocked == "head/image_raw: frozen"
        delivered = around.num_delivered
        wait_for(lambda: worker.statistics.dropped > 3)
        assert around.num_delivered == delivered
        around.lost = False
        wait_for(lambda: around.num_delivered > delivered)
        wait_for(lambda: worker.blocked is None)
    finally:
        worker.close()


@pytest.mark.parametrize("ends", [("restart",), ("deactivate", "activate"), ("deactivate", "restart", "activate")])
def test_a_plan_in_flight_is_not_acted_on_once_the_task_has_changed(ends: tuple[str, ...]) -> None:
    """It was made for another instruction, or for arms that were elsewhere; the next one starts from scratch."""
    around = Surroundings()
    around.go_on.clear()
    worker = make_worker(around, 0.05, pytest.fail)
    try:
        worker.activate()
        wait_for(lambda: len(around.observed) == 1)
        for end in ends:
            getattr(worker, end)()
        around.go_on.set()
        wait_for(lambda: around.num_delivered > 1)
        assert around.observed[0] not in around.acted_on
        assert worker.statistics.dropped == 1
        assert around.num_resets == 2
    finally:
        around.go_on.set()
        worker.close()


@pytest.mark.parametrize("end", ["deactivate", "close"])
def test_a_plan_in_flight_is_not_acted_on_once_planning_has_ended(end: str) -> None:
    around = Surroundings()
    around.go_on.clear()
    worker = make_worker(around, 0.05, pytest.fail)
    try:
        worker.activate()
        wait_for(lambda: len(around.observed) == 1)
        threading.Timer(0.05, around.go_on.set).start()
        getattr(worker, end)()
        wait_for(lambda: worker.statistics.dropped == 1)
        assert around.num_delivered == 0
        assert not worker.stands
    finally:
        around.go_on.set()
        worker.close()


def test_a_plan_that_is_not_finite_is_not_acted_on() -> None:
    around, errors = Surroundings(), []
    around.rows = np.full_like(STILL, np.nan)
    worker = make_worker(around, 0.05, errors.append)
    try:
        worker.activate()
        wait_for(lambda: worker.failing)
        assert "the planned chunk is not finite" in errors[0]
        assert around.num_delivered == 0
    finally:
        worker.close()


def test_a_chunk_does_not_stand_once_the_next_plan_hangs() -> None:
    around, interval = Surroundings(), 1.0
    worker = make_worker(around, interval, pytest.fail)
    try:
        worker.activate()
        wait_for(around.delivered.is_set)
        around.go_on.clear()
        wait_for(lambda: worker.stands)
        began = time.monotonic()
        wait_for(lambda: not worker.stands)
        assert 0.5 * interval < time.monotonic() - began < 1.6, "not before it is overdue, nor when the chunk runs out"
        assert worker.blocked is None, "the planner is alive and says nothing"
        time.sleep(0.3)
        assert not worker.stands
        around.go_on.set()
        wait_for(lambda: worker.stands)
    finally:
        around.go_on.set()
        worker.close()


def test_chunks_of_a_policy_that_is_always_slow_stand() -> None:
    """Five times slower than chunks are due; the first plan, slower still, passes as well."""
    around = Surroundings()
    around.seconds = 1.0
    worker = make_worker(around, 0.08, pytest.fail)
    try:
        worker.activate()
        wait_for(lambda: worker.stands)
        around.seconds = 0.4
        for number in range(2, 8):
            while around.num_delivered < number:
                assert worker.stands
                time.sleep(0.005)
    finally:
        worker.close()


class ClockIsSet(Surroundings):
    """The wall clock is set forward by an hour during every plan."""

    ahead = 0.0

    def time(self) -> float:
        return time.time() + self.ahead

    def observe(self) -> Any:
        return SimpleNamespace(stamp=self.time(), joint_state=STILL[0])

    def plan(self, observation: Any, **_: Any) -> Plan:
        self.ahead += 3600.0
        return super().plan(observation)


def test_how_long_a_chunk_stands_does_not_follow_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planner that hangs would not be noticed for an hour."""
    around = ClockIsSet()
    worker = make_worker(around, 0.05, pytest.fail)
    monkeypatch.setattr(worker, "_clock", around.time)
    try:
        worker.activate()
        wait_for(lambda: around.num_delivered > 5)
        around.go_on.clear()
        wait_for(lambda: not worker.stands)
    finally:
        around.go_on.set()
        worker.close()


class Continuation:
    """Says what is committed, delivers other rows than were planned, and keeps what it is told."""

    def __init__(self) -> None:
        self.resets = 0
        self.latencies: list[float] = []
        self.motion = object()

    def reset(self) -> None:
        self.resets += 1

    def committed(self, stamp: float, joint_state: Any) -> Any:
        return self.motion

    def finish(self, chunk: ActionChunk) -> ActionChunk:
        return replace(chunk, positions=chunk.positions + 1.0)

    def took(self, latency: float) -> None:
        self.latencies.append(latency)

    @property
    def latency(self) -> float:
        return 0.0


class Watched(Surroundings):
    """Keeps what plans are asked for and what is delivered; observations are 0.2 s old; every third plan fails."""

    fails = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[dict[str, Any]] = []
        self.delivered_rows: list[Any] = []

    def observe(self) -> Any:
        return SimpleNamespace(stamp=time.time() - 0.2, joint_state=STILL[0])

    def plan(self, observation: Any, **asked: Any) -> Plan:
        self.asked.append(asked)
        if self.fails and len(self.asked) % 3 == 0:
            raise RuntimeError("every third")
        return super().plan(observation)

    def deliver(self, plan: Plan) -> None:
        self.delivered_rows.append(plan.chunk.positions)
        super().deliver(plan)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Watched, Continuation, PlanningWorker]]:
    monkeypatch.setattr(planning_worker, "_RETRY_FAILED", 0.01)
    around, continuation = Watched(), Continuation()
    worker = PlanningWorker(
        around,  # type: ignore[arg-type]
        around.observe,
        around.confirm,
        around.deliver,
        interval=0.01,
        continuation=continuation,  # type: ignore[arg-type]
        clock=time.time,
        seed=70,
        report_error=lambda text: None,
    )
    yield around, continuation, worker
    worker.close()


def test_no_two_plans_draw_the_same_noise(watched: tuple[Watched, Continuation, PlanningWorker]) -> None:
    """Nor one and the plan that failed before it: it would fail again."""
    around, _, worker = watched
    worker.activate()
    wait_for(lambda: around.num_delivered > 6)
    assert [asked["seed"] for asked in around.asked[:8]] == list(range(70, 78))


def test_a_plan_continues_what_is_committed_and_what_is_made_of_it_is_delivered(
    watched: tuple[Watched, Continuation, PlanningWorker],
) -> None:
    around, continuation, worker = watched
    worker.activate()
    wait_for(lambda: around.num_delivered > 2)
    assert all(asked["committed"] is continuation.motion for asked in around.asked)
    assert all((rows == STILL + 1.0).all() for rows in around.delivered_rows)
    assert worker.last_plan is not None
    assert (worker.last_plan.chunk.positions == STILL + 1.0).all()
    assert all(0.19 < latency < 5.0 for latency in continuation.latencies), "counted from the observation"


def test_nothing_is_continued_once_the_arms_may_hold(
    watched: tuple[Watched, Continuation, PlanningWorker],
) -> None:
    """Before the first plan, after one that failed, while no observation is possible, and for another task."""
    around, continuation, worker = watched
    around.fails = False
    worker.activate()
    wait_for(lambda: around.num_delivered > 3)
    assert continuation.resets == 1
    around.lost = True
    wait_for(lambda: continuation.resets > 1)
    around.lost = False
    delivered = around.num_delivered
    wait_for(lambda: around.num_delivered > delivered + 1)
    resets = continuation.resets
    worker.restart()
    wait_for(lambda: continuation.resets > resets)
    around.fails = True
    resets = continuation.resets
    wait_for(lambda: continuation.resets > resets)
