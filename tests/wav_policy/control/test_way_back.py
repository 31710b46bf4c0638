"""After a fall the arms lie on the table: a policy that presses on is held with words that lead to moving arms."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from wav_models.types import ActionChunk, FloatArray
from wav_policy.control.calm_motion import PATIENCE
from wav_policy.control.control_loop import ControlLoop
from wav_policy.control.loop_phases import Phase
from wav_policy.control.safety import SafetyLimits
from wav_policy.piper.bimanual import JointReading
from wav_policy.piper.inhibits import Inhibit
from wav_policy.robot.joints import SIDES
from wav_policy.sim.tasks import make_task
from wav_policy.sim.world import World

pytestmark = pytest.mark.sim

TICK = 0.01
HOME = np.array([0.0, 1.1716, -0.6219, 0.0, 1.1084, -1.5708, 0.07, 0.0, 1.1716, -0.6219, 0.0, 1.1084, 1.5708, 0.07])


class FallenArms:
    """The simulated arms without their wires; limp until the test switches them on."""

    def __init__(self) -> None:
        self.world = World(make_task("bowl"))
        self.world.reset(0)
        for side in SIDES:
            self.world.arm(side).set_power(False)
        self.world.step(4.0)
        for side in SIDES:
            self.world.arm(side).set_power(True)
        self.now = 5.0
        self.loop = ControlLoop(self, 1.0 / TICK, SafetyLimits(), clock=lambda: self.now)

    def read(self) -> JointReading:
        world = self.world
        return JointReading(world.joint_positions.copy(), world.joint_velocities.copy(), (self.now, self.now))

    def inhibit(self) -> Inhibit | None:
        return None

    def write(self, position: FloatArray, mute: tuple[bool, bool]) -> tuple[bool, bool]:
        self.world.set_targets(position)
        return True, True

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK)):
            self.world.step(TICK)
            self.now += TICK
            self.loop.tick()

    def follow(self, change: FloatArray, seconds: float) -> None:
        """A policy that plans anew twice a second: from where the arms are by `change` [14] in 0.8 s."""
        for _ in range(round(seconds / 0.5)):
            rows = self.world.joint_positions + np.linspace(0.0, 1.0, 9)[1:, None] * change
            self.loop.accept(ActionChunk(rows, self.now, 0.1))
            self.run(0.5)


@pytest.fixture
def arms() -> Iterator[FallenArms]:
    arms = FallenArms()
    yield arms
    arms.world.close()


def test_enable_then_home_then_the_policy_is_followed_again(arms: FallenArms) -> None:
    assert arms.loop.engage()
    arms.run(0.3)
    pressing = np.tile([0.0, 0.2, -0.2, 0.0, 0.1, 0.0, 0.0], 2)
    arms.follow(pressing, 2.0)
    state = arms.loop.state()
    assert (state.holding, state.reason) == (True, "collision")
    assert "table" in state.detail
    assert "gripper" in state.detail
    assert "piper/home" in state.detail, "the way back is named"
    motion = arms.loop._begin(HOME, 0.8, False)
    assert motion is not None
    arms.run(PATIENCE * motion.duration)
    assert motion.has_arrived
    assert arms.loop.state().phase is Phase.FOLLOWING
    swing = np.zeros(14)
    swing[0] = 0.2
    arms.follow(swing, 1.0)
    assert arms.loop.state().reason == ""
    assert arms.world.joint_positions[0] > 0.2


def test_a_policy_that_leads_away_needs_no_help(arms: FallenArms) -> None:
    assert arms.loop.engage()
    arms.run(0.3)
    before = arms.world.joint_positions.copy()
    arms.follow(np.tile([0.0, -0.3, 0.0, 0.0, 0.0, 0.0, 0.0], 2), 2.0)
    assert arms.loop.state().reason == ""
    assert (arms.world.joint_positions - before)[1] < -0.2
