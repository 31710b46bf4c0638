"""Runs the catalogue on a simulated system and measures: what happened, how fast the arms held, what was lost.

`wav doctor --faults --sim` and `pytest -m faults` both call `run`.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from wav_models.configuration import ConfigurationError
from wav_models.types import FloatArray
from wav_policy.control.safety_limits import SafetyLimits
from wav_policy.experiments.faults.arm_faults import ARM_FAULTS
from wav_policy.experiments.faults.camera_faults import CAMERA_FAULTS
from wav_policy.experiments.faults.fault import END, GO_ON, HOLD, PARK, Fault, Testbed
from wav_policy.experiments.faults.motion import (
    Hold,
    find_excess,
    find_fastest,
    find_lasting_hold,
    find_rest,
    is_moving,
)
from wav_policy.experiments.faults.observer import Observer
from wav_policy.experiments.faults.outcome import Outcome, judged, lost_episodes, num_episodes
from wav_policy.experiments.faults.policy_faults import MESSAGE_FAULTS, POLICY_FAULTS
from wav_policy.experiments.faults.process_faults import ENDING_FAULTS, MACHINE_FAULTS
from wav_policy.experiments.faults.system import CampaignError, RunningSystem
from wav_policy.experiments.faults.wall_time import wall_time
from wav_policy.experiments.faults.way_back import MOVING, WayBack, walk_back
from wav_policy.monitor.snapshot import CONTROL, NODES, PLANNING
from wav_policy.nodes.clients.system_client import ServiceError

FAULTS: Final = (
    *POLICY_FAULTS,
    *CAMERA_FAULTS,
    *ARM_FAULTS,
    *MESSAGE_FAULTS,
    *MACHINE_FAULTS,
    *ENDING_FAULTS,
)
"""In the order of the campaign; those that end the system come last."""

_START_TIMEOUT: Final = 240.0
_MOTION_TIMEOUT: Final = 60.0
_END_TIMEOUT: Final = 60.0
_PATIENCE: Final = 6.0
"""For what the operator waits before following a message [s]."""
_WINDOW: Final = 3.0
"""How long a fault is watched [s]; one that ends the system until it has ended."""
_HEAR_TIMEOUT: Final = 10.0
"""For what must be said: /diagnostics comes once a second, and the plan under way may take a while [s]."""
_MOST_TRIES: Final = 20
"""To begin to record, a second apart: the sources of a system that has just started, or healed, come one by one."""
_EPISODE: Final = 1.5
"""Length of the episode that is recorded before each fault, and least length of the one it hits [s]."""
_OWN_SPEED: Final = 2.0
"""Of joints that the campaign moves at 0.3 rad/s: they catch up after a hold; jumps are at 3 [rad/s]."""
_TAKEN: Final = 0.1
"""Of joints whose target moves again only because they are taken where they are [rad/s]."""
_LEFT_ALONE: Final = 0.5
"""Of joints that wait for the operator, and may settle [rad/s]."""


def chosen(names: Iterable[str] = ()) -> list[Fault]:
    """Faults whose name contains one of the texts; all without any.

    Raises:
        ConfigurationError: a text fits no fault.
    """
    texts = list(names)
    for text in texts:
        if not any(text in fault.name for fault in FAULTS):
            raise ConfigurationError(
                f"no fault is called {text!r}; there are: {', '.join(fault.name for fault in FAULTS)}"
            )
    return [fault for fault in FAULTS if not texts or any(text in fault.name for text in texts)]


def _home(observer: Observer) -> None:
    """As an operator does it: where an arm leans on something on its way, that is taken away first."""
    try:
        observer.client.trigger("piper/home", timeout=30.0)
    except ServiceError:
        observer.client.trigger("sim/reset")
        observer.client.switch("piper/enable", True, 30.0)
        observer.client.trigger("piper/home", timeout=30.0)


def _are_moving(observer: Observer) -> bool:
    """As an operator waits for it: an arm that leant on something, where the objects were laid out anew, is enabled
    again, once."""
    began, deadline = wall_time(), time.monotonic() + _MOTION_TIMEOUT

    def move() -> bool:
        return is_moving(*observer.targets(max(began, wall_time() - 1.0)), MOVING)

    observer.forget(CONTROL)
    observer.wait(lambda: move() or observer.says(CONTROL, "not following"), _MOTION_TIMEOUT)
    if observer.says(CONTROL, "not following"):
        observer.client.switch("piper/enable", True, 30.0)
    return observer.wait(move, deadline - time.monotonic())


def run(
    faults: Iterable[Fault],
    directory: Path | None = None,
    arguments: tuple[str, ...] = (),
    tell: Callable[[str], None] = lambda text: None,
) -> Iterator[Outcome]:
    """Inject one fault after the other; a new system is started whenever one has ended the last.

    Args:
        faults: of `FAULTS`.
        directory: for logs and recordings; a temporary one if None.
        arguments: launch arguments such as "checkpoint:=...".
        tell: receives progress.
    """
    with tempfile.TemporaryDirectory(prefix="wav-faults-") as scratch:
        base = directory or Path(scratch)
        campaign = _Campaign(base, arguments, tell)
        try:
            for fault in faults:
                tell(fault.name)
                yield campaign.outcome(fault)
        finally:
            campaign.close()


class _Campaign:
    def __init__(self, directory: Path, arguments: tuple[str, ...], tell: Callable[[str], None]) -> None:
        self._directory = directory
        self._arguments = arguments
        self._tell = tell
        self._starts = 0
        self._testbed: Testbed | None = None
        limits = SafetyLimits()
        self._speed, self._acceleration = max(limits.velocity), min(limits.acceleration)

    def close(self) -> None:
        """Stop the system, if one runs."""
        if self._testbed is not None:
            self._testbed.observer.close()
            self._testbed.system.stop()
            self._testbed = None

    def outcome(self, fault: Fault) -> Outcome:
        """Set the arms moving, inject, watch, heal. A system that has ended, or does not do as it should, is started
        anew."""
        try:
            testbed = self._ready(fault)
            saved = self._record_an_episode(testbed)
            end_motion = self._set_moving(testbed, fault)
            try:
                result = self._inject(testbed, fault, saved)
            finally:
                end_motion()
            if fault.outcome in (END, PARK):
                self.close()
                result = self._started_again(fault, result)
        except Exception as error:  # one fault that cannot be injected must not end the campaign
            words = "" if self._testbed is None else self._testbed.system.last_words()
            result = Outcome(fault.name, "unexpected", None, None, "unknown", False, f"{error}\n{words}")
        if not result.passed:
            self.close()
        return result

    def _started_again(self, fault: Fault, result: Outcome) -> Outcome:
        """The way back from a system that has ended is to start it: the arms must then follow chunks by themselves."""
        way_back = self._walk_back(self._ready(fault), fault)
        if way_back.arrived and not way_back.calls:
            return replace(result, way_back=("wav up",))
        detail = f"{result.detail} Started again, the arms do not move by themselves: {way_back.words}"
        return replace(result, passed=False, detail=detail)

    def _ready(self, fault: Fault) -> Testbed:
        if self._testbed is not None and self._testbed.system.steps_clock != fault.steps_clock:
            self.close()
        if self._testbed is not None:
            return self._testbed
        self._starts += 1
        self._tell("starting the system")
        system = RunningSystem(self._directory / f"start{self._starts}", self._arguments, fault.steps_clock)
        observer = Observer()
        self._testbed = Testbed(system, observer)
        active = observer.wait(
            lambda: observer.says(NODES, "all nodes active") or system.process.poll() is not None, _START_TIMEOUT
        )
        if not active or system.process.poll() is not None:
            raise CampaignError("the system did not start")
        return self._testbed

    def _record_an_episode(self, testbed: Testbed) -> int:
        """Save one and start the next, long enough to be kept; how many are saved."""
        self._start_recording(testbed.observer)
        testbed.observer.spin(_EPISODE)
        testbed.observer.client.trigger("recorder/stop")
        saved = num_episodes(testbed.system.dataset)
        self._start_recording(testbed.observer)
        testbed.observer.spin(_EPISODE)
        return saved

    @staticmethod
    def _start_recording(observer: Observer) -> None:
        """As soon as all sources are there."""
        for _ in range(_MOST_TRIES):
            try:
                observer.client.trigger("recorder/start")
            except ServiceError as error:
                refusal = error
                observer.spin(1.0)
            else:
                return
        raise refusal

    def _set_moving(self, testbed: Testbed, fault: Fault) -> Callable[[], None]:
        observer = testbed.observer
        observer.client.deactivate("policy_node")
        _home(observer)  # from where a fault has left them the arms may lean on something, or come near it
        if fault.by_policy:
            observer.client.trigger("sim/reset")
            observer.client.activate("policy_node")
            end: Callable[[], None] = _do_nothing
        else:
            swing_end = observer.swing()

            def end() -> None:
                swing_end()
                if fault.outcome in (HOLD, GO_ON):
                    observer.client.activate("policy_node")

        if not _are_moving(observer):
            end()
            raise CampaignError("the arms did not move")
        return end

    def _inject(self, testbed: Testbed, fault: Fault, saved: int) -> Outcome:
        testbed.observer.listen_anew()
        testbed.system.listen_anew()
        before = wall_time() - 0.5
        since = fault.inject(testbed)
        said = self._watch(testbed, _WINDOW)
        if fault.outcome == GO_ON:
            return self._going_on(testbed, fault, saved, before)
        if fault.outcome in (END, PARK):
            testbed.observer.wait(lambda: testbed.system.process.poll() is not None, _END_TIMEOUT)
        if fault.outcome == PARK:
            return self._parked(testbed, fault, saved)
        hold = self._hold(testbed.observer, fault, before, since)
        if fault.outcome == END:
            return self._ended(testbed, fault, saved, hold)
        return self._held(testbed, fault, saved, hold, said, since)

    def _held(self, testbed: Testbed, fault: Fault, saved: int, hold: Hold | None, said: str, since: float) -> Outcome:
        """Whether they braked as they may, who was blamed, what was said, and the way back."""
        observer, healed = testbed.observer, wall_time()
        faults = []
        if hold is not None:
            times, targets = _moved(fault, *observer.targets(since - 0.5))
            braking = times <= since + hold.rest
            faults.append(find_excess(times[braking], targets[braking], self._speed, self._acceleration))
        planning = observer.message(PLANNING)
        if fault.culprit not in planning:
            faults.append(f"The policy said: {planning}; expected: {fault.culprit}")
        faults.append(self._unsaid(testbed, fault))
        fault.heal(testbed)
        way_back = self._walk_back(testbed, fault)
        if not way_back.arrived:
            said += "; does not go on"
            faults.append(f"The arms do not move again; said last: {way_back.words}")
        unforeseen = [service for service in way_back.calls if service not in fault.way_back]
        if unforeseen:
            faults.append(f"{', '.join(unforeseen)} should not have been needed")
        faults.append(self._too_fast(observer, fault, since, healed, way_back))
        lost = self._stop_recording(testbed, saved)
        detail = ". ".join(filter(None, faults))
        return judged(fault, said, hold, lost, not detail, detail, way_back.calls)

    def _unsaid(self, testbed: Testbed, fault: Fault) -> str:
        """What was to be said and was not; "" if all was."""
        expected, observer = re.compile(fault.says), testbed.observer
        if observer.wait(lambda: bool(expected.search(f"{observer.heard}\n{testbed.system.said}")), _HEAR_TIMEOUT):
            return ""
        return f"nobody said {fault.says!r}"

    def _too_fast(self, observer: Observer, fault: Fault, before: float, healed: float, way_back: WayBack) -> str:
        """Which joints really moved faster than they may, "" if none; not what the arms do once they follow again."""
        if fault.falls:
            return ""
        times, speeds = observer.speeds(before)
        moving = 1.1 * self._speed if fault.by_policy else _OWN_SPEED
        waiting = way_back.left if way_back.calls else healed
        for since, until, allowed in ((before, healed, moving), (healed, waiting, _LEFT_ALONE)):
            fastest = find_fastest(times, speeds, since, until)
            if fastest > allowed:
                return f"a joint moved at {fastest:.2f} rad/s, allowed {allowed:g}"
        return ""

    def _walk_back(self, testbed: Testbed, fault: Fault) -> WayBack:
        observer = testbed.observer

        def begin() -> None:
            if fault.by_policy:
                observer.client.trigger("sim/reset")
            else:
                observer.resume_chunks()

        patience = _PATIENCE if fault.way_back else _MOTION_TIMEOUT
        return walk_back(observer, patience, begin)

    def _hold(self, observer: Observer, fault: Fault, before: float, since: float) -> Hold | None:
        """From the targets, where none sent any more is also a halt; without a driver, from the simulated joints."""
        if fault.driver_dies:
            rest = find_rest(*observer.speeds(before), since)
            return None if rest is None else Hold(None, rest)
        times, targets = _moved(fault, *observer.targets(before))
        if not len(times) or times[-1] <= since:
            return Hold(0.0, 0.0)
        times, targets = np.append(times, wall_time()), np.vstack([targets, targets[-1:]])
        knowable = fault.limit if fault.outcome == HOLD else 0.0
        hold = find_lasting_hold(times, targets, since, self._acceleration, knowable)
        if hold is not None and hold.moved_again is not None:
            times, speeds = observer.speeds(before)
            away = since + hold.moved_again - 0.1
            is_seen = len(times) > 0 and times[-1] > away
            if is_seen and find_fastest(times, speeds, away, wall_time()) < _TAKEN:
                return replace(hold, moved_again=None)
        return hold

    def _watch(self, testbed: Testbed, seconds: float) -> str:
        """Process messages for a while; what piper_node says about its first hold, or at the end."""
        observer = testbed.observer
        observer.forget(CONTROL)
        observer.wait(lambda: observer.says(CONTROL, "hold") or observer.says(CONTROL, "stopped"), seconds)
        said = observer.message(CONTROL)
        observer.spin(seconds)
        return said

    def _going_on(self, testbed: Testbed, fault: Fault, saved: int, before: float) -> Outcome:
        observer, until = testbed.observer, wall_time()
        way_back = self._walk_back(testbed, fault)
        if testbed.system.process.poll() is not None:
            raise CampaignError("the system ended")
        faults = [self._unsaid(testbed, fault), self._too_fast(observer, fault, before, until, way_back)]
        if way_back.calls:
            faults.append(f"{', '.join(way_back.calls)} should not have been needed")
        lost = self._stop_recording(testbed, saved)
        fault.heal(testbed)
        reaction = "goes on" if way_back.arrived else "stopped moving"
        recorder = observer.reports.get("recorder_node: episode")
        if recorder is not None and lost != "nothing":
            faults.append(recorder.values.get("last", ""))
        detail = ". ".join(filter(None, faults))
        well = way_back.arrived and lost in ("nothing", fault.lost) and not any(faults[:2]) and not way_back.calls
        return Outcome(fault.name, reaction, None, None, lost, well, detail, way_back.calls)

    def _ended(self, testbed: Testbed, fault: Fault, saved: int, hold: Hold | None) -> Outcome:
        code, words = testbed.system.wait_for_end(0.0), testbed.system.last_words()
        named = next((line for line in words.splitlines() if line.startswith("wav up:")), "")
        tidy = code == 1 and re.search(fault.says, named) is not None and not testbed.system.nodes()
        reaction = "holds; orderly stop" if tidy else f"exit code {code}"
        return judged(fault, reaction, hold, lost_episodes(testbed.system.dataset, saved), tidy, named)

    def _parked(self, testbed: Testbed, fault: Fault, saved: int) -> Outcome:
        code, lost = testbed.system.wait_for_end(0.0), lost_episodes(testbed.system.dataset, saved)
        well = code == 0 and not testbed.system.nodes() and lost in ("nothing", fault.lost)
        reaction = "parks; orderly stop" if well else f"exit code {code}"
        return Outcome(fault.name, reaction, None, None, lost, well, "" if well else testbed.system.last_words())

    def _stop_recording(self, testbed: Testbed, saved: int) -> str:
        """End the episode in progress; what is lost."""
        try:
            testbed.observer.client.trigger("recorder/stop", timeout=30.0)
        except ServiceError:
            self._tell("the recorder had stopped by itself")
        return lost_episodes(testbed.system.dataset, saved)


def _moved(fault: Fault, times: FloatArray, targets: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Targets, shape [T, 14], without those of joints whose zero is lost: they change with the zero."""
    joints = list(fault.displaced)
    targets[:, joints] = targets[:1, joints]
    return times, targets


def _do_nothing() -> None:
    """The policy goes on by itself."""
