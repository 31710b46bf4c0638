"""Services, goals, chunks, faults and two clocks in any order: each frame that leaves keeps the limits in real time."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.wav_policy.control.loop_bench import START
from tests.wav_policy.control.test_joint_trajectory import make_goal
from wav_models.types import ActionChunk, FloatArray
from wav_policy.control.collision_limits import CollisionLimits
from wav_policy.control.control_loop import ControlLoop
from wav_policy.control.gripper_motion import GripperGoal
from wav_policy.control.joint_trajectory import GoalError
from wav_policy.control.loop_phases import Phase
from wav_policy.control.safety import SafetyLimits
from wav_policy.control.stamp_clock import StampClock
from wav_policy.piper.bimanual import JointReading
from wav_policy.piper.inhibits import Inhibit, Reaction
from wav_policy.robot.joints import GRIPPERS, JOINT_NAMES, both_arms

LIMITS = replace(SafetyLimits(), collision=CollisionLimits(check=False))
VELOCITY, ACCELERATION = both_arms(LIMITS.velocity), both_arms(LIMITS.acceleration)
ARMS = slice(0, 7), slice(7, 14)
TICKS = (0.001, 0.005, 0.005, 0.005, 0.013, 0.049, 0.08)
STEPS = (-3600.0, -1.0, -0.06, -0.045, -0.006, -0.005, -0.004, -0.001, 0.001, 0.004, 0.006, 0.045, 0.06, 1.0, 3600.0)


class FaultyArms:
    """They follow at once; whoever looks at every frame they are sent is `judge`."""

    def __init__(self, machine: LoopMachine) -> None:
        self.machine = machine
        self.position = START.copy()
        self.silent_since: list[float | None] = [None, None]
        self.refuses = [False, False]
        self.in_the_way: Inhibit | None = None
        self.damage: FloatArray | None = None
        self.error: Exception | None = None
        self.sent: list[FloatArray | None] = [None, None]
        self.velocity = np.zeros(14)
        self.sent_at = [-np.inf, -np.inf]
        self.lasted = [0.0, 0.0]
        self.num_sent = 0
        self.obeyed_at = [-np.inf, -np.inf]

    def inhibit(self) -> Inhibit | None:
        return self.in_the_way

    def read(self) -> JointReading:
        if self.error is not None:
            raise self.error
        now = self.machine.now
        position = self.position.copy() if self.damage is None else self.damage
        self.damage = None
        stamps = tuple(now if since is None else since for since in self.silent_since)
        return JointReading(position, np.zeros(14), stamps)  # type: ignore[arg-type]

    def write(self, position: FloatArray, mute: tuple[bool, bool]) -> tuple[bool, bool]:
        self.num_sent += 1
        for side in (0, 1):
            if not mute[side]:
                self.judge(side, position)
            if not (mute[side] or self.refuses[side] or self.silent_since[side] is not None):
                self.obey(side, position)
        return not self.refuses[0], not self.refuses[1]

    def obey(self, side: int, position: FloatArray) -> None:
        """Be there at once: never farther than the limits allow, and what was missed before the silence was noticed."""
        arm, now = ARMS[side], self.machine.now
        step = np.abs(position - self.position)[arm]
        elapsed = min(now - self.obeyed_at[side], LIMITS.max_measurement_age + LIMITS.max_tick)
        assert (step <= VELOCITY[arm] * elapsed + 1e-6).all(), (step, elapsed, self.machine.loop.state())
        self.position[arm], self.obeyed_at[side] = position[arm], now

    def judge(self, side: int, position: FloatArray) -> None:
        """A target continues the one before within the limits, or takes the arm where it is."""
        arm, now, before = ARMS[side], self.machine.now, self.sent[side]
        target = position[arm]
        assert np.isfinite(target).all()
        turning = np.array([joint for joint in range(14)[arm] if joint not in GRIPPERS])
        is_taken_over = np.allclose(position[turning], self.position[turning], rtol=0, atol=1e-9)
        velocity, elapsed = np.zeros(7), 0.0
        if before is not None:
            elapsed = now - self.sent_at[side]
            late = elapsed > LIMITS.max_tick
            elapsed = min(elapsed, LIMITS.max_tick)
            between = (elapsed + (0.0 if late else self.lasted[side])) / 2.0  # the middles of two ticks
            velocity = (target - before) / elapsed
            change = velocity - (0.0 if late else self.velocity[arm])
            keeps = (np.abs(velocity) <= VELOCITY[arm] + 1e-6).all()
            keeps &= (np.abs(change) <= ACCELERATION[arm] * between + 1e-6).all()
            assert keeps or is_taken_over, (self.machine.loop.state(), velocity, self.velocity[arm], elapsed)
            if not keeps:
                velocity, elapsed = np.zeros(7), 0.0
            inside = (target >= np.minimum(LIMITS.lower[arm], before) - 1e-9) & (
                target <= np.maximum(LIMITS.upper[arm], before) + 1e-9
            )
            assert inside.all() or is_taken_over
        else:
            assert is_taken_over
        self.sent[side], self.sent_at[side], self.velocity[arm] = target.copy(), now, velocity
        self.lasted[side] = elapsed


class LoopMachine(RuleBasedStateMachine):
    """The loop has no thread here: hypothesis' is its thread."""

    @initialize()
    def begin(self) -> None:
        self.now, self.ros, self.rate = 100.0, 1.7e9, 1.0
        self.arms = FaultyArms(self)
        self.stamps = StampClock(lambda: self.ros, lambda: self.now)
        self.loop = ControlLoop(self.arms, 200.0, LIMITS, clock=lambda: self.now, stamps=self.stamps)
        self.is_stopped = False
        self.loop.engage()

    def tick(self, seconds: float) -> None:
        self.now, self.ros = self.now + seconds, self.ros + self.rate * seconds
        before, count = self.loop.state().phase, self.arms.num_sent
        self.loop.tick()
        if not before.commands:
            assert self.arms.num_sent == count

    # Time

    @rule(ticks=st.integers(1, 30), length=st.sampled_from(TICKS))
    def run(self, ticks: int, length: float) -> None:
        for _ in range(ticks):
            self.tick(length)

    @rule(step=st.sampled_from(STEPS))
    def step_ros_time(self, step: float) -> None:
        self.ros += step

    @rule(rate=st.sampled_from((0.0, 0.1, 1.0, 1.0, 3.0, 100.0)))
    def change_rate_of_ros_time(self, rate: float) -> None:
        self.rate = rate

    # Services

    @rule(service=st.sampled_from(("engage", "disengage", "stop", "reset", "hold", "hold")))
    def call(self, service: str) -> None:
        if service == "engage":
            assert self.loop.engage((True, False)) != self.is_stopped
        elif service == "disengage":
            count = self.arms.num_sent
            self.loop.disengage()
            self.tick(0.005)
            assert self.arms.num_sent == count
        elif service == "stop":
            self.loop.trip("piper/stop")
        elif service == "reset":
            self.loop.reset()
        else:
            self.loop.hold("held by request")

    @rule(joint=st.integers(0, 13), speed=st.floats(-2.5, 2.5), ticks=st.integers(1, 60))
    def get_going(self, joint: int, speed: float, ticks: int) -> None:
        """Whatever it takes until a chunk is followed."""
        self.rate, self.arms.in_the_way = 1.0, None
        self.arms.silent_since, self.arms.refuses = [None, None], [False, False]
        for _ in range(60):
            self.tick(0.02)
        if self.is_stopped:
            self.loop.reset()
        if not self.loop.state().engaged or self.loop.state().phase is Phase.HELD:
            assert self.loop.engage()
        self.loop.hold("a calm motion ends")
        for _ in range(40):
            self.tick(0.02)
        positions = np.tile(self.arms.position, (16, 1))
        positions[:, joint] += speed * 0.1 * np.arange(1, 17)
        self.loop.accept(ActionChunk(positions, self.now, 0.1))
        self.tick(0.005)
        state = self.loop.state()
        assert state.reason in ("", "implausible_command"), state
        for _ in range(ticks):
            self.tick(0.005)

    @rule(joint=st.integers(0, 5), by=st.floats(-0.6, 0.6), keeps=st.booleans())
    def go_home(self, joint: int, by: float, keeps: bool) -> None:
        goal = START.copy()
        goal[[joint, joint + 7]] += by
        self.loop._begin(goal, 0.8, keeps)

    @rule(joint=st.integers(0, 13), by=st.floats(-0.3, 0.3), seconds=st.floats(0.05, 2.0), late=st.floats(-0.5, 0.5))
    def follow_trajectory(self, joint: int, by: float, seconds: float, late: float) -> None:
        """Refused where it is too fast, too far or over, and where nothing may begin."""
        goal = make_goal([JOINT_NAMES[joint]], [seconds], [self.arms.position[joint] + by])
        with suppress(GoalError):
            motion = self.loop.follow(replace(goal, start=self.now - late))
            assert self.loop.state().phase is Phase.MOVING
            assert not motion.has_ended

    @rule(joint=st.sampled_from(tuple(GRIPPERS)), to=st.floats(-0.01, 0.12), speed=st.floats(0.005, 0.5))
    def grip(self, joint: int, to: float, speed: float) -> None:
        with suppress(GoalError):
            self.loop.grip(GripperGoal(joint, to, speed))

    # Chunks

    @rule(
        rows=st.integers(1, 16),
        to=st.floats(-4.0, 4.0),
        joint=st.integers(0, 13),
        age=st.sampled_from((-0.2, -0.05, 0.0, 0.0, 0.1, 0.3, 1.9, 5.0)),
        jump=st.booleans(),
    )
    def send_chunk(self, rows: int, to: float, joint: int, age: float, jump: bool) -> None:
        positions = np.tile(self.arms.position, (rows, 1))
        positions[:, joint] = to if jump else np.linspace(positions[0, joint], to, rows)
        stamp = self.stamps.translate(self.ros - age)
        self.loop.accept(ActionChunk(positions, stamp, 0.1))

    @rule(value=st.sampled_from((np.nan, np.inf, 1e9)))
    def send_garbage(self, value: float) -> None:
        positions = np.tile(START, (3, 1))
        positions[1, 4] = value
        self.loop.accept(ActionChunk(positions, self.now, 0.1))

    @rule()
    def lose_policy(self) -> None:
        self.loop.reject("policy lost")

    # Faults

    @rule(reaction=st.sampled_from(list(Reaction)))
    def begin_inhibit(self, reaction: Reaction) -> None:
        self.arms.in_the_way = Inhibit(reaction, "in the way", "left arm: in the way")

    @rule()
    def end_inhibit(self) -> None:
        self.arms.in_the_way = None

    @rule(side=st.integers(0, 1))
    def fall_silent(self, side: int) -> None:
        self.arms.silent_since[side] = self.arms.silent_since[side] or self.now

    @rule(side=st.integers(0, 1), moved=st.sampled_from((0.0, 0.0, 0.03, 0.4)))
    def speak_again(self, side: int, moved: float) -> None:
        if self.arms.silent_since[side] is not None and self.now - self.arms.silent_since[side] > LIMITS.max_tick * 3:
            self.arms.position[ARMS[side]][:6] += moved
        self.arms.silent_since[side] = None

    @rule(side=st.integers(0, 1), refuses=st.booleans())
    def fill_queue(self, side: int, refuses: bool) -> None:
        self.arms.refuses[side] = refuses

    @rule(joint=st.integers(0, 13), by=st.sampled_from((-1.1, 0.3, 1.1, np.nan)))
    def damage_next_reading(self, joint: int, by: float) -> None:
        self.arms.damage = self.arms.position.copy()
        self.arms.damage[joint] += by

    @precondition(lambda self: self.loop.state().phase.commands)
    @rule(really=st.sampled_from((False, False, True)))
    def fail_once(self, really: bool) -> None:
        if not really:
            return
        self.arms.error = OSError("gone")
        self.tick(0.005)
        self.arms.error = None
        assert self.loop.state().phase.is_stopped

    @invariant()
    def phase_and_stop_agree(self) -> None:
        if not hasattr(self, "loop"):
            return
        state = self.loop.state()
        self.is_stopped = state.phase.is_stopped
        assert (self.loop.stop_reason is not None) == self.is_stopped
        assert state.engaged == state.phase.commands
        if state.phase in (Phase.RELEASED, Phase.HELD, Phase.STOPPED, Phase.WAITING):
            assert state.reason, state


TestLoopMachine: Any = LoopMachine.TestCase
TestLoopMachine.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
