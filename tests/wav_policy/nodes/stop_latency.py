"""How long piper_node keeps piper/hold waiting, and how steadily it commands, while somebody floods its topics.

    python -m tests.wav_policy.nodes.stop_latency SECONDS [FLOOD ...]

Simulated arms, the node, who measures and who floods are processes of their own. Without a flood's name: all of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Duration
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import Parameter
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from tests.wav_policy.nodes.arms_process import Probe, Robot
from wav_policy.nodes.messages import chunk_topic
from wav_policy.nodes.runtime.priority import take_priority
from wav_policy.robot.joints import JOINT_DIM, JOINT_NAMES

REPOSITORY = Path(__file__).parents[3]
WATCH_PRIORITY = 60
"""Of the process that measures, above that of piper_node."""
_PAUSE = 0.02
"""Between two calls of piper/hold [s]."""


def _rows(count: int, width: int = JOINT_DIM) -> JointTrajectory:
    positions = [0.0] * width
    points = [JointTrajectoryPoint(positions=positions, time_from_start=Duration(sec=i + 1)) for i in range(count)]
    return JointTrajectory(joint_names=list(JOINT_NAMES), points=points)


def _names(count: int) -> JointTrajectory:
    return JointTrajectory(joint_names=[f"x{i}" for i in range(count)])


FLOODS: dict[str, Callable[[], Any] | None] = {
    "quiet": None,
    "chunks": lambda: _rows(16),
    "names 5000": lambda: _names(5_000),
    "names 30000": lambda: _names(30_000),
    "rows 1000": lambda: _rows(1_000),
    "rows 20000": lambda: _rows(20_000),
    "rows 100000": lambda: _rows(100_000),
    "empty rows 5000": lambda: _rows(5_000, 0),
    "one row of 1000000": lambda: _rows(1, 1_000_000),
    "one row of 6000000": lambda: _rows(1, 6_000_000),
    "parameters": lambda: SetParameters.Request(parameters=[Parameter(name=f"x{i}") for i in range(20_000)]),
    "text of 20 MB": lambda: ChangeState.Request(transition=Transition(id=200, label="x" * 20_000_000)),
}
"""What is sent 20 times a second, or as often as it can be."""

SERVICES = {"parameters": (SetParameters, "set_parameters"), "text of 20 MB": (ChangeState, "change_state")}
"""Where a flood goes that is no chunk."""


def flood(name: str) -> None:
    """Send until killed."""
    make = FLOODS[name]
    rclpy.init(args=[])
    node = Node("hostile")
    send: Callable[[Any], Any]
    if name in SERVICES:
        kind, service = SERVICES[name]
        send = node.create_client(kind, f"piper_node/{service}").call_async
    else:
        send = node.create_publisher(JointTrajectory, chunk_topic.CHUNK_TOPIC, chunk_topic.REQUESTED_QOS).publish
    message = make() if make else None
    print("ready", flush=True)
    while True:
        if message is not None:
            send(message)
        time.sleep(0.05)


def measure(seconds: float) -> dict[str, float]:
    """Percentiles of the answers of piper/hold, gaps of joint_targets and their rate."""
    take_priority(WATCH_PRIORITY)  # what is measured is not how long it waits for the processor itself
    rclpy.init(args=[])
    node = Node("watch")
    came: list[float] = []
    node.create_subscription(
        JointState, "joint_targets", lambda _: came.append(time.monotonic()), qos_profile_sensor_data
    )
    hold = node.create_client(Trigger, "piper/hold")
    assert hold.wait_for_service(10.0)
    waits: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.monotonic()
        answer = hold.call_async(Trigger.Request())
        while not answer.done() and time.monotonic() - start < 20.0:
            rclpy.spin_once(node, timeout_sec=0.05)
        waits.append(time.monotonic() - start)
        while time.monotonic() - start < waits[-1] + _PAUSE:
            rclpy.spin_once(node, timeout_sec=0.005)
    p50, p99, p999 = np.percentile(waits, (50, 99, 99.9)) * 1e3
    gaps = np.diff(came) if len(came) > 1 else np.array([np.nan])
    rate = (len(came) - 1) / (came[-1] - came[0]) if len(came) > 1 else 0.0
    found = {"calls": len(waits), "p50_ms": p50, "p99_ms": p99, "p99.9_ms": p999, "max_ms": 1e3 * max(waits)}
    return {name: round(float(value), 1) for name, value in (found | {"hz": rate, "gap_ms": 1e3 * gaps.max()}).items()}


def run(names: Sequence[str], seconds: float, extra: Sequence[str] = ()) -> dict[str, dict[str, float]]:
    """Measure under each of the floods, in one process of piper_node; rclpy must be up."""
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as directory:
        robot = Robot(Path(directory), REPOSITORY, extra)
        for arm in robot.arms:
            arm.start()
        probe = Probe()
        try:
            assert probe.change_state(Transition.TRANSITION_CONFIGURE), robot.log.read_text()
            assert probe.change_state(Transition.TRANSITION_ACTIVATE), robot.log.read_text()
            for name in names:
                found[name] = _under(name, seconds)
                print(name, found[name], flush=True)
        finally:
            robot.close()
            probe.node.destroy_node()
    return found


def _under(name: str, seconds: float) -> dict[str, float]:
    command = [sys.executable, "-m", __spec__.name if __spec__ else __name__]
    options: dict[str, Any] = {"cwd": REPOSITORY, "stdout": subprocess.PIPE, "text": True}
    hostile = subprocess.Popen([*command, "flood", name], **options)
    try:
        assert hostile.stdout is not None
        hostile.stdout.readline()
        time.sleep(1.0)
        answer = subprocess.run([*command, "measure", str(seconds)], **options, check=True)
        return dict(json.loads(answer.stdout))
    finally:
        hostile.kill()
        hostile.wait()


if __name__ == "__main__":
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    if sys.argv[1] == "flood":
        flood(sys.argv[2])
    elif sys.argv[1] == "measure":
        print(json.dumps(measure(float(sys.argv[2]))))
    else:
        rclpy.init(args=[])
        run(sys.argv[2:] or list(FLOODS), float(sys.argv[1]))
        rclpy.shutdown()  # left to the interpreter's end, Fast DDS can wait for ever
