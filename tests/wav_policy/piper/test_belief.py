"""One sample is never believed alone."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wav_policy.piper import units
from wav_policy.piper.belief import Belief, Flags
from wav_policy.piper.feedback import FeedbackReader

PERIOD = 0.005
TRUE = (0, 45_000)


class Wire:
    """A reader with a clock, fed with whole cycles."""

    def __init__(self) -> None:
        self.now = 100.0
        self.reader = FeedbackReader(SimpleNamespace(garbled=0), None, "x", lambda: self.now, lambda: None, 0.5)  # type: ignore[arg-type]

    def cycle(self, pair: tuple[int, int] = TRUE, stroke: int = 30_000) -> None:
        self.now += PERIOD
        gripper = (0x2A8, struct.pack(">ihBx", stroke, 250, 0x40))
        joints = [(0x2A5, pair), (0x2A6, (-30_000, 0)), (0x2A7, (10_000, 0))]
        self.reader.take([gripper, *((number, struct.pack(">ii", *counts)) for number, counts in joints)])

    @property
    def joint2(self) -> float:
        assert self.reader.latest is not None
        return float(np.degrees(self.reader.latest.position[1]))


@given(st.integers(0, 31), st.sampled_from([0.03, 0.07, 0.2, 1.0, 60.0]))
def test_a_damaged_first_reading_after_a_pause_is_never_believed(bit: int, pause: float) -> None:
    wire = Wire()
    for _ in range(5):
        wire.cycle()
    wire.now += pause
    damaged = struct.unpack(">i", struct.pack(">I", (TRUE[1] & 0xFFFFFFFF) ^ (1 << bit)))[0]
    wire.cycle((0, damaged))
    for _ in range(3):
        wire.cycle()
        assert abs(wire.joint2 - 45.0) <= max(40.0 * (pause < 0.05), 3.1 + 600 * PERIOD), "what passes for motion"
    assert abs(wire.joint2 - 45.0) < 0.01
    assert wire.reader.age == 0.0, "good readings are not refused because of the bad one"


def test_the_very_first_reading_needs_a_second() -> None:
    wire = Wire()
    wire.cycle((0, -120_000))
    assert wire.reader.latest is None
    wire.cycle()
    assert wire.reader.latest is None
    wire.cycle()
    assert abs(wire.joint2 - 45.0) < 1e-6
    assert wire.reader.undecodable == 0, "to be the first is no damage"


def test_an_arm_that_really_is_elsewhere_is_believed_the_second_time_and_without_a_speed() -> None:
    wire = Wire()
    for _ in range(5):
        wire.cycle()
    for _ in range(3):
        wire.cycle((0, 90_000))
    assert abs(wire.joint2 - 90.0) < 1e-6
    assert wire.reader.latest is not None
    assert np.abs(wire.reader.latest.velocity).max() == 0.0


def test_a_stroke_is_not_believed_alone_either() -> None:
    wire = Wire()
    for _ in range(3):
        wire.cycle()
    wire.cycle(stroke=95_000)
    assert wire.reader.latest is not None
    assert wire.reader.latest.position[6] == 0.03
    assert "gripper" in wire.reader.last_error


def test_one_damaged_status_after_a_pause_neither_stops_nor_clears() -> None:
    wire = Wire()
    status, stop = (0x2A1, bytes((1, 0, 1, 0, 0, 0, 0, 0))), (0x2A1, bytes((1, 1, 1, 0, 0, 0, 0, 0)))
    for code, once in ((0, stop), (1, status)):
        wire.reader.take([once, stop if code else status, stop if code else status])
        assert wire.reader.codes.state == code
        wire.now += 1.0
        wire.cycle()
        wire.cycle()


def test_samples_of_an_older_clock_are_not_followed() -> None:
    belief = Belief(10, 100)
    assert not belief.take((5,), 10.0)
    assert belief.take((5,), 10.01)
    assert not belief.take((5,), 3.0), "a clock that went back proves nothing"


def test_efforts_come_from_the_currents_and_are_forgotten() -> None:
    """1.18125 N m/A for joints 1 to 3, 0.95844 for the others, as piper_sdk computes."""
    from piper_sdk.piper_msgs.msg_v2.feedback.arm_feedback_high_spd import ArmMsgFeedbackHighSpd

    wire = Wire()
    for joint in range(6):
        wire.reader.take([(0x251 + joint, struct.pack(">hhi", 0, -2000, 0))])
    wire.cycle()
    wire.cycle()
    told: Any = wire.reader.latest
    expected = [ArmMsgFeedbackHighSpd(can_id=0x251 + joint, current=-2000).cal_effort() / 1000 for joint in range(6)]
    np.testing.assert_allclose(told.effort, [*expected, units.newton_metres_from_effort_counts(250)])
    for _ in range(100):
        wire.cycle()
    told = wire.reader.latest
    assert np.isnan(told.effort[:6]).all(), "no motor has told for half a second"
    assert told.effort[6] == 0.25


def test_a_gripper_that_tells_an_angle_is_not_read_as_a_stroke() -> None:
    """Byte 7 of 0x2A8, as pyAgxArm reads it."""
    wire = Wire()
    wire.reader.take([(0x2A8, struct.pack(">ihBB", 30_000, 0, 0x40, 1))] * 3)
    assert "gripper (0x2A8)" in wire.reader.missing
    assert "angle" in wire.reader.last_error


def test_a_single_foreign_set_point_is_damage_and_two_are_a_master() -> None:
    wire = Wire()
    wire.reader.take([(0x155, bytes(8))])
    assert wire.reader.leader_frames == 0
    wire.reader.take([(0x156, bytes(8))])
    assert wire.reader.leader_frames == 2
    wire.now += 60.0
    assert wire.reader.leader_frames == 2, "it may come back"
    wire.reader.forget_leader()
    assert wire.reader.leader_frames == 0


def test_foreign_set_points_that_are_far_apart_are_damage() -> None:
    wire = Wire()
    for _ in range(5):
        wire.now += 1.1
        wire.reader.take([(0x155, bytes(8))])
    assert wire.reader.leader_frames == 0
    wire.now += 0.9
    wire.reader.take([(0x471, bytes(8))])
    assert wire.reader.leader_frames == 2


@pytest.mark.parametrize("number", [0x151, 0x155, 0x157, 0x159, 0x15A, 0x15F, 0x471])
def test_whatever_moves_or_powers_an_arm_is_a_set_point(number: int) -> None:
    """Modes, joints, gripper, MIT mode (0x15A-0x15F), motors."""
    wire = Wire()
    wire.reader.take([(number, bytes(8))] * 2)
    assert wire.reader.leader_frames == 2


@pytest.mark.parametrize("number", [*range(0x2B1, 0x2B9), *range(0x2C1, 0x2C9), *range(0x3A1, 0x3A9)])
def test_feedback_on_changed_identifiers_is_noticed(number: int) -> None:
    wire = Wire()
    wire.reader.take([(number, bytes(8))])
    assert (wire.reader.offset_frames, wire.reader.offset_id) == (1, number)


def test_the_lowest_supply_is_told() -> None:
    """0x261-0x266, 0.1 V a count."""
    wire = Wire()
    for joint, decivolts in enumerate((240, 241, 239, 238, 242, 240)):
        wire.reader.take([(0x261 + joint, struct.pack(">HhbBH", decivolts, 0, 0, 0x40, 0))] * 2)
    assert wire.reader.voltage == 23.8


def test_a_velocity_is_that_of_the_last_30_ms() -> None:
    """Neither of two readings, which differ by noise, nor of a motion that is over."""
    wire = Wire()
    degrees = [*[45.0] * 20, *(45.0 + 0.1 * n for n in range(1, 21))]
    for angle in degrees:
        wire.cycle((0, round(1000 * angle)))
    assert wire.reader.latest is not None
    np.testing.assert_allclose(np.degrees(wire.reader.latest.velocity[1]), 0.1 / PERIOD, rtol=1e-9)
    for _ in range(3):
        wire.cycle((0, round(1000 * degrees[-1])))
    assert 0.4 < np.degrees(wire.reader.latest.velocity[1]) * PERIOD / 0.1 < 0.6
    for _ in range(4):
        wire.cycle((0, round(1000 * degrees[-1])))
    assert wire.reader.latest.velocity[1] == 0.0


@pytest.mark.parametrize("is_silent_at_rest", [False, True])
def test_what_a_pause_says_of_a_joint(is_silent_at_rest: bool) -> None:
    """Of one that always tells its place: it may be anywhere. Of a leader, which is silent at rest: it has rested."""
    belief = Belief.of_joints(is_silent_at_rest)
    taken = [belief.take(TRUE, now) for now in (0.0, 0.01, 0.02)]
    assert taken == [False, True, True]
    near, far = (TRUE[0], TRUE[1] + 1_000), (TRUE[0], TRUE[1] + 20_000)
    assert not belief.take(far, 5.0), "no joint is believed to have got far by what one sample says"
    assert belief.take(near, 10.0) is is_silent_at_rest
    assert belief.take(near, 10.01)


def test_a_flag_that_changes_with_every_sample_does_not_hide_the_others() -> None:
    """Bit 0 flickers; bit 6 goes out, bit 4 comes."""
    flags = Flags()
    assert flags.take(0x40) is None
    assert flags.take(0x40) == 0x40
    believed = [flags.take(0x10 | tick % 2) for tick in range(1, 5)]
    assert believed == [0x40, 0x40, 0x40, 0x10]
    assert [flags.take(0x10 | tick % 2) for tick in range(5, 9)] == [0x10] * 4
    assert (flags.take(0x11), flags.take(0x11)) == (0x10, 0x11)


@given(st.lists(st.integers(0, 255), max_size=6), st.integers(0, 255))
def test_flags_that_are_told_twice_alike_are_believed_whatever_came_before(before: list[int], flags: int) -> None:
    told = Flags()
    for each in before:
        told.take(each)
    told.take(flags)
    assert told.take(flags) == flags


@given(st.lists(st.integers(0, 255), min_size=3, max_size=3))
def test_three_damaged_samples_in_a_row_say_nothing_unless_two_of_them_agree(damaged: list[int]) -> None:
    told = Flags()
    for each in (0x40, 0x40, *damaged):
        believed = told.take(each)
    if len({0x40, *damaged}) == 4:
        assert believed is not None
        assert believed & 0x40, "told a moment ago"
