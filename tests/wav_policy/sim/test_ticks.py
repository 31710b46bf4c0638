"""A simulation that gets no processor for a while loses that time: what its arms tell goes on from where it was."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from pathlib import Path
from threading import RLock
from types import SimpleNamespace

import numpy as np
import pytest

from tests.wav_policy.kinematic_arm import KinematicArm
from wav_models.types import FloatArray
from wav_policy.piper import units
from wav_policy.piper.frames import ControlMode, Frame, FrameId
from wav_policy.piper.setpoints import setpoint_frames
from wav_policy.robot.joints import JOINT_DIM
from wav_policy.sim import ticks as ticks_module
from wav_policy.sim.firmware import SimulatedArm, SlcanPort
from wav_policy.sim.teleoperator import Teleoperator
from wav_policy.sim.ticks import ticks
from wav_policy.sim.world import World

GAP = 0.5
"""[s]"""

FASTEST = 3.0
"""Of the motors [rad/s]."""

FRAME_PERIOD = 0.01

GOAL = np.array([1.2, 1.4, -1.2, 0.6, 0.6, 0.9, 0.03])


class PatchedTime:
    """A clock that only waiting moves, and what says that there is enough; each of `gaps` is a wait that ends late.

    Args:
        num_waits: until it is enough.
        gaps: by number of the wait: by how much it ends late [s].
    """

    def __init__(self, num_waits: int, gaps: dict[int, float]) -> None:
        self.now = 1000.0
        self._late = deque(gaps.get(number, 0.0) for number in range(num_waits))

    def monotonic(self) -> float:
        return self.now

    def is_set(self) -> bool:
        return not self._late

    def wait(self, timeout: float) -> None:
        self.now += max(timeout, 0.0) + self._late.popleft()


Run = Callable[[PatchedTime, pytest.MonkeyPatch, Path], None]


def led(arm: SimulatedArm) -> SimulatedArm:
    """On its way to `GOAL` at full speed."""
    obey = arm.firmware.on_frame
    obey(FrameId.MOTOR_POWER, bytes((7, 2)).ljust(8, b"\0"))
    arm.plug_in()
    arm.turn()
    obey(FrameId.MOTION_CONTROL_2, bytes((ControlMode.CAN, 1, 100)).ljust(8, b"\0"))
    for number, data in setpoint_frames(GOAL, 1.0):
        obey(number, data)
    return arm


def arm_without_a_world(time: PatchedTime, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    arm = led(SimulatedArm(KinematicArm(), directory / "arm"))
    monkeypatch.setattr(arm, "_stopping", time)
    arm._run()
    arm.unplug()


def arms_of_a_world(time: PatchedTime, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    pytest.importorskip("rclpy")
    from wav_policy.nodes import sim_workers
    from wav_policy.sim.tasks import make_task

    monkeypatch.setattr(sim_workers, "time", time)
    world = World(make_task("bowl"))
    arms = [led(SimulatedArm(world.arm(side), directory / side)) for side in ("left", "right")]
    physics = sim_workers.Physics(world, arms, FRAME_PERIOD)
    physics._stopping = time  # type: ignore[assignment]
    physics.run()
    assert physics.fault is None
    for arm in arms:
        arm.unplug()


def leaders(time: PatchedTime, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """The operator's actions are `FASTEST` apart."""
    monkeypatch.setattr(SlcanPort, "receive", lambda port: setattr(port, "is_open", True))
    rest = np.zeros(JOINT_DIM)
    actions = iter(np.arange(1, 1000)[:, None] * 0.1 * FASTEST * np.ones(JOINT_DIM))
    task = SimpleNamespace(make_operator=lambda: SimpleNamespace(act=lambda world: next(actions)))
    world = SimpleNamespace(task=task, joint_positions=rest, lock=RLock(), success=lambda: False)
    teleoperator = Teleoperator(world, {side: directory / side for side in ("left", "right")})  # type: ignore[arg-type]
    teleoperator._stopping = time  # type: ignore[assignment]
    teleoperator.operate()
    teleoperator.run()
    assert teleoperator.fault is None
    for leader in teleoperator._leaders.values():
        leader.close()


def told(run: Run, gaps: dict[int, float], directory: Path) -> list[tuple[int, list[Frame]]]:
    """What each arm sends in its turns, by the number of its port."""
    sent: list[tuple[int, list[Frame]]] = []
    ports: list[SlcanPort] = []

    def send(port: SlcanPort, frames: list[Frame]) -> None:
        if port not in ports:
            ports.append(port)
        sent.append((ports.index(port), list(frames)))

    with pytest.MonkeyPatch.context() as monkeypatch:
        time = PatchedTime(40, gaps)
        monkeypatch.setattr(ticks_module, "time", time)
        monkeypatch.setattr(SlcanPort, "send", send)
        run(time, monkeypatch, directory)
    return sent


def first_joints(sent: list[tuple[int, list[Frame]]], port: int) -> FloatArray:
    """Of one arm, as it tells them [rad]."""
    pairs = [
        struct.unpack(">ii", data)[0]
        for number, frames in sent
        for identifier, data in frames
        if number == port and identifier in (FrameId.JOINTS_12, FrameId.JOINT_TARGET_12)
    ]
    return units.radians_from_millidegrees(pairs)


@pytest.mark.parametrize("run", [arm_without_a_world, arms_of_a_world, leaders])
def test_no_joint_jumps_after_a_gap(run: Run, tmp_path: Path) -> None:
    """With gaps the arms tell frame by frame what they tell without."""
    evenly = told(run, {}, tmp_path)
    assert told(run, {8: GAP, 15: 0.004, 20: 0.04}, tmp_path) == evenly
    for port in {number for number, _ in evenly}:
        steps = np.abs(np.diff(first_joints(evenly, port)))
        assert steps.max() == pytest.approx(FASTEST * FRAME_PERIOD, rel=0.25), "it moves, and no faster than it can"


@pytest.mark.parametrize(("late", "lost"), [(0.0, 0.0), (0.009, 0.0), (0.04, 0.0), (0.1, 0.04), (GAP, GAP - 0.06)])
def test_what_exceeds_a_few_ticks_is_lost(late: float, lost: float, monkeypatch: pytest.MonkeyPatch) -> None:
    time = PatchedTime(100, {50: late})
    monkeypatch.setattr(ticks_module, "time", time)
    assert sum(1 for _ in ticks(0.01, time)) == 100  # type: ignore[arg-type]
    assert time.now - 1000.0 == pytest.approx(1.0 + lost)


def test_the_real_time_factor_says_what_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rclpy")
    from wav_policy.nodes import sim_workers

    for gaps, factor in (({}, 1.0), ({50: GAP}, 0.78), (dict.fromkeys(range(0, 200, 10), 0.1), 0.71)):
        time = PatchedTime(230, gaps)
        for module in (ticks_module, sim_workers):
            monkeypatch.setattr(module, "time", time)
        steps: list[float] = []
        physics = sim_workers.Physics(SimpleNamespace(step=steps.append), [], 0.01)  # type: ignore[arg-type]
        physics._stopping = time  # type: ignore[assignment]
        physics.run()
        assert set(steps) == {0.01}
        assert physics.real_time_factor == pytest.approx(factor, abs=0.03)
