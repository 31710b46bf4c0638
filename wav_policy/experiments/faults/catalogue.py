"""What is made to go wrong, and what must come of it. One function per fault; each returns when the fault began."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from wav_models.types import JOINT_NAMES, ActionChunk
from wav_policy.experiments.faults.observer import CHUNK_AHEAD, Observer
from wav_policy.experiments.faults.system import RunningSystem
from wav_policy.policy.observation import IMAGE_TOPICS

HOLD: Final = "hold"
"""The arms hold while the fault lasts and go on after it."""
END: Final = "end"
"""The arms hold, and stay where they are while `wav up` stops the other nodes, names the culprit and ends with exit
code 1."""
GO_ON: Final = "go on"
"""Motion does not notice."""

POLICY_LIMIT: Final = 0.1
"""Of the time to hold once the policy is lost [s]."""

_FLOOD_RATE: Final = 2000.0
_FILE_LIMIT: Final = 4096


@dataclass(frozen=True)
class Stage:
    """Where a fault happens."""

    system: RunningSystem
    observer: Observer


def _nothing(stage: Stage) -> None:
    """The fault is over by itself."""


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: for the table.
        inject: makes it happen; returns the time just before [s].
        outcome: `HOLD`, `END` or `GO_ON`.
        limit: longest time until the arms begin to brake [s]; what it is made of stands beside each fault.
        heal: takes it away.
        by_policy: the arms are moved by the policy itself; else by the campaign, which sends what it wants to.
        lost: what may be lost.
        driver_dies: nobody reports targets any more; `limit` is for the rest of the simulated joints then.
        culprit: whom the policy must blame for as long as the fault lasts.
    """

    name: str
    inject: Callable[[Stage], float]
    outcome: str
    limit: float = POLICY_LIMIT
    heal: Callable[[Stage], None] = _nothing
    by_policy: bool = True
    lost: str = "nothing"
    driver_dies: bool = False
    culprit: str = ""


def _camera_fault(name: str, view: str, fault: str, limit: float, complaint: str) -> Fault:
    inject, heal = _parameter("fault.cameras", f"{view} {fault}"), _heal("fault.cameras")
    return Fault(name, inject, HOLD, limit, heal, culprit=f"{IMAGE_TOPICS[view]}: {complaint}")


def _kill(node: str) -> Callable[[Stage], float]:
    return lambda stage: stage.system.signal(node, signal.SIGKILL)


def _freeze_policy(stage: Stage) -> float:
    return stage.system.signal("policy_node", signal.SIGSTOP)


def _thaw_policy(stage: Stage) -> None:
    stage.system.signal("policy_node", signal.SIGCONT)


def _parameter(name: str, value: str) -> Callable[[Stage], float]:
    def inject(stage: Stage) -> float:
        now = time.time()
        stage.observer.client.set_parameter("sim_node", name, value)
        return now

    return inject


def _heal(name: str) -> Callable[[Stage], None]:
    return lambda stage: stage.observer.client.set_parameter("sim_node", name, "")


def _send(change: Callable[[ActionChunk], ActionChunk]) -> Callable[[Stage], float]:
    """A changed copy of the chunk in force, after which its sender falls silent but stays alive."""

    def inject(stage: Stage) -> float:
        observer = stage.observer
        chunk = change(observer.swing_chunk(observer.joints, time.time()))
        observer.pause_chunks()
        now = time.time()
        observer.publish(chunk)
        return now

    return inject


def _with_nan(chunk: ActionChunk) -> ActionChunk:
    positions = chunk.positions.copy()
    positions[3, 9] = np.nan
    return ActionChunk(positions, chunk.stamp, chunk.step)


def _out_of_limits(chunk: ActionChunk) -> ActionChunk:
    return ActionChunk(np.full_like(chunk.positions, 10.0), chunk.stamp, chunk.step)


def _late_plans(stage: Stage) -> float:
    """From now on plans come 2 s after their observation: all their rows are past. The one in force runs out."""
    now = time.time()
    stage.observer.delay_chunks(2.0)
    return now


def _misnamed_chunk(stage: Stage) -> float:
    message = JointTrajectory(joint_names=["joint1", "joint2"])
    stage.observer.pause_chunks()
    now = time.time()
    stage.observer.chunks.publish(message)
    return now


def _wrong_types(stage: Stage) -> float:
    now = time.time()
    for topic in ("action_chunk", "joint_states", "head/image_raw", "left_wrist/image_raw"):
        stage.observer.flood(String, topic, lambda: String(data="not what you expect"), 50.0, 0.3)
    return now


def _joint_state_flood(stage: Stage) -> float:
    now = time.time()
    measured = stage.observer.joints.tolist()

    def message() -> JointState:
        state = JointState(name=list(JOINT_NAMES), position=measured)
        state.header.stamp = stage.observer.client.node.get_clock().now().to_msg()
        return state

    stage.observer.flood(JointState, "joint_states", message, _FLOOD_RATE, 1.5)
    return now


def _full_disk(stage: Stage) -> float:
    """No file of the recorder grows beyond 4 kB any more (RLIMIT_FSIZE): every write fails as on a full disk."""
    return stage.system.limit_file_size("recorder_node", _FILE_LIMIT)


def _free_disk(stage: Stage) -> None:
    stage.system.limit_file_size("recorder_node")


FAULTS: Final = (
    # What the policy may do to the arms
    Fault("policy_node frozen (SIGSTOP)", _freeze_policy, HOLD, heal=_thaw_policy),
    Fault("chunk with NaN", _send(_with_nan), HOLD, by_policy=False),
    Fault("chunk far outside the limits", _send(_out_of_limits), HOLD, by_policy=False),
    Fault("chunk with wrong joint names", _misnamed_chunk, HOLD, by_policy=False),
    # The chunk in force runs out
    Fault("plans 2 s late", _late_plans, HOLD, CHUNK_AHEAD + POLICY_LIMIT, by_policy=False),
    # Age of an image 0.25 s, then the lease of 0.07 s; frozen: 0.5 s without a change, and 0.05 rad of motion in sight
    _camera_fault("left camera dropped", "left_wrist", "dropped", 0.5, "newest message is"),
    _camera_fault("head camera frozen", "head", "frozen", 1.0, "frozen: same picture"),
    # Age of a measurement 0.1 s, one period of feedback, one tick
    Fault("left arm silent", _parameter("fault.left", "silence"), HOLD, 0.2, _heal("fault.left"), False),
    Fault("right arm bus-off", _parameter("fault.right", "bus_off"), HOLD, 0.2, _heal("fault.right"), False),
    Fault("10 % of CAN frames missing", _parameter("fault.left", "drop 0.1"), GO_ON, heal=_heal("fault.left")),
    Fault("2 % of CAN frames garbled", _parameter("fault.right", "garble 0.02"), GO_ON, heal=_heal("fault.right")),
    Fault("joint_states flood, 2000 Hz", _joint_state_flood, GO_ON),
    Fault("wrong message types", _wrong_types, GO_ON),
    Fault("disk full while recording", _full_disk, GO_ON, heal=_free_disk, lost="the episode in progress"),
    # Every node
    Fault("kill -9 policy_node", _kill("policy_node"), END),
    # The controllers finish the step that was sent last; the servos settle
    Fault("kill -9 piper_node", _kill("piper_node"), END, 0.3, driver_dies=True),
    # Noticed by `wav up`, which tells piper_node to end: its executor looks every 0.1 s
    Fault("kill -9 recorder_node", _kill("recorder_node"), END, 0.5, lost="the episode in progress"),
    Fault("kill -9 lifecycle_manager", _kill("lifecycle_manager"), END, 0.5),
    Fault("kill -9 sim_node (arms and cameras)", _kill("sim_node"), END, 0.5),
)
"""In the order of the campaign; those that end the system come last."""
