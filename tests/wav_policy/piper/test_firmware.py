"""Versions of the firmware: read whole, and what is known of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wav_policy.kinematic_arm import KinematicArm
from tests.wav_policy.piper.conftest import QUICK, Rig
from wav_policy.piper.arm import PiperArm
from wav_policy.piper.bimanual import BimanualPiper
from wav_policy.piper.errors import PiperError, TeachModeError
from wav_policy.piper.firmware import FirmwareVersion, known_of, parse_version
from wav_policy.sim.firmware import FaultSet, SimulatedArm


@given(st.tuples(*[st.integers(0, 99)] * 3), st.sampled_from([b"", b"250925", b"\0\0\0", b" 9"]))
def test_the_whole_version_is_read_whatever_follows(numbers: tuple[int, int, int], behind: bytes) -> None:
    told = b"H-V1.2-1\0\0\0\0ARM_MC\0" + str(FirmwareVersion(*numbers)).encode() + behind
    assert parse_version(told) == FirmwareVersion(*numbers)


def test_the_date_is_not_part_of_the_patch() -> None:
    version = parse_version(b"S-V1.8-10250925")
    assert version is not None
    assert (str(version), version.built) == ("S-V1.8-10", "250925")
    assert parse_version(b"H-V1.2-1") is None


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ((1, 4, 2), "another protocol"),
        ((1, 5, 2), "teach mode is left only by a reset"),
        ((1, 6, 5), "teach mode is left only by a reset"),
        ((1, 8, 2), "wav arm restore-limits"),
        ((1, 8, 6), "loses the true joint angles"),
        ((1, 8, 10), "newer than any"),
        ((2, 0, 0), "newer than any"),
    ],
)
def test_what_is_known_is_said(version: tuple[int, int, int], words: str) -> None:
    assert words in " ".join(known_of(FirmwareVersion(*version)))


@pytest.mark.parametrize("patch", [7, 8, 9])
def test_nothing_is_said_against_good_versions(patch: int) -> None:
    assert known_of(FirmwareVersion(1, 8, patch)) == ()


@pytest.fixture(params=["S-V1.8-6"])
def aged(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[SimulatedArm, PiperArm]]:
    """An arm of a certain version and its driver, connected and enabled."""
    arm = SimulatedArm(KinematicArm(), tmp_path / "arm", version=request.param)
    driver = PiperArm("left", "slcan", str(arm.link), QUICK)
    with arm:
        driver.connect()
        driver.enable()
        yield arm, driver
        driver.close()


@pytest.mark.parametrize("aged", ["S-V1.8-8", "S-V1.8-10", "S-V1.10-1"], indirect=True)
def test_the_driver_tells_it_in_whole(aged: tuple[SimulatedArm, PiperArm], request: pytest.FixtureRequest) -> None:
    assert aged[1].status().firmware == request.node.callspec.params["aged"]


@pytest.mark.parametrize("part", [b".8-62509", b"25\0\0\0\0\0\0"])
def test_an_answer_that_lost_a_frame_is_no_other_version(
    part: bytes, make_rig: Callable[..., Rig], tmp_path: Path
) -> None:
    """Without its last frame S-V1.8-6, which has to be warned of, reads S-V1.8-62509."""
    rig = make_rig(tmp_path / "arm", version="S-V1.8-6")
    lost: list[bytes] = []

    def lose_once(number: int, data: bytes) -> bytes | None:
        if data != part or lost:
            return data
        lost.append(data)
        return None

    rig.say(lose_once)
    rig.driver.connect()
    assert lost == [part]
    assert rig.driver.status().firmware == "S-V1.8-6"


def test_an_arm_that_lost_its_angles_is_found_by_a_forced_reset_alone(
    aged: tuple[SimulatedArm, PiperArm], wait_until: object
) -> None:
    """piper_sdk#119, #120: feedback goes on matching the targets, enabling again does not help."""
    arm, driver = aged
    plant = arm.firmware._plant
    assert "loses the true joint angles" in driver.status().firmware_remarks[1 - len(driver.status().firmware_remarks)]
    before = driver.read()
    assert before is not None
    arm.faults = FaultSet.parse("slip 5")
    wait_until(lambda: abs(plant.position[4] - 0.5) > 0.3)  # type: ignore[operator, attr-defined]
    reading = driver.read()
    assert reading is not None
    assert abs(reading.position[4] - 0.5) < 0.01, "the arm does not notice"
    driver.write(reading.position)
    wait_until(lambda: driver.status().gripper == "enabled, zeroed")  # type: ignore[operator]
    assert driver.reset() is False
    assert driver.enable() is True
    assert driver.reset(forced=True) is True
    assert not plant.powered  # type: ignore[attr-defined]
    wait_until(lambda: abs(driver.read().position[4] - plant.position[4]) < 0.01)  # type: ignore


@pytest.mark.parametrize("aged", ["S-V1.6-5"], indirect=True)
def test_teach_mode_of_old_firmware_is_left_by_a_reset(aged: tuple[SimulatedArm, PiperArm], wait_until: object) -> None:
    arm, driver = aged
    arm.faults = FaultSet.parse("teach")
    wait_until(lambda: driver.inhibit() is not None)  # type: ignore[operator]
    arm.faults = FaultSet()
    with pytest.raises(TeachModeError, match=r"S-V1.6-5 leaves only by a reset.*piper/reset"):
        driver.enable()
    driver.reset()
    assert driver.enable() is False


@pytest.mark.parametrize("aged", ["S-V1.6-5"], indirect=True)
def test_what_is_known_of_the_firmware_outlives_an_adapter_that_is_plugged_in_again(
    aged: tuple[SimulatedArm, PiperArm], wait_until: object
) -> None:
    arm, driver = aged
    arm.faults = FaultSet.parse("unplug")
    wait_until(lambda: driver.link.outage)  # type: ignore[operator]
    arm.faults = FaultSet.parse("teach")
    wait_until(lambda: "leaves only by a reset" in driver.status().inhibit)  # type: ignore[operator]
    assert driver.link.reconnects > 0
    assert driver.status().firmware == "S-V1.6-5"


def test_one_arm_is_reset_alone(tmp_path: Path) -> None:
    plants = KinematicArm(), KinematicArm()
    links = tmp_path / "l", tmp_path / "r"
    with SimulatedArm(plants[0], links[0]), SimulatedArm(plants[1], links[1]):
        robot = BimanualPiper("slcan", str(links[0]), str(links[1]), QUICK)
        robot.connect()
        robot.enable()
        assert robot.reset(forced="right") == ["right"]
        assert [plant.powered for plant in plants] == [True, False]
        robot.close()


def test_one_arm_runs_alone(tmp_path: Path) -> None:
    """arms:=left, the right one in repair: nothing is opened or sent there, and it is where it was told to be."""
    plant = KinematicArm()
    with SimulatedArm(plant, tmp_path / "l"):
        robot = BimanualPiper("slcan", str(tmp_path / "l"), str(tmp_path / "nowhere"), QUICK, absent="right")
        robot.connect()
        assert robot.enable() == (False, True)
        reading = robot.read()
        assert reading is not None
        goal = reading.position.copy()
        goal[[0, 7]] = [0.01, 0.4]
        assert robot.write(goal) == (True, True)
        reading = robot.read()
        assert reading is not None
        assert reading.position[7] == 0.4
        assert list(robot.status()) == ["left"]
        with pytest.raises(PiperError, match="right arm is not there"):
            robot.reset(forced="right")
        assert robot.reset() == []
        robot.stop()
        robot.close()
