"""Frames over a real pseudo-terminal, from a leader arm that is silent at rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import can
import numpy as np
import pytest

from wav_policy.piper.errors import InterfaceNotFoundError
from wav_policy.sim.firmware import Flash, SimulatedArm
from wav_policy.sim.firmware.kinematic_arm import KinematicArm
from wav_policy.sim.teleoperator import LeaderArm, leader_frames
from wav_policy.teleoperation.leader_reader import LeaderReader

POSITION = np.array([0.1, 1.2, -0.6, 0.05, 1.1, -1.5, 0.031])


def wait_until(condition: Callable[[], object], leader: LeaderArm | None = None) -> None:
    deadline = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < deadline
        if leader is not None:
            leader.advance(POSITION, 0.5)
        time.sleep(0.01)


@pytest.fixture
def link(tmp_path: Path) -> Path:
    return tmp_path / "leader"


@pytest.fixture
def leader(link: Path) -> Iterator[LeaderArm]:
    leader = LeaderArm(link, POSITION - 0.1)
    yield leader
    leader.close()


def test_a_leader_is_read_and_its_silence_is_no_fault(leader: LeaderArm, link: Path) -> None:
    reader = LeaderReader("left", "slcan", str(link))
    reader.open()
    assert reader.position is None
    assert "not heard yet" in reader.fault
    wait_until(lambda: reader.position is not None and np.allclose(reader.position, POSITION, atol=2e-5), leader)
    frames = reader.num_frames
    for _ in range(30):
        leader.advance(POSITION, 1.0)
        time.sleep(0.01)
    assert reader.num_frames <= frames + 4
    assert reader.fault == ""
    assert reader.position is not None
    reader.close()


def test_a_bus_that_vanishes_is_a_fault_until_the_leader_is_heard_again(leader: LeaderArm, link: Path) -> None:
    reader = LeaderReader("right", "slcan", str(link))
    reader.open()
    wait_until(lambda: reader.position is not None, leader)
    leader.close()
    wait_until(lambda: "right leader arm: bus lost" in reader.fault)
    assert reader.position is None
    second = LeaderArm(link, POSITION)
    wait_until(lambda: reader.position is not None, second)
    reader.close()
    leader.__init__(link, POSITION)  # type: ignore[misc]
    second.close()


def test_a_follower_on_the_same_bus_is_refused() -> None:
    reader = LeaderReader("left", "slcan", "nowhere")
    for identifier, data in leader_frames(POSITION):
        reader.take(can.Message(arbitration_id=identifier, data=data, is_extended_id=False))
    np.testing.assert_allclose(reader.position, POSITION, atol=2e-5)
    reader.take(can.Message(arbitration_id=0x155, data=b"\x00", is_extended_id=False))
    assert (reader.num_garbled, reader.fault) == (1, "")
    reader.take(can.Message(arbitration_id=0x2A1, data=bytes(8), is_extended_id=False))
    assert reader.position is None
    assert "there is a follower on its bus (frame 0x2a1)" in reader.fault


def test_a_missing_adapter_is_named() -> None:
    with pytest.raises(InterfaceNotFoundError, match="right leader arm: no serial CAN adapter at '/nowhere'"):
        LeaderReader("right", "slcan", "/nowhere").open()


def test_a_follower_in_the_leaders_place_is_told_as_such(tmp_path: Path) -> None:
    """Its own feedback is on the bus, also on other identifiers, and no targets."""
    for flash in (Flash(), Flash(feedback_offset=0x20)):
        with SimulatedArm(KinematicArm(), tmp_path / "lead", flash=flash):
            reader = LeaderReader("left", "slcan", str(tmp_path / "lead"))
            reader.open()
            deadline = time.monotonic() + 5.0
            while "is set up as a follower" not in reader.fault:
                assert time.monotonic() < deadline, reader.fault
                time.sleep(0.02)
            assert f"wav arm leader --channel {tmp_path / 'lead'}" in reader.fault
            assert reader.position is None
            reader.close()
