"""Frames over a real pseudo-terminal, from a leader arm that is silent at rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.wav_policy.kinematic_arm import KinematicArm
from wav_models.types import FloatArray
from wav_policy.piper.adapters import Adapter
from wav_policy.piper.errors import InterfaceNotFoundError
from wav_policy.sim.firmware import Flash, SimulatedArm
from wav_policy.sim.firmware.feedback import leader_frames
from wav_policy.sim.teleoperator import LeaderArm
from wav_policy.teleoperation.leader_reader import LeaderReader

POSITION = np.array([0.1, 1.2, -0.6, 0.05, 1.1, -1.5, 0.031])


def tell(reader: LeaderReader, position: FloatArray) -> None:
    for identifier, data in leader_frames(position):
        reader.take(identifier, data)


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
    assert reader.num_frames <= frames + 8
    assert reader.fault == ""
    assert reader.position is not None
    reader.close()


def test_a_position_that_was_taken_stays_as_it_was() -> None:
    """Two of them are compared to see whether the leader has jumped."""
    reader = LeaderReader("left", "slcan", "nowhere")
    for position in (POSITION, POSITION):
        tell(reader, position)
    before = reader.position
    for position in (POSITION + 0.01, POSITION + 0.01):
        tell(reader, position)
    np.testing.assert_allclose(before, POSITION, atol=2e-5)
    np.testing.assert_allclose(reader.position, POSITION + 0.01, atol=2e-5)


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
    tell(reader, POSITION)
    tell(reader, POSITION)
    np.testing.assert_allclose(reader.position, POSITION, atol=2e-5)
    reader.take(0x155, b"\x00")
    assert (reader.num_garbled, reader.fault) == (1, "")
    reader.take(0x2A1, bytes(8))
    assert reader.position is None
    assert "there is a follower on its bus (frame 0x2a1)" in reader.fault


def test_a_missing_adapter_is_named() -> None:
    with pytest.raises(InterfaceNotFoundError, match="right leader arm: no serial CAN adapter at '/nowhere'"):
        LeaderReader("right", "slcan", "/nowhere").open()


@pytest.mark.parametrize("usb_serial", ["", "A7"])
def test_a_follower_in_the_leaders_place_is_told_as_such(
    tmp_path: Path, usb_serial: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own feedback is on the bus, also on other identifiers, and no targets. The command names where it is;
    where it was said to be there may be another arm."""
    adapter = Adapter("slcan", str(tmp_path / "lead"), usb_serial="A7")
    monkeypatch.setattr("wav_policy.piper.adapters.list_adapters", lambda interface: [adapter])
    channel = "/dev/ttyACM0" if usb_serial else str(tmp_path / "lead")
    for flash in (Flash(), Flash(feedback_offset=0x20)):
        with SimulatedArm(KinematicArm(), tmp_path / "lead", flash=flash):
            reader = LeaderReader("left", "slcan", channel, usb_serial)
            reader.open()
            deadline = time.monotonic() + 5.0
            while "is set up as a follower" not in reader.fault:
                assert time.monotonic() < deadline, reader.fault
                time.sleep(0.02)
            assert f"wav arm leader --channel {tmp_path / 'lead'}" in reader.fault
            assert reader.position is None
            reader.close()


@pytest.mark.parametrize("pause", [0.0, 10.0])
@pytest.mark.parametrize(("joint", "by"), [(0, 0.25), (1, 1.5), (5, -0.3), (6, 0.04)])
def test_a_damaged_frame_before_a_rest_is_no_pose(
    joint: int, by: float, pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("wav_policy.teleoperation.leader_reader.time.monotonic", lambda: now)
    reader = LeaderReader("left", "slcan", "nowhere")
    for _ in range(2):
        tell(reader, POSITION)
        now += 0.005
    now += pause
    damaged = POSITION.copy()
    damaged[joint] += by
    tell(reader, damaged)
    np.testing.assert_allclose(reader.position, POSITION, atol=2e-5)
    now += 0.005
    tell(reader, damaged)
    np.testing.assert_allclose(reader.position, damaged, atol=2e-5, err_msg="said twice")


def test_a_leader_that_is_moved_very_slowly_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its frames come seldom: each says that it has moved a little."""
    now = 100.0
    monkeypatch.setattr("wav_policy.teleoperation.leader_reader.time.monotonic", lambda: now)
    reader = LeaderReader("left", "slcan", "nowhere")
    tell(reader, POSITION)
    for step in range(20):
        now += 1.0
        tell(reader, POSITION + 0.001 * step)
        np.testing.assert_allclose(reader.position, POSITION + 0.001 * step, atol=2e-5)


def test_a_reader_that_fails_does_not_pass_for_a_leader_at_rest(leader: LeaderArm, link: Path) -> None:
    reader = LeaderReader("left", "slcan", str(link))
    reader.open()
    wait_until(lambda: reader.position is not None, leader)
    assert reader._bus is not None
    reader._bus.receive = lambda timeout: 1 / 0  # type: ignore[assignment, return-value]
    wait_until(lambda: "division by zero" in reader.fault)
    leader.advance(POSITION + 0.1, 1.0)
    wait_until(lambda: reader.position is not None, leader)
    reader.close()


def test_a_leader_is_known_by_its_adapter(link: Path, leader: LeaderArm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are given anew when adapters are plugged in again: left must not lead right."""
    monkeypatch.setattr(
        "wav_policy.piper.adapters.list_adapters", lambda interface: [Adapter("slcan", str(link), usb_serial="A7")]
    )
    reader = LeaderReader("left", "slcan", "/dev/ttyACM0", "A7")
    reader.open()
    wait_until(lambda: reader.position is not None, leader)
    reader.close()
    with pytest.raises(InterfaceNotFoundError, match="left leader arm: no slcan adapter with USB serial B2"):
        LeaderReader("left", "slcan", "/dev/ttyACM0", "B2").open()
