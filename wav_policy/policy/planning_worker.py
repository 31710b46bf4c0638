"""The thread that plans: while one chunk is executed, the next one is computed. No ROS in here."""

from __future__ import annotations

import math
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol

import numpy as np

from wav_models.planner.config import PlannerConfig
from wav_models.presets import ModelConfig
from wav_models.types import ImageArray, Observation, Plan
from wav_policy.policy.chunk_continuation import ChunkContinuation, CommittedMotion
from wav_policy.policy.imagined_futures import ImaginedFutures
from wav_policy.policy.imagined_motion import ImaginedMotion
from wav_policy.policy.observation import NotReady
from wav_policy.policy.planning_effort import EffortStatistics, PlanCost

_RETRY_NOT_READY: Final = 0.02
"""Observations become possible within a frame time [s]."""
_RETRY_FAILED: Final = 0.5
"""A planning error is likely to come again at once: do not burn the processor [s]."""
_NUM_RECENT: Final = 9
"""Plans whose median duration predicts the next one's: few, so that warm-up and load changes are forgotten."""
_NUM_KEPT: Final = 1000
_PATIENCE: Final = 0.2
"""For a new instruction's encoding, or a processor that is busy for a moment [s]."""


class PolicyError(RuntimeError):
    """A plan that failed for a reason outside this program, which the message says: where in it says nothing more."""


class Policy(Protocol):
    """What the node needs of `wav_policy.policy.wav_policy.WAVPolicy` or of a `RemotePolicy`."""

    @property
    def config(self) -> ModelConfig: ...

    @property
    def planner(self) -> PlannerConfig: ...

    @property
    def description(self) -> str: ...

    def plan(
        self,
        observation: Observation,
        *,
        seed: int = 0,
        deadline: float | None = None,
        committed: CommittedMotion | None = None,
    ) -> Plan: ...

    def imagine(self, plan: Plan) -> ImageArray: ...

    def futures(self, plan: Plan) -> ImaginedFutures | None: ...

    def alternatives(self, plan: Plan, count: int) -> Sequence[ImaginedMotion]: ...

    def fit_image(self, rgb: ImageArray, size: tuple[int, int], out: ImageArray | None = None) -> ImageArray: ...

    def reset(self) -> None: ...

    def warm_up(self, instruction: str = "") -> PlanCost: ...

    def close(self) -> None: ...


class PlanStatistics:
    """Counts and durations since the worker was made.

    Attributes:
        plans: plans delivered.
        failed: plans that ended in an error.
        dropped: plans thrown away because planning was stopped or restarted meanwhile, or a source had failed.
    """

    def __init__(self) -> None:
        self.plans = 0
        self.failed = 0
        self.dropped = 0
        self._milliseconds: dict[str, deque[float]] = {}

    def add(self, **seconds: float) -> None:
        """Record one duration per stage [s]."""
        for stage, duration in seconds.items():
            self._milliseconds.setdefault(stage, deque(maxlen=_NUM_KEPT)).append(1e3 * duration)

    def recent(self, stage: str) -> float:
        """Median of the last few durations of a stage, 0 before the first [s]."""
        kept = self._milliseconds.get(stage)
        return 1e-3 * float(np.median(list(kept)[-_NUM_RECENT:])) if kept else 0.0

    def percentiles(self) -> dict[str, float]:
        """{"<stage>_ms_p50": ..., "<stage>_ms_p99": ...} over the last plans."""
        result: dict[str, float] = {}
        for stage, kept in list(self._milliseconds.items()):  # the planning thread may add a stage meanwhile
            p50, p99 = np.percentile(list(kept), [50, 99])
            result[f"{stage}_ms_p50"], result[f"{stage}_ms_p99"] = float(p50), float(p99)
        return result


class PlanningWorker:
    """Plans in a thread of its own while active, early enough that the next chunk is there when it is due.

    The next chunk is due `interval` after the last one was delivered, so the next plan starts `interval` minus the
    median duration of the last plans after the delivery; at once where plans take longer than that.

    A chunk stands until the next one is overdue: it may come later than due by as much as nine plans of ten take, and a
    little more, which leaves time for one plan that is dropped for a new instruction. So a planner that hangs is
    noticed, and one that is slow all the time is not taken for it.

    Args:
        policy: used from the worker's thread only.
        observe: the current observation; raises NotReady.
        confirm: raises NotReady once what was observed cannot be relied on any more; asked before every delivery.
        deliver: called with every plan, from the worker's thread, never once `deactivate` has returned.
        interval: time a chunk is in force before the next one takes over [s].
        continuation: makes successive chunks one motion; used from the worker's thread only.
        clock: that of the observations' stamps; for their ages only [s].
        seed: of the first plan; the following ones count up.
        report_error: called with what a `PolicyError` says, or the traceback of any other planning error.
    """

    def __init__(
        self,
        policy: Policy,
        observe: Callable[[], Observation],
        confirm: Callable[[], None],
        deliver: Callable[[Plan], None],
        *,
        interval: float,
        continuation: ChunkContinuation,
        clock: Callable[[], float],
        seed: int = 0,
        report_error: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.statistics = PlanStatistics()
        self.effort = EffortStatistics(policy.planner)
        self.last_plan: Plan | None = None
        self.blocked: str | None = None
        """Why there is no plan at the moment; None while all is well."""
        self.failing = False
        """The last plan ended in an error."""
        self.policy = policy
        self._observe = observe
        self._confirm = confirm
        self._deliver = deliver
        self._interval = interval
        self._continuation = continuation
        self._clock = clock
        self._seed = seed
        self._report_error = report_error
        self._condition = threading.Condition()
        self._active = False
        self._closed = False
        self._generation = 0
        self._not_before = 0.0
        self._stands_until = -math.inf
        self._thread = threading.Thread(target=self._run, name="planning")
        self._thread.start()

    @property
    def stands(self) -> bool:
        """The chunk delivered last may be executed.

        Since then observations were possible, planning did not fail, and the next chunk is not overdue.
        """
        return time.monotonic() < self._stands_until

    def activate(self) -> None:
        """Start planning, from scratch: no warm start from before."""
        with self._condition:
            self._active = True
            self._stands_until = -math.inf
            self._restart()

    def deactivate(self) -> None:
        """Stop planning; a plan in flight is dropped."""
        with self._condition:
            self._active = False
            self._stands_until = -math.inf
            self._restart()

    def restart(self) -> None:
        """Drop a plan in flight and the warm start, and plan anew: the task has changed."""
        with self._condition:
            self._restart()

    def close(self) -> None:
        """Stop and end the thread; waits for a plan in flight."""
        with self._condition:
            self._closed = True
            self._active = False
            self._restart()
        self._thread.join()

    def _restart(self) -> None:
        self._generation += 1
        self._not_before = 0.0
        self.blocked = "the first plan is under way"
        self.failing = False
        self._condition.notify()

    def _run(self) -> None:
        reset_for = 0
        while (generation := self._await_turn()) is not None:
            try:
                if generation != reset_for:
                    self.policy.reset()
                    self._continuation.reset()
                    reset_for = generation
                self._plan(generation)
            except Exception as error:  # whatever goes wrong in a plan: say so, give no chunk, and go on
                self._report_error(str(error) if isinstance(error, PolicyError) else traceback.format_exc())
                self.statistics.failed += 1
                reason = f"planning failed: {type(error).__name__}: {error}"
                self._block(generation, reason, _RETRY_FAILED, failing=True)

    def _await_turn(self) -> int | None:
        """Wait until a plan is due; its generation, or None when closed."""
        with self._condition:
            while not self._closed:
                wait = self._not_before - time.monotonic() if self._active else None
                if wait is not None and wait <= 0.0:
                    return self._generation
                self._condition.wait(wait)
        return None

    def _plan(self, generation: int) -> None:
        start = time.monotonic()
        try:
            observation = self._observe()
        except NotReady as reason:
            self._block(generation, str(reason), _RETRY_NOT_READY)
            return
        observed, age = time.monotonic(), self._clock() - observation.stamp
        seed = self._seed + self.statistics.plans + self.statistics.failed
        committed = self._continuation.committed(observation.stamp, observation.joint_state)
        plan = self.policy.plan(observation, seed=seed, committed=committed)
        if not np.isfinite(plan.chunk.positions).all():
            raise ValueError("the planned chunk is not finite")
        finished = time.monotonic()
        try:
            self._confirm()
        except NotReady as reason:
            self.statistics.dropped += 1
            self._block(generation, str(reason), _RETRY_NOT_READY)
            return
        with self._condition:
            if generation != self._generation:
                self.statistics.dropped += 1
                return
            plan = replace(plan, chunk=self._continuation.finish(plan.chunk))
            self._deliver(plan)
            latency = max(age, 0.0) + time.monotonic() - observed
            self._continuation.took(latency)
            self.statistics.plans += 1
            self.statistics.add(
                observation_age=age,
                observe=observed - start,
                plan=finished - observed,
                cycle=finished - start,
                observation_to_chunk=latency,
                **plan.seconds,
            )
            self.effort.add(plan)
            self.last_plan, self.blocked, self.failing = plan, None, False
            delivered = time.monotonic()
            self._not_before = delivered + max(0.0, self._interval - self.statistics.recent("cycle"))
            usual = self._continuation.latency
            self._stands_until = delivered + max(self._interval, usual) + usual + _PATIENCE

    def _block(self, generation: int, reason: str, retry: float, *, failing: bool = False) -> None:
        self._continuation.reset()  # the arms may come to hold meanwhile
        with self._condition:
            if generation == self._generation:
                self.blocked, self.failing, self._stands_until = reason, failing, -math.inf
                self._not_before = time.monotonic() + retry
