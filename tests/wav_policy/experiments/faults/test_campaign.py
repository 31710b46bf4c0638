"""The fault campaign: `pytest -m faults` runs it on a simulated system, the default suite only its arithmetic."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from wav_models.configuration import ConfigurationError
from wav_policy.cli.main import main
from wav_policy.control.braking import braking_distance, end_speed
from wav_policy.experiments.faults.campaign import FAULTS, chosen, run
from wav_policy.experiments.faults.fault import GO_ON, PARK, Fault
from wav_policy.experiments.faults.motion import (
    find_excess,
    find_fastest,
    find_hold,
    find_lasting_hold,
    find_rest,
    is_moving,
)
from wav_policy.experiments.faults.outcome import HEADING, Outcome, judged, line
from wav_policy.experiments.faults.way_back import next_call

TICK = 0.01
ACCELERATION = 5.0


def motion(cruise: float, speed: float, rest: float) -> tuple[np.ndarray, np.ndarray]:
    """Times and targets: cruising for `cruise` s at `speed` rad/s, braking as the filter does, resting for `rest` s."""
    acceleration = np.array([ACCELERATION])
    end = end_speed(np.array([speed]), acceleration, TICK)
    places = [speed * TICK * tick for tick in range(1, round(cruise / TICK) + 1)]
    braking = range(1, math.ceil(end[0] / ACCELERATION / TICK) + 1)
    places += [places[-1] + braking_distance(end, acceleration, TICK * tick)[0] for tick in braking]
    places += places[-1:] * round(rest / TICK)
    targets = np.zeros((len(places), 14))
    targets[:, 8] = places
    return TICK * np.arange(1, len(places) + 1), targets


@pytest.mark.parametrize("speed", [0.1, 0.112, 0.128, 0.3, 0.333, 1.5])
def test_braking_and_rest_are_found(speed: float) -> None:
    times, targets = motion(1.0, speed, 0.5)
    hold = find_hold(times, targets, 0.95, ACCELERATION)
    assert hold is not None
    assert hold.reaction == pytest.approx(0.05, abs=1.5 * TICK)
    assert hold.rest == pytest.approx(0.05 + speed / ACCELERATION, abs=2.5 * TICK)


def test_arms_that_go_on_do_not_hold() -> None:
    times, targets = motion(2.0, 0.5, 0.0)
    assert find_hold(times, targets, 0.5, ACCELERATION) is None
    assert is_moving(times[:100], targets[:100], 0.4)
    assert not is_moving(times[:100], targets[:100], 0.6)


def test_arms_at_rest_hold_at_once() -> None:
    times, targets = motion(0.1, 0.5, 2.0)
    hold = find_hold(times, targets, 1.0, ACCELERATION)
    assert hold is not None
    assert hold.reaction == hold.rest == pytest.approx(0.0, abs=TICK)


def test_motion_after_the_first_rest_is_seen() -> None:
    """Arms that hold for a second and then drive home."""
    times, targets = motion(1.0, 0.5, 1.0)
    hold = find_hold(times, targets, 0.9, ACCELERATION)
    assert hold is not None
    assert hold.moved_again is None
    home = targets[-1] + np.outer(0.008 * np.arange(1, 101), np.eye(14)[2])
    moved = np.vstack([targets, home])
    times = TICK * np.arange(1, len(moved) + 1)
    hold = find_hold(times, moved, 0.9, ACCELERATION)
    assert hold is not None
    assert hold.moved_again == pytest.approx(len(targets) * TICK + TICK - 0.9)
    fault = chosen(["kill -9 policy_node"])[0]
    verdict = judged(fault, "holds; orderly stop", hold, "nothing", True, "")
    assert not verdict.passed
    assert "moved again after" in verdict.detail
    assert judged(fault, "holds; orderly stop", replace(hold, moved_again=None), "nothing", True, "").passed


def test_a_halt_before_the_fault_can_be_known_does_not_count() -> None:
    """Rest from 1.1 to 1.4 s, motion, rest from 2.5 s on; the fault begins at 0.9 s."""
    times, targets = motion(1.0, 0.5, 0.3)
    _, after = motion(1.0, 0.5, 0.5)
    targets = np.vstack([targets, targets[-1] + after])
    times = TICK * np.arange(1, len(targets) + 1)
    first = find_hold(times, targets, 0.9, ACCELERATION)
    assert first is not None
    assert first.moved_again == pytest.approx(0.52, abs=2 * TICK)
    early = find_lasting_hold(times, targets, 0.9, ACCELERATION, 0.4)
    assert early == first, "moved again after it must have been known"
    hold = find_lasting_hold(times, targets, 0.9, ACCELERATION, 0.6)
    assert hold is not None
    assert hold.moved_again is None
    assert hold.reaction == pytest.approx(1.5, abs=2 * TICK)
    assert hold.rest == pytest.approx(1.6, abs=3 * TICK)


def test_true_rest_is_found_past_the_last_motion() -> None:
    times = TICK * np.arange(1, 101)
    speeds = np.zeros((100, 14))
    speeds[:50, 9], speeds[:, 13] = 0.3, 1.0  # a gripper may go on closing
    assert find_rest(times, speeds, 0.4) == pytest.approx(0.11)
    assert find_rest(times[:52], speeds[:52], 0.4) is None
    speeds[-1, 2] = -0.1
    assert find_rest(times, speeds, 0.4) is None


@pytest.mark.parametrize("tick", [0.005, 0.01, 0.03])
def test_braking_within_the_limits_is_no_excess(tick: float) -> None:
    """Cruise at 1 rad/s, braking with 5 rad/s^2, rest; targets are lost on the way, stamps are 1 ms off."""
    rng = np.random.default_rng(0)
    times = np.arange(0.0, 2.0, tick)
    braking = np.clip(times - 1.0, 0.0, 0.2)
    targets = np.zeros((len(times), 14))
    targets[:, 3] = np.minimum(times, 1.0) + braking - 2.5 * braking**2
    kept = rng.random(len(times)) > 0.2 if tick < 0.02 else np.full(len(times), True)
    late = times + rng.uniform(0.0, 1e-3, len(times))
    assert find_excess(late[kept], targets[kept], 3.0, 5.0) == ""


def test_a_dead_stop_a_jump_and_haste_are_excesses() -> None:
    times = np.arange(0.0, 2.0, 0.01)
    targets = np.zeros((len(times), 14))
    targets[:, 3] = np.minimum(times, 1.0)
    assert "accelerated" in find_excess(times, targets, 3.0, 5.0)
    targets[:, 3] = np.where(times < 1.0, 0.0, 0.5)
    assert "moved at" in find_excess(times, targets, 3.0, 5.0)
    targets[:, 3] = 4.0 * times
    assert "moved at 4.00 rad/s, allowed 3" in find_excess(times, targets, 3.0, 5.0)
    targets[:, 3], targets[:, 6] = 0.0, 4.0 * times
    assert find_excess(times, targets, 3.0, 5.0) == "", "a gripper"


def test_a_pause_of_the_targets_is_passed_over() -> None:
    times = np.concatenate([np.arange(0.0, 1.0, 0.01), np.arange(1.5, 2.0, 0.01)])
    targets = np.zeros((len(times), 14))
    targets[:100, 3], targets[100:, 3] = times[:100], 0.5
    assert find_excess(times, targets, 3.0, 5.0) == ""


def test_the_fastest_joint_is_found_in_its_time() -> None:
    times, speeds = 0.1 * np.arange(10), np.zeros((10, 14))
    speeds[4, 8], speeds[8, 1], speeds[:, 6] = -1.5, 2.5, 9.0
    assert find_fastest(times, speeds, 0.0, 0.6) == 1.5
    assert find_fastest(times, speeds, 0.5, 0.6) == 0.0
    assert find_fastest(times, speeds, 0.5, 2.0) == 2.5
    assert find_fastest(times[:0], speeds[:0], 0.0, 1.0) == 0.0


def test_the_operator_calls_what_is_named_first() -> None:
    assert next_call(["Support the arms, then call piper/reset and piper/enable."]) == "piper/reset"
    assert next_call(["", "arms enabled and holding", "holding: collision. Call piper/home."]) == "piper/home"
    assert next_call(["holding: no_command", "piper/stop"]) is None


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_arms_that_hold_say_why(fault: Fault) -> None:
    re.compile(fault.says)
    assert fault.says or fault.culprit or fault.outcome in (GO_ON, PARK)
    assert set(fault.way_back) <= {"piper/enable", "piper/reset", "piper/home"}


def test_every_node_is_killed_once() -> None:
    killed = {fault.name.split()[2] for fault in FAULTS if fault.name.startswith("kill -9")}
    assert killed == {"policy_node", "piper_node", "recorder_node", "lifecycle_manager", "sim_node"}


def test_faults_are_chosen_by_part_of_their_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert [fault.name for fault in chosen(["bus-off"])] == ["right arm bus-off"]
    with pytest.raises(ConfigurationError, match="no fault is called 'no such'"):
        chosen(["no such"])
    assert main(["doctor", "--faults"]) == 2
    assert "needs --sim" in capsys.readouterr().err
    assert main(["doctor", "--faults", "--sim", "--only", "no such"]) == 2
    assert "bus-off" in capsys.readouterr().err


def test_a_line_says_what_failed() -> None:
    outcome = Outcome("x", "goes on", 181.4, None, "nothing", False, "held after\n181 ms", ("a/b", "a/c"))
    assert line(outcome) == "| x | goes on | 181 ms |  | a/b, a/c | nothing | FAILED: held after 181 ms |"
    assert {row.count("|") for row in HEADING.splitlines()} == {line(outcome).count("|")}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """The whole campaign, with the shipped checkpoint."""
    return {outcome.fault: outcome for outcome in run(FAULTS, tmp_path_factory.mktemp("faults"))}


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.ros
@pytest.mark.sim
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_system_survives(fault: Fault, outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes[fault.name]
    assert outcome.passed, f"{outcome.reaction}. {outcome.detail}"


def test_camera_faults_are_refused_by_name() -> None:
    from wav_policy.sim.camera_faults import parse_camera_faults

    assert parse_camera_faults("head frozen, left_wrist dropped") == {"head": "frozen", "left_wrist": "dropped"}
    assert parse_camera_faults("") == {}
    with pytest.raises(ValueError, match="unknown camera 'hed'.*head"):
        parse_camera_faults("hed frozen")
    with pytest.raises(ValueError, match="unknown camera fault 'froze'.*frozen"):
        parse_camera_faults("head froze")
