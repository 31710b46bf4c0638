"""One master per channel, within a process and across processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.wav_policy.piper.conftest import QUICK
from wav_policy.piper.arm import PiperArm
from wav_policy.piper.bimanual import BimanualPiper
from wav_policy.piper.channel_lock import ChannelLock
from wav_policy.piper.errors import ArmInUseError, InterfaceNotFoundError

SECOND = """
import sys
from wav_policy.piper.arm import PiperArm
from wav_policy.piper.errors import PiperError
arm = PiperArm("right", "slcan", sys.argv[1])
try:
    arm.connect()
    print("connected", flush=True)
    sys.stdin.read()
except PiperError as error:
    print(type(error).__name__, error)
"""


def second(channel: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SECOND, channel],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        **options,
    )


def test_a_second_process_is_refused_and_told_whom_to_stop(rig: Any, tmp_path: Path) -> None:
    rig.driver.connect()
    alias = tmp_path / "another_name"
    alias.symlink_to(rig.arm.link)
    told, _ = second(str(alias)).communicate(timeout=60)
    assert told.startswith("ArmInUseError right arm: process")
    assert f"process {os.getpid()} (" in told
    rig.driver.enable()
    assert rig.driver.inhibit() is None, "the first one does not notice"


def test_a_killed_process_leaves_no_lock(rig: Any) -> None:
    other = second(str(rig.arm.link))
    assert other.stdout is not None
    assert other.stdout.readline() == "connected\n"
    with pytest.raises(ArmInUseError, match=f"left arm: process {other.pid} .*drives.*kill {other.pid}"):
        rig.driver.connect()
    other.kill()
    other.wait(10)
    rig.driver.connect()


def test_both_arms_on_one_channel_are_a_slip_of_the_configuration(rig: Any) -> None:
    robot = BimanualPiper("slcan", str(rig.arm.link), str(rig.arm.link), QUICK)
    with pytest.raises(ArmInUseError, match=r"right arm: .* is the channel of the left arm already.*wav arm find"):
        robot.connect()
    rig.driver.connect()  # and the left one was closed again


def test_a_failed_opening_lets_go(rig: Any, tmp_path: Path) -> None:
    rig.fail("silence")
    for _ in range(2):
        with pytest.raises(Exception, match="no feedback"):
            rig.driver.connect()
    rig.fail("")
    rig.driver.connect()


def test_network_interfaces_are_locked_by_name() -> None:
    first, same, other = (ChannelLock("socketcan", name, "left arm") for name in ("wav_t0", "wav_t0", "wav_t1"))
    first.acquire()
    other.acquire()
    with pytest.raises(ArmInUseError, match="'wav_t0' is the channel of the left arm already"):
        same.acquire()
    first.release()
    same.acquire()
    same.release()
    other.release()


def test_nothing_that_somebody_deletes_lets_a_second_master_in() -> None:
    first, second = (ChannelLock("socketcan", "wav_t0", owner) for owner in ("left arm", "right arm"))
    first.acquire()
    for directory in (Path("/run/lock"), Path(tempfile.gettempdir())):
        for file in directory.glob("wav-can-*-wav_t0*"):
            file.unlink()
    with pytest.raises(ArmInUseError):
        second.acquire()
    first.release()


def test_a_name_that_is_taken_by_no_channel_lock_refuses_too() -> None:
    with socket.socket(socket.AF_UNIX) as squatter:
        squatter.bind("\0wav-can-net-wav_t0")
        with pytest.raises(ArmInUseError, match="another process drives 'wav_t0'"):
            ChannelLock("socketcan", "wav_t0", "left arm").acquire()


def test_an_adapter_that_was_just_unplugged_is_named() -> None:
    with pytest.raises(InterfaceNotFoundError, match="no serial CAN adapter at '/dev/nothing'"):
        ChannelLock("slcan", "/dev/nothing", "left arm")


def test_asking_often_who_has_a_channel_changes_nothing() -> None:
    held = ChannelLock("socketcan", "wav_t0", "left arm")
    held.acquire()
    for _ in range(300):
        with pytest.raises(ArmInUseError, match="is the channel of the left arm already"):
            ChannelLock("socketcan", "wav_t0", "right arm").acquire()
    held.release()


def test_a_bus_that_is_opened_again_keeps_its_channel(rig: Any) -> None:
    rig.driver.connect()
    rig.fail("unplug")
    rig.wait_until(lambda: rig.driver.inhibit() is not None)
    rig.fail("")
    rig.wait_until(lambda: not rig.driver.status().outage)
    with pytest.raises(ArmInUseError):
        PiperArm("right", "slcan", str(rig.arm.link), QUICK).connect()
