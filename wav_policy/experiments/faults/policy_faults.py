"""What a policy may do to the arms: die, hang, go wrong, be late, or shout."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Final

import numpy as np
from rclpy.node import Node
from rclpy.serialization import serialize_message
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from wav_models.types import ActionChunk
from wav_policy.experiments.faults.fault import (
    GO_ON,
    HOLD,
    POLICY_LIMIT,
    Fault,
    Inject,
    Testbed,
    require_refusal,
    send_signal,
)
from wav_policy.experiments.faults.observer import CHUNK_AHEAD
from wav_policy.experiments.faults.wall_time import wall_time
from wav_policy.nodes.messages import chunk_topic
from wav_policy.nodes.messages.trajectory import chunk_to_message
from wav_policy.robot.joints import JOINT_NAMES

_FLOOD_RATE: Final = 2000.0
_MANY: Final = 30_000
_LONG_TEXT: Final = 10_000_000
_CONNECTED: Final = 10.0  # s
_NUM_CHUNKS: Final = 10
_BETWEEN: Final = 0.2
"""Chunks of a second policy [s]; of the first it is the same."""


def _send(change: Callable[[ActionChunk], ActionChunk]) -> Inject:
    """A changed copy of the chunk in force, after which its sender falls silent but stays alive."""

    def inject(testbed: Testbed) -> float:
        observer = testbed.observer
        chunk = change(observer.swing_chunk(observer.joints, wall_time()))
        observer.pause_chunks()
        now = wall_time()
        observer.publish(chunk)
        return now

    return inject


def _send_message(message: JointTrajectory) -> Inject:
    def inject(testbed: Testbed) -> float:
        data = serialize_message(message)  # takes a while, in which nobody would assert liveliness
        testbed.observer.pause_chunks()
        now = wall_time()
        testbed.observer.chunks.publish(data)
        return now

    return inject


def _with_nan(chunk: ActionChunk) -> ActionChunk:
    positions = chunk.positions.copy()
    positions[3, 9] = np.nan
    return ActionChunk(positions, chunk.stamp, chunk.step)


def _out_of_limits(chunk: ActionChunk) -> ActionChunk:
    return ActionChunk(np.full_like(chunk.positions, 10.0), chunk.stamp, chunk.step)


def _into_the_bases(chunk: ActionChunk) -> ActionChunk:
    """Both elbows fold, at 0.5 rad/s: the grippers come near the arms' own bases after 0.2 rad."""
    positions = np.tile(chunk.positions[0], (len(chunk.positions), 1))
    positions[:, (2, 9)] += 0.5 * chunk.step * np.arange(1, len(positions) + 1)[:, None]
    return ActionChunk(positions, chunk.stamp, chunk.step)


def _late_plans(testbed: Testbed) -> float:
    """From now on plans come 2 s after their observation: all their rows are past. The one in force runs out."""
    now = wall_time()
    testbed.observer.delay_chunks(2.0)
    return now


def _second_policy(testbed: Testbed) -> float:
    """Another node, once it is connected, sends chunks of its own between those that come."""
    observer = testbed.observer
    node = Node("second_policy", context=observer.client.node.context)
    publisher = node.create_publisher(JointTrajectory, chunk_topic.CHUNK_TOPIC, chunk_topic.REQUESTED_QOS)
    observer.wait(lambda: publisher.get_subscription_count() > 0, _CONNECTED)
    now = wall_time()
    for _ in range(_NUM_CHUNKS):
        publisher.publish(chunk_to_message(observer.swing_chunk(observer.joints, wall_time())))
        observer.spin(_BETWEEN)
    node.destroy_node()
    return now


def _many_rows(testbed: Testbed) -> float:
    chunk = testbed.observer.swing_chunk(testbed.observer.joints, wall_time())
    point = JointTrajectoryPoint(positions=chunk.positions[0].tolist())
    message = JointTrajectory(joint_names=list(JOINT_NAMES), points=[point] * _MANY)
    message.header.stamp = testbed.observer.client.node.get_clock().now().to_msg()
    return _send_message(message)(testbed)


def _wrong_types(testbed: Testbed) -> float:
    now = wall_time()
    for topic in ("action_chunk", "joint_states", "head/image_raw", "left_wrist/image_raw"):
        testbed.observer.flood(String, topic, lambda: String(data="not what you expect"), 50.0, 0.3)
    return now


def _joint_states(names: list[str], rate: float) -> Inject:
    def inject(testbed: Testbed) -> float:
        now = wall_time()
        measured = (testbed.observer.joints.tolist() * (len(names) // 14 + 1))[: len(names)]

        def message() -> JointState:
            state = JointState(name=names, position=measured)
            state.header.stamp = testbed.observer.client.node.get_clock().now().to_msg()
            return state

        testbed.observer.flood(JointState, "joint_states", message, rate, 1.5)
        return now

    return inject


def _long_instruction(testbed: Testbed) -> float:
    now = wall_time()
    testbed.observer.say("stack the plates " * (_LONG_TEXT // 17))
    return now


def _overwrite_checkpoint(testbed: Testbed) -> float:
    """The weights get other bytes in place, and then an end in the middle."""
    now = wall_time()
    weights = testbed.system.checkpoint / "model.safetensors"
    size = weights.stat().st_size
    with weights.open("r+b") as file:
        file.seek(size // 4)
        file.write(np.random.default_rng(0).bytes(size // 4))
        file.truncate(size // 2)
    return now


def _restore_checkpoint(testbed: Testbed) -> None:
    """What is on the disk now must be refused; with the file put back the policy comes again."""
    client = testbed.observer.client
    client.deactivate("policy_node")
    client.clean_up("policy_node")
    require_refusal(client.configure, "policy_node", "a truncated checkpoint")
    testbed.system.restore_checkpoint()
    client.configure("policy_node", timeout=60.0)
    client.activate("policy_node")


def _by_chunk(
    name: str, inject: Inject, says: str, limit: float = POLICY_LIMIT, way_back: tuple[str, ...] = ()
) -> Fault:
    return Fault(name, inject, HOLD, limit, by_policy=False, says=says, way_back=way_back)


_NAMES: Final = [f"joint{number}" for number in range(_MANY)]
_REJECTED: Final = "last chunk rejected: "

POLICY_FAULTS: Final = (
    Fault(
        "policy_node frozen (SIGSTOP)",
        send_signal("policy_node", signal.SIGSTOP),
        HOLD,
        heal=lambda testbed: testbed.system.resume("policy_node"),
        says="policy lost: silent",
    ),
    _by_chunk("chunk with NaN", _send(_with_nan), f"{_REJECTED}.*right_joint3.*nan"),
    _by_chunk("chunk far outside the limits", _send(_out_of_limits), "implausible_command"),
    _by_chunk(
        "chunk with wrong joint names",
        _send_message(JointTrajectory(joint_names=["joint1", "joint2"])),
        f"{_REJECTED}.*joint1",
    ),
    _by_chunk(
        "chunk with 30 000 joint names",
        _send_message(JointTrajectory(joint_names=_NAMES, points=[JointTrajectoryPoint(positions=[0.0] * _MANY)])),
        _REJECTED,
    ),
    # 4 MB take their time on the way
    _by_chunk("chunk with 30 000 rows", _many_rows, _REJECTED, 0.5),
    # Until they are near; then they stay there until they are led away
    _by_chunk(
        "chunk that leads the grippers into the bases",
        _send(_into_the_bases),
        "newest_collision: .*(left|right) gripper",
        1.0,
        way_back=("piper/home",),
    ),
    # Noticed by its second chunk, or by the one after that of the first
    _by_chunk("a second policy beside the first", _second_policy, "several publishers.*two masters", 0.6),
    # The chunk in force runs out
    _by_chunk("plans 2 s late", _late_plans, "planned before", CHUNK_AHEAD + POLICY_LIMIT),
    Fault("checkpoint overwritten and cut short", _overwrite_checkpoint, GO_ON, heal=_restore_checkpoint),
)
"""Of the policy and its chunks."""

MESSAGE_FAULTS: Final = (
    Fault("joint_states flood, 2000 Hz", _joint_states(list(JOINT_NAMES), _FLOOD_RATE), GO_ON),
    Fault("joint_states with 30 000 names", _joint_states(_NAMES, 10.0), GO_ON),
    Fault("instruction of 10 MB", _long_instruction, GO_ON, says="instruction: .*refused"),
    Fault("wrong message types", _wrong_types, GO_ON),
)
"""Of anybody else in the ROS domain."""
