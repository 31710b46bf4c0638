"""The control loop over arms that obey at once: chunks, stops, feedback, punctuality."""

from __future__ import annotations

import re
import threading
import time

import numpy as np
import pytest

from tests.wav_policy.control.loop_bench import RATE, START, Bench, PerfectArms
from wav_models.types import ActionChunk
from wav_policy.control import control_loop, loop_thread
from wav_policy.control.control_loop import ControlLoop
from wav_policy.control.loop_statistics import LoopStatistics
from wav_policy.control.safety import SafetyLimits
from wav_policy.piper.bimanual import JointReading
from wav_policy.piper.inhibits import RESET_REMEDY

CABLE_CUT = f"RuntimeError: cable cut. {RESET_REMEDY}"


def test_nothing_is_written_before_engaging(bench: Bench) -> None:
    bench.loop.accept(bench.chunk(0.2))
    bench.run(0.5)
    assert bench.arms.writes == []
    assert bench.loop.state().reason == "not enabled"


def test_a_chunk_from_before_engaging_is_not_executed(bench: Bench) -> None:
    chunk = bench.chunk(0.2)
    bench.run(0.1)
    bench.loop.engage()
    bench.loop.accept(chunk)
    bench.run(0.5)
    np.testing.assert_array_equal(bench.arms.position, START)
    assert "before" in bench.loop.state().rejected_chunk


def test_follows_then_holds_at_the_end(following: Bench) -> None:
    state = following.loop.state()
    assert state.chunk_age == pytest.approx(0.5)
    assert following.arms.position[0] == pytest.approx(0.1, abs=0.005)
    following.run(2.0)
    assert following.loop.state().reason == "no_command"
    assert following.arms.position[0] == pytest.approx(0.4, abs=0.005)
    assert following.loop.state().timing.chunk_age_p99 == pytest.approx(2.0, abs=0.05)
    assert following.loop.state().interventions["no_command"] > 0


def test_targets_keep_the_limits(bench: Bench) -> None:
    bench.loop.engage()
    bench.run(0.05)
    bench.loop.accept(bench.chunk(2.85, rows=8))  # 3.6 rad/s, beyond 150 deg
    bench.run(2.0)
    path = np.array([position[0] for position in bench.arms.writes])
    velocity = np.diff(path) * RATE
    assert 1.5 < path.max() <= np.radians(150)
    assert velocity.max() == pytest.approx(3.0)
    assert np.abs(velocity).max() <= 3.0 + 1e-9
    assert np.abs(np.diff(velocity)).max() * RATE <= 5.0 + 1e-6


def test_limiting_is_told_with_joint_and_numbers(bench: Bench) -> None:
    """Also when the arms do not hold for it."""
    diagnostics = pytest.importorskip("wav_policy.nodes.arm_diagnostics", exc_type=ImportError)
    bench.loop.engage()
    bench.run(0.05)
    bench.loop.accept(bench.chunk(2.85, rows=8))
    bench.run(0.8)
    state = bench.loop.state()
    assert set(state.newest) == set(state.interventions) > {"velocity_limit", "position_limit"}
    told = {pair.key: pair.value for pair in diagnostics.describe_loop(state, RATE).values}
    assert re.search(r"left_joint1: needs [3-9]\.\d+ per second, limited to 3\.000", told["newest_velocity_limit"])
    assert re.search(r"left_joint1: commanded 2\.\d+ rad, limited to 2\.613\d rad", told["newest_position_limit"])
    bench.loop.engage()
    assert bench.loop.state().newest == {}


def test_a_malformed_chunk_ends_the_one_in_force(following: Bench) -> None:
    bad = following.chunk(0.4)
    bad.positions[2, 3] = np.nan
    following.loop.accept(bad)
    following.run(0.1)
    state = following.loop.state()
    assert state.reason == "no_command"
    assert "left_joint4" in state.rejected_chunk
    following.loop.accept(following.chunk(0.2))
    following.run(0.1)
    assert not following.loop.state().holding
    assert following.loop.state().rejected_chunk == ""


def test_stale_feedback_holds_and_recovers(following: Bench) -> None:
    following.arms.frozen_at = following.now
    following.run(0.3)
    state = following.loop.state()
    assert (state.reason, state.holding) == ("stale_measurement", True)
    assert "0.1" in state.detail
    following.arms.frozen_at = None
    following.run(0.1)
    assert following.loop.state().holding, "the chunk in force was planned before"
    following.loop.accept(following.chunk(0.3))
    following.run(0.1)
    assert not following.loop.state().holding
    assert following.loop.stop_reason is None


def test_an_error_latches_the_stop(following: Bench) -> None:
    following.arms.error = RuntimeError("cable cut")
    following.run(0.05)
    following.arms.error = None
    assert following.faults == [CABLE_CUT]
    assert following.loop.state().reason == "stopped"
    assert following.loop.state().fault == CABLE_CUT
    following.run(1.0)
    stopped_at = following.arms.position
    following.loop.accept(following.chunk(0.4))
    following.run(0.5)
    np.testing.assert_array_equal(following.arms.position, stopped_at)

    following.loop.reset()
    following.loop.accept(following.chunk(0.4))
    following.run(0.5)
    np.testing.assert_array_equal(following.arms.position, stopped_at)
    state = following.loop.state()
    assert (state.reason, state.fault) == ("not enabled", "")

    following.loop.accept(ActionChunk(np.zeros((4, 13)), following.now, 0.1))
    assert following.loop.state().rejected_chunk
    following.loop.engage()
    assert following.loop.state().rejected_chunk == "", "that was before"
    following.run(0.05)
    following.loop.accept(following.chunk(0.3))
    following.run(1.0)
    assert following.arms.position[0] == pytest.approx(0.3, abs=0.02)
    following.arms.error = RuntimeError("cable cut again")
    following.run(0.05)
    assert following.faults[1:] == [CABLE_CUT.replace("cut", "cut again")], "every fault is told, not the first alone"


def test_arms_that_were_led_elsewhere_are_not_taken_back_when_a_chunk_comes_at_once(following: Bench) -> None:
    following.loop.disengage()
    following.run(1.0)
    following.arms.position = following.arms.position + 0.2 * (np.arange(14) == 0)
    elsewhere, count = following.arms.position[0], len(following.arms.writes)
    following.loop.engage()
    following.loop.accept(following.chunk(elsewhere + 0.2))
    following.run(0.5)
    path = np.array(following.arms.writes[count:])[:, 0]
    assert path[-1] > elsewhere + 0.05
    assert path.min() >= elsewhere


def test_trip_stops_writing_at_once(following: Bench) -> None:
    count = len(following.arms.writes)
    following.loop.trip("piper/stop")
    following.run(0.5)
    assert len(following.arms.writes) == count
    assert following.loop.state().detail == "piper/stop"


def test_a_stop_that_comes_within_a_tick_is_before_its_target(running: tuple[ControlLoop, PerfectArms]) -> None:
    loop, arms = running
    read, writes = arms.read, []

    def read_while_somebody_stops() -> JointReading:
        if arms.writes and not writes:
            threading.Thread(target=loop.trip, args=("piper/stop",)).start()
            while not loop._thread.must_hurry:
                time.sleep(1e-4)
            writes.append(len(arms.writes))
        return read()

    arms.read = read_while_somebody_stops  # type: ignore[method-assign]
    deadline = time.monotonic() + 10.0
    while loop.stop_reason is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(arms.writes) == writes[0]


def test_hold_ends_what_is_under_way_until_a_newer_chunk(following: Bench) -> None:
    older = following.chunk(0.4)
    following.run(0.1)
    following.loop.hold("the operator asked for it")
    following.run(0.5)
    path = np.array([position[0] for position in following.arms.writes])
    assert np.abs(np.diff(path, 2)).max() * RATE**2 <= 5.0 + 1e-6, "braked within the limits"
    assert path[-1] == path[-2]
    assert following.loop.state().rejected_chunk == "the operator asked for it"
    following.loop.accept(older)
    following.run(0.1)
    assert following.loop.state().holding
    assert "planned before" in following.loop.state().rejected_chunk
    assert following.loop.stop_reason is None
    following.loop.accept(following.chunk(0.3))
    following.run(0.1)
    assert not following.loop.state().holding


@pytest.mark.parametrize("ready", [True, False])
def test_enabled_again_a_gripper_under_power_keeps_its_grip(following: Bench, ready: bool) -> None:
    target = following.arms.writes[-1][6]
    following.loop.trip("test")
    following.loop.reset()
    measured = following.arms.position.copy()
    measured[[6, 13]] += 0.02  # both closed on objects
    following.arms.position = measured
    following.loop.engage((ready, False))
    following.run(0.1)
    assert following.arms.writes[-1][6] == pytest.approx(target if ready else target + 0.02)
    assert following.arms.writes[-1][13] == pytest.approx(START[13] + 0.02)


def test_lateness_counts_what_a_slow_tick_took_from_the_next() -> None:
    arms = PerfectArms(time.monotonic)
    calls: list[float] = []

    def read() -> JointReading:
        calls.append(time.monotonic())
        time.sleep(0.1 if len(calls) == 3 else 0.0)
        return JointReading(START, np.zeros(14), (time.monotonic(), time.monotonic()))

    arms.read = read  # type: ignore[method-assign]
    late: list[float] = []
    statistics = LoopStatistics()
    statistics.tick = lambda now, lateness: late.append(lateness)  # type: ignore[method-assign]
    loop = ControlLoop(arms, RATE, SafetyLimits(), statistics=statistics)
    loop.start()
    time.sleep(0.3)
    loop.close()
    assert late[3] >= 0.1 - 1.0 / RATE
    assert len(calls) <= 0.2 * RATE + 4, "lost ticks are not made up for"


def test_without_a_reading_the_loop_brakes_and_holds(following: Bench) -> None:
    following.arms.read = lambda: None  # type: ignore[method-assign, assignment, return-value]
    following.run(0.5)
    path = np.array([position[0] for position in following.arms.writes])
    assert np.abs(np.diff(path, 2)).max() * RATE**2 <= 5.0 + 1e-6
    assert following.loop.state().reason == "no_measurement"


def test_an_error_while_reading_is_reported_once(bench: Bench) -> None:
    def fail() -> JointReading:
        raise OSError("gone")

    bench.arms.read = fail  # type: ignore[method-assign]
    bench.run(0.5)
    assert bench.faults == [f"OSError: gone. {RESET_REMEDY}"]


def test_disengage_brakes_before_it_lets_go(running: tuple[ControlLoop, PerfectArms]) -> None:
    loop, arms = running
    positions = np.tile(START, (30, 1))
    positions[:, 0] = np.linspace(0.0, 2.5, 30)
    loop.accept(ActionChunk(positions, stamp=time.monotonic() + 0.05, step=0.1))
    time.sleep(0.7)
    loop.disengage()
    assert arms.position[0] > 0.05
    assert abs(arms.writes[-1][0] - arms.writes[-2][0]) < 1e-6
    count = len(arms.writes)
    time.sleep(0.1)
    assert len(arms.writes) == count


def test_rate_and_lateness_of_known_ticks() -> None:
    statistics = LoopStatistics()
    for tick in range(1000):
        statistics.tick(tick * 0.01, 0.005 if tick % 20 == 0 else 0.0001)
        statistics.chunk_age(0.3)
    report = statistics.report()
    assert report.rate == pytest.approx(100.0)
    assert report.lateness_p50 == pytest.approx(0.0001)
    assert report.lateness_p99 == pytest.approx(0.005)
    assert report.chunk_age_p99 == pytest.approx(0.3)


def test_the_running_loop_never_exceeds_its_rate(running: tuple[ControlLoop, PerfectArms]) -> None:
    loop, _ = running
    time.sleep(0.5)
    timing = loop.state().timing
    assert 0.1 * RATE < timing.rate < 1.05 * RATE
    assert timing.lateness_p50 >= 0.0


def test_who_is_told_of_a_fault_cannot_end_the_loop() -> None:
    def fail(text: str) -> None:
        raise RuntimeError("the log is gone")

    arms = PerfectArms(time.monotonic)
    loop = ControlLoop(arms, RATE, SafetyLimits(), on_fault=fail)
    loop.start()
    try:
        loop.engage()
        arms.error = RuntimeError("cable cut")
        deadline = time.monotonic() + 5.0
        while loop.state().fault != CABLE_CUT:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        arms.error = None
        assert loop.reset()
        assert loop.state().reason == "not enabled"
        assert loop._thread.is_running
    finally:
        loop.close()


def test_a_reset_does_not_undo_a_stop_that_is_still_on_its_way(following: Bench) -> None:
    following.loop.trip("piper/reset")
    assert not following.loop.reset(lambda: True)
    assert following.loop.stop_reason == "piper/reset"
    assert not following.loop.engage()
    assert following.loop.reset(lambda: False)
    assert following.loop.engage()


def test_a_loop_that_stalls_while_it_is_disengaged_commands_nothing_afterwards(
    running: tuple[ControlLoop, PerfectArms], monkeypatch: pytest.MonkeyPatch
) -> None:
    """piper_node is deactivated, or ends: whoever comes back from a stall must not go on with the chunk."""
    monkeypatch.setattr(loop_thread, "_ANSWER_TIMEOUT", 0.05)
    monkeypatch.setattr(control_loop, "SETTLE_TIMEOUT", 0.05)
    loop, arms = running
    gate, write = threading.Event(), arms.write
    monkeypatch.setattr(arms, "write", lambda *target: gate.wait(10.0) and write(*target))
    time.sleep(0.1)
    loop.disengage()
    gate.set()
    loop._thread.ask(lambda: None)
    assert not loop.state().engaged
    written = len(arms.writes)
    time.sleep(0.1)
    assert len(arms.writes) == written
