"""What goes wrong in the field, injected into the simulated firmware: detected, named, and got over."""

from __future__ import annotations

import re
import struct
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.wav_policy.kinematic_arm import KinematicArm
from wav_policy.piper.arm import PiperArm
from wav_policy.piper.arm_config import ArmConfig
from wav_policy.piper.errors import (
    ArmFaultError,
    BusSilentError,
    ChangedIdsError,
    EmergencyStoppedError,
    EnableTimeoutError,
    LeaderArmError,
    PiperError,
    TeachModeError,
    WrongBitrateError,
)
from wav_policy.piper.feedback import ArmCodes
from wav_policy.piper.frames import ControlMode, FrameId
from wav_policy.piper.inhibits import Reaction, find_inhibit
from wav_policy.sim.firmware import FAULT_NAMES, FaultSet, FeedbackRates, Flash, SimulatedArm

PAUSE, HOLD, RELEASE, STOP, SILENCE = Reaction


@pytest.fixture
def enabled(rig: Any) -> Any:
    rig.driver.connect()
    rig.driver.enable()
    assert rig.driver.inhibit() is None
    return rig


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ("silence", BusSilentError, r"no feedback of joints.*power.*1 Mbit/s"),
        ("wrong_bitrate", WrongBitrateError, r"adapter reports error passive, bus error.*1 Mbit/s"),
        ("offset_ids", ChangedIdsError, r"answers on 0x3a\d instead of 0x2A\*.*0x470"),
        ("garble 1", BusSilentError, r"garbled frames?.*check bitrate and cable"),
    ],
)
def test_an_arm_that_cannot_be_read_is_not_connected(rig: Any, fault: str, error: type[PiperError], words: str) -> None:
    rig.fail(fault)
    with pytest.raises(error, match=words):
        rig.driver.connect()
    rig.fail("")
    rig.driver.connect()


def test_a_leader_is_told_from_a_dead_arm_once_it_is_moved(make_rig: Callable[..., Any], tmp_path: Path) -> None:
    """It sends targets, only while it moves; the setting outlives its power."""
    rig = make_rig(tmp_path / "leader", Flash(is_leader=True))
    with pytest.raises(BusSilentError, match="leader arm is silent until it is moved"):
        rig.driver.connect()
    rig.fail("power_loss")
    time.sleep(0.05)
    rig.fail("")
    moving = threading.Event()

    def move() -> None:
        while not moving.wait(0.02):
            rig.plant.position = rig.plant.position + 0.001

    mover = threading.Thread(target=move, daemon=True)
    mover.start()
    try:
        with pytest.raises(LeaderArmError, match=r"is a leader arm.*wav arm follower"):
            rig.driver.connect()
    finally:
        moving.set()
        mover.join()


@pytest.mark.parametrize(
    ("fault", "reaction", "cause", "words"),
    [
        ("silence", HOLD, "no feedback", "fell silent"),
        ("bus_off", HOLD, "no feedback", r"bus-off.*error warning, bus error.*re-plug"),
        ("unplug", HOLD, "no feedback", "no serial CAN adapter|unplugged|Input/output|Plug the adapter in"),
        ("unknown_codes", HOLD, "unknown codes", r"mode 0x63, state 0x63"),
        ("motor_hot 2", HOLD, "motor warning", "joint2: motor too hot"),
        ("driver_hot 5", HOLD, "motor warning", "joint5: driver too hot"),
        ("undervoltage 1", HOLD, "motor warning", "joint1: undervoltage.*24 V"),
        ("overcurrent 6", HOLD, "motor warning", "joint6: overcurrent"),
        ("stall 3", HOLD, "motor warning", "joint3: stalled"),
        ("collision 3", STOP, "motor fault", "joint3: collision.*piper/reset"),
        ("driver_error 4", STOP, "motor fault", "joint4: driver error"),
        ("no_communication 2", STOP, "joint communication", "reports joint communication"),
        ("emergency_stop", STOP, "emergency stop", "piper/reset"),
        ("leader_on_bus", SILENCE, "leader on the bus", "two masters"),
        ("teach", RELEASE, "teach mode", "Press the teach button"),
        ("power_loss", HOLD, "no feedback", "fell silent"),
        ("motor_off 4", RELEASE, "not enabled", r"joint4 not enabled \(power lost, .*call piper/enable"),
    ],
)
def test_a_fault_while_enabled_is_named(enabled: Any, fault: str, reaction: Reaction, cause: str, words: str) -> None:
    enabled.fail(fault)
    enabled.wait_until(lambda: enabled.cause() == cause and _says(enabled, words))
    inhibit = enabled.driver.inhibit()
    assert inhibit is not None
    assert inhibit.reaction is reaction
    assert inhibit.text.startswith("left arm")


@pytest.mark.parametrize("fault", ["motor_off 2", "collision 2", "emergency_stop"])
def test_a_flag_that_flickers_hides_no_other(enabled: Any, fault: str) -> None:
    """A motor at the edge of a stall, a target at the edge of a limit: another flag with every frame."""
    told: dict[int, int] = {}

    def flickering(number: int, data: bytes) -> bytes:
        told[number] = told.get(number, 0) + 1
        flips = told[number] % 2
        if number == FrameId.MOTOR_SLOW_1 + 1:
            return data[:5] + bytes((data[5] | 0x80 * flips,)) + data[6:]
        return data[:6] + bytes((flips,)) + data[7:] if number == FrameId.STATUS else data

    enabled.say(flickering)
    time.sleep(0.2)
    assert enabled.driver.inhibit() is None
    enabled.fail(fault)
    cause = {"motor_off 2": "not enabled", "collision 2": "motor fault"}.get(fault, fault.replace("_", " "))
    enabled.wait_until(lambda: enabled.cause() == cause, 2.0)


@pytest.mark.parametrize("call", ["enable", "reset", "disable"])
def test_an_arm_that_is_heard_again_is_given_a_moment_to_tell_about_itself(enabled: Any, call: str) -> None:
    """After half a second of silence all is asked anew: right then nothing is known of its motors."""
    enabled.fail("silence")
    enabled.wait_until(lambda: enabled.cause() == "no feedback")
    time.sleep(0.4)
    enabled.fail("")
    getattr(enabled.driver, call)()
    assert enabled.plant.powered is (call != "disable")


def _says(rig: Any, words: str) -> bool:
    inhibit = rig.driver.inhibit()
    return inhibit is not None and re.search(words, inhibit.text) is not None


@pytest.mark.parametrize("fault", ["silence", "bus_off", "unplug", "unknown_codes", "motor_hot 2"])
def test_an_arm_that_kept_its_power_goes_on(enabled: Any, fault: str) -> None:
    enabled.fail(fault)
    enabled.wait_until(lambda: enabled.driver.inhibit() is not None)
    time.sleep(0.5)
    enabled.fail("")
    enabled.wait_until(lambda: enabled.driver.inhibit() is None)
    assert enabled.plant.powered
    goal = np.append(enabled.plant.position + 0.1, 0.03)
    enabled.driver.write(goal)
    enabled.wait_until(lambda: abs(enabled.plant.position[0] - goal[0]) < enabled.millidegree)


def test_an_arm_that_lost_its_power_is_read_but_not_commanded(enabled: Any) -> None:
    enabled.fail("power_loss")
    enabled.wait_until(lambda: enabled.cause() == "no feedback")
    assert not enabled.plant.powered
    enabled.fail("")
    enabled.wait_until(lambda: enabled.cause() == "not enabled")
    time.sleep(0.3)
    assert not enabled.plant.powered, "nothing enables it by itself"
    enabled.driver.enable()
    assert enabled.plant.powered
    assert enabled.driver.inhibit() is None


def test_a_power_cut_too_short_to_be_a_silence_is_seen_by_the_enabled_bits(enabled: Any) -> None:
    enabled.fail("power_loss")
    time.sleep(0.05)
    enabled.fail("")
    enabled.wait_until(lambda: enabled.cause() == "not enabled")


def test_a_reset_does_not_undo_a_stop(enabled: Any) -> None:
    """Whoever stops the arm while its fault is being cleared wants it stopped."""
    enabled.fail("collision 3")
    enabled.wait_until(lambda: enabled.cause() == "motor fault")
    stopper = threading.Timer(0.1, enabled.driver.send_stop)
    stopper.start()
    with pytest.raises(EmergencyStoppedError, match=r"stopped during the reset.*piper/reset"):
        enabled.driver.reset()
    stopper.join()
    enabled.fail("")
    enabled.wait_until(lambda: enabled.cause() == "emergency stop")
    assert enabled.plant.powered


def test_a_stop_that_the_arm_has_not_told_yet_is_not_undone_either(enabled: Any) -> None:
    enabled.fail("collision 3")
    enabled.wait_until(lambda: enabled.cause() == "motor fault")
    with pytest.raises(EmergencyStoppedError, match="stopped during the reset"):
        enabled.driver.reset(lambda: True)
    assert enabled.plant.powered


def test_a_collision_is_cleared_without_dropping_the_arm(enabled: Any) -> None:
    enabled.fail("collision 3")
    enabled.wait_until(lambda: enabled.cause() == "motor fault")
    with pytest.raises(ArmFaultError, match="joint3: collision"):
        enabled.driver.enable()
    threading.Timer(0.1, enabled.fail, [""]).start()  # the way is cleared
    assert enabled.driver.reset() is False
    assert enabled.plant.powered
    enabled.wait_until(lambda: enabled.driver.inhibit() is None)


def test_a_stall_that_stays_is_cleared_by_what_the_hold_names(enabled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether firmware keeps that bit until its errors are cleared (0x475) is not known: here it does."""
    settings = enabled.arm.firmware._settings
    monkeypatch.setattr(settings, "_clear_errors", lambda joints: enabled.fail(""))
    enabled.fail("stall 3")
    enabled.wait_until(lambda: enabled.cause() == "motor warning")
    assert "call piper/reset, which clears it and keeps the power, then piper/enable" in enabled.driver.inhibit().text
    time.sleep(0.3)
    assert enabled.cause() == "motor warning"
    assert enabled.driver.reset() is False
    enabled.wait_until(lambda: enabled.driver.inhibit() is None)
    assert enabled.plant.powered


def test_heat_is_no_reason_to_let_an_arm_fall(enabled: Any) -> None:
    enabled.fail("motor_hot 2")
    enabled.wait_until(lambda: enabled.cause() == "motor warning")
    assert enabled.driver.reset() is False
    assert enabled.plant.powered


def test_an_arm_is_taken_out_of_another_mode_by_enabling_it_alone(enabled: Any) -> None:
    """A pendant has it: what is sent until the other arm rests must not take it back."""
    firmware, heard = enabled.arm.firmware, []
    enabled.wait_until(lambda: enabled.driver.status().gripper == "enabled, zeroed")
    firmware._mode = ControlMode.ETHERNET
    enabled.wait_until(lambda: enabled.cause() == "not in CAN mode")
    obey = firmware.on_frame
    firmware.on_frame = lambda number, data: (heard.append(number), obey(number, data))
    end = time.monotonic() + 0.7
    while time.monotonic() < end:
        assert enabled.driver.write(enabled.driver.read().position)
        assert enabled.driver.probe()
        time.sleep(0.02)
    assert FrameId.JOINT_TARGET_12 in heard
    assert FrameId.MOTION_CONTROL_2 not in heard
    assert enabled.driver.enable() is False
    assert enabled.cause() == ""


def test_a_joint_that_gets_its_power_back_has_no_older_target(enabled: Any) -> None:
    """The arm may keep it: the joint would run back to where it was before it fell."""
    enabled.fail("motor_off 4")
    enabled.wait_until(lambda: enabled.cause() == "not enabled")
    falls = threading.Event()

    def fall() -> None:
        while not falls.wait(0.02):
            enabled.plant.position = enabled.plant.position - [0.0, 0.0, 0.001, 0.005, 0.0, 0.0]

    faller, heard, elbow = threading.Thread(target=fall), [], []
    obey = enabled.arm.firmware.on_frame

    def hear(number: int, data: bytes) -> None:
        heard.append((number, data))
        if number == 0x156:
            elbow.append(enabled.plant.position[3])
        obey(number, data)

    enabled.arm.firmware.on_frame = hear
    faller.start()
    with pytest.raises(EnableTimeoutError, match="joint4 did not enable"):
        enabled.driver.enable()
    falls.set()
    faller.join()
    asked = [number for number, _ in heard].index(FrameId.MOTOR_POWER)
    assert {number for number, _ in heard[:asked]} >= {0x155, 0x156, 0x157}
    assert FrameId.GRIPPER_TARGET not in [number for number, _ in heard]
    targets = np.radians([struct.unpack(">ii", data) for number, data in heard if number == 0x156]) / 1000
    assert np.ptp(targets[:, 0]) == 0.0, "sent down again and again, it would sink"
    assert targets[-1, 1] < targets[0, 1] - 0.1
    assert targets[-1, 1] == pytest.approx(elbow[-1], abs=0.03), "where it had fallen to when the last one came"
    enabled.fail("")
    assert enabled.driver.enable() is False
    assert enabled.driver.inhibit() is None


@pytest.mark.parametrize("way", ["enable", "reset", "disable"])
def test_a_gripper_that_tripped_is_cleared_where_it_is(enabled: Any, way: str) -> None:
    enabled.plant.stroke = 0.02
    enabled.fail("gripper_trip")
    enabled.wait_until(lambda: any("overcurrent" in fault for fault in enabled.driver.status().faults))
    assert any("piper/enable" in fault for fault in enabled.driver.status().faults)
    assert enabled.driver.inhibit() is None, "the arm goes on holding"
    enabled.driver.write(enabled.driver.read().position)
    time.sleep(0.1)
    assert enabled.arm.firmware._gripper_tripped, "set-points do not clear it"
    if way == "disable":
        enabled.driver.disable()
    assert not getattr(enabled.driver, "reset" if way == "reset" else "enable")()
    enabled.wait_until(lambda: not any(fault.startswith("gripper: o") for fault in enabled.driver.status().faults))
    enabled.wait_until(lambda: enabled.driver.status().gripper == "enabled, zeroed")
    assert enabled.driver.status().faults == ()
    assert abs(enabled.plant.stroke - 0.02) < 1e-5
    assert enabled.plant.powered


def test_a_gripper_that_tripped_stays_off_on_an_arm_without_power(rig: Any) -> None:
    rig.driver.connect()
    rig.fail("gripper_trip")
    rig.wait_until(lambda: any("overcurrent" in fault for fault in rig.driver.status().faults))
    assert not rig.driver.reset()
    rig.wait_until(lambda: rig.driver.status().faults == ())
    assert not rig.plant.powered
    assert rig.driver.status().gripper.startswith("off")


def test_an_unknown_mode_is_held_on(enabled: Any) -> None:
    enabled.fail("mode_8")
    enabled.wait_until(lambda: enabled.cause() == "unknown codes" and _says(enabled, "mode 0x8"))


def test_an_adapter_left_with_time_stamps_is_read(rig: Any) -> None:
    """Z1 is kept in its memory; Z0 is sent, and the four digits are read where it is not obeyed."""
    for obeys in (True, False):
        rig.arm._port.time_stamps, rig.arm._port.obeys_z = True, obeys
        rig.driver.connect()
        assert rig.driver.status().undecodable == 0
        assert rig.arm._port.time_stamps is not obeys
        rig.driver.close()


@pytest.mark.parametrize(
    ("rates", "words"),
    [
        (FeedbackRates(joints=0), r"no feedback of joints .*main board talks but tells no joints"),
        (FeedbackRates(gripper=0), r"no feedback of gripper .*is the gripper connected"),
        (FeedbackRates(motors_slow=0), r"no feedback of motors .*cable inside the arm"),
        (FeedbackRates(status=0), r"no feedback of status .*does not tell its state"),
        (FeedbackRates(joints=0, gripper=0), r"no feedback of joints .*gripper .*tells no joints"),
    ],
)
def test_feedback_that_is_missing_names_its_own_culprit(tmp_path: Path, rates: FeedbackRates, words: str) -> None:
    with SimulatedArm(KinematicArm(), tmp_path / "arm", rates), pytest.raises(BusSilentError, match=words):
        PiperArm("left", "slcan", str(tmp_path / "arm"), ArmConfig(connect_timeout=0.5)).connect()


@pytest.mark.parametrize(
    ("numbers", "words"),
    [(range(0x261, 0x267), "motors"), ((FrameId.GRIPPER,), "gripper"), ((FrameId.STATUS,), "status")],
)
def test_feedback_that_ends_while_joints_come_is_an_outage(rig: Any, numbers: Sequence[int], words: str) -> None:
    """What was told last of motors, gripper or state may not hold any more."""
    rig.driver.connect()
    rig.driver.enable()
    rig.say(lambda number, data: None if number in numbers else data)
    rig.wait_until(lambda: rig.cause() == "no feedback")
    assert f"waiting for feedback of {words}" in rig.driver.inhibit().text
    assert rig.driver.latest.stamp > time.monotonic() - rig.driver.config.feedback_timeout
    assert not rig.driver.write(rig.driver.latest.position)


def test_a_leader_that_has_gone_is_forgotten_by_a_reset_only(rig: Any) -> None:
    rig.driver.connect()
    rig.fail("leader_on_bus")
    rig.wait_until(lambda: rig.cause() == "leader on the bus")
    rig.fail("")
    heard = rig.driver.received_frames
    rig.wait_until(lambda: rig.driver.received_frames > heard + 200)
    with pytest.raises(LeaderArmError):
        rig.driver.enable()
    rig.driver.reset()
    rig.driver.enable()
    assert rig.cause() == ""


def test_another_program_on_this_computer_is_told_from_a_leader() -> None:
    codes = ArmCodes(1, 0, 0, (0x40,) * 6)
    inhibit = find_inhibit("left arm", codes, 4, 4)
    assert inhibit is not None
    assert (inhibit.reaction, inhibit.cause) == (SILENCE, "another program")
    assert "Stop that program" in inhibit.text


@pytest.mark.parametrize(
    ("fault", "error"),
    [("teach", TeachModeError), ("emergency_stop", EmergencyStoppedError), ("leader_on_bus", LeaderArmError)],
)
def test_enabling_is_refused(rig: Any, fault: str, error: type[PiperError]) -> None:
    rig.driver.connect()
    rig.fail(fault)
    rig.wait_until(lambda: rig.cause() not in ("", "not enabled"))
    with pytest.raises(error):
        rig.driver.enable()
    assert not rig.plant.powered


def test_lost_and_damaged_frames_never_become_positions(enabled: Any) -> None:
    enabled.fail("drop 0.3, garble 0.2")
    start = enabled.plant.position.copy()
    seen, causes = [], set()
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        reading = enabled.driver.read()
        assert reading is not None
        seen.append(reading.position[:6])
        causes.add(enabled.cause())
        time.sleep(0.005)
    assert np.abs(np.array(seen) - start).max() < 0.06, "at most what passes for motion"
    assert enabled.driver.status().undecodable > 0
    assert causes <= {"", "no feedback"}, "no damaged frame is taken for a fault of the arm"
    enabled.fail("")
    enabled.wait_until(lambda: enabled.driver.inhibit() is None)
    reading = enabled.driver.read()
    assert reading is not None
    np.testing.assert_allclose(reading.position[:6], start, atol=enabled.millidegree)


def test_reconnecting_counts_and_backs_off(enabled: Any) -> None:
    enabled.fail("silence")
    time.sleep(3.0)
    assert 1 <= enabled.driver.status().reconnects <= 4
    enabled.fail("")
    enabled.wait_until(lambda: enabled.driver.inhibit() is None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bus_of", "unknown fault 'bus_of'; did you mean 'bus_off'"),
        ("drop", "needs a fraction"),
        ("drop 2", "got 2"),
        ("motor_hot 7", "joint 1..6, got 7"),
        ("silence 1", "takes no argument"),
        ("drop x", "'x' is no number"),
    ],
)
def test_impossible_faults_are_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FaultSet.parse(text)


def test_every_fault_can_be_asked_for_and_said_again() -> None:
    for name in FAULT_NAMES:
        texts = [name, f"{name} 1"]
        parsed = [text for text in texts if _parses(text)]
        assert parsed
        assert str(FaultSet.parse(parsed[0])) == parsed[0]


def _parses(text: str) -> bool:
    try:
        FaultSet.parse(text)
    except ValueError:
        return False
    return True
