"""The planning thread outlives whatever its surroundings raise."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from wav_models.presets import HorizonConfig
from wav_models.types import JOINT_DIM, ActionChunk, Plan
from wav_policy.nodes import planning_worker
from wav_policy.nodes.planning_worker import PlanningWorker
from wav_policy.splicing import Splicer

STILL = np.zeros((54, JOINT_DIM))


class Surroundings:
    """Policy, observations and node in one; fail in one place until told to go on."""

    def __init__(self, broken: str) -> None:
        self.broken = broken
        self.delivered = threading.Event()

    def _at(self, place: str) -> None:
        if place == self.broken:
            raise RuntimeError(f"broken {place}")

    def reset(self) -> None:
        self._at("reset")

    def observe(self) -> Any:
        self._at("observe")
        return SimpleNamespace(stamp=time.time(), joint_state=STILL[0])

    def plan(self, observation: Any, **_: Any) -> Plan:
        self._at("plan")
        return Plan(ActionChunk(STILL, observation.stamp, 1 / 30), np.ones(54), (), "planning off", {}, 0)

    def deliver(self, plan: Plan) -> None:
        self._at("deliver")
        self.delivered.set()


@pytest.mark.parametrize("place", ["reset", "observe", "plan", "deliver"])
def test_an_error_anywhere_is_reported_and_planning_goes_on(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning_worker, "_RETRY_FAILED", 0.01)
    around = Surroundings(place)
    reported = threading.Event()
    errors: list[str] = []

    def report(text: str) -> None:
        errors.append(text)
        reported.set()

    worker = PlanningWorker(
        around,  # type: ignore[arg-type]
        around.observe,
        around.deliver,
        interval=0.05,
        splicer=Splicer("naive", HorizonConfig()),
        clock=time.time,
        report_error=report,
    )
    try:
        worker.activate()
        assert reported.wait(5.0)
        assert f"broken {place}" in errors[0]
        assert not worker.stands
        around.broken = ""
        assert around.delivered.wait(5.0)
    finally:
        worker.close()
