"""Run by `test_contract.py` in a process of its own. Knows the ROS 2 contract and imports nothing of the project."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

READY_TIMEOUT = 300.0
WINDOW = 2.0


class Observer(Node):
    """Keeps the newest message of every topic and counts them."""

    def __init__(self) -> None:
        super().__init__("contract_observer")
        self.newest: dict[str, Any] = {}
        self.ages: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.reports: dict[str, dict[str, Any]] = {}
        for view in ("head", "left_wrist", "right_wrist"):
            self._watch(Image, f"{view}/image_raw", qos_profile_sensor_data)
        self._watch(JointState, "joint_states", qos_profile_sensor_data)
        self._watch(JointTrajectory, "action_chunk", QoSProfile(depth=1))
        self._watch(String, "instruction", QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)

    def _watch(self, kind: Any, topic: str, qos: QoSProfile) -> None:
        def note(message: Any) -> None:
            self.newest[topic] = message
            self.counts[topic] = self.counts.get(topic, 0) + 1
            if hasattr(message, "header"):
                stamp = message.header.stamp
                self.ages[topic] = self.get_clock().now().nanoseconds * 1e-9 - stamp.sec - stamp.nanosec * 1e-9

        self.create_subscription(kind, topic, note, qos)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for entry in message.status:
            values = {pair.key: pair.value for pair in entry.values}
            self.reports[entry.name] = {"message": entry.message, "values": values}

    def spin_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while not condition() and time.monotonic() < deadline:
            rclpy.spin_once(self, timeout_sec=0.1)
        return condition()

    def call(self, kind: Any, service: str, request: Any, timeout: float = 40.0) -> Any:
        client = self.create_client(kind, service)
        assert self.spin_until(client.service_is_ready, 20.0), f"no service {service}"
        future = client.call_async(request)
        assert self.spin_until(future.done, timeout), f"{service} does not answer"
        return future.result()

    def trigger(self, service: str) -> dict[str, Any]:
        response = self.call(Trigger, service, Trigger.Request())
        return {"success": response.success, "message": response.message}

    def enable(self) -> dict[str, Any]:
        response = self.call(SetBool, "piper/enable", SetBool.Request(data=True))
        return {"success": response.success, "message": response.message}

    def is_ready(self) -> bool:
        manager = self.reports.get("lifecycle_manager: nodes")
        return manager is not None and manager["message"] == "all nodes active" and "action_chunk" in self.newest


def observe_topics(node: Observer) -> dict[str, Any]:
    """Rates over a window, and the newest messages."""
    node.counts.clear()
    start = time.monotonic()
    node.spin_until(lambda: False, WINDOW)
    seconds = time.monotonic() - start
    cameras = {}
    for view in ("head", "left_wrist", "right_wrist"):
        topic = f"{view}/image_raw"
        image = node.newest[topic]
        cameras[view] = {
            "rate": node.counts.get(topic, 0) / seconds,
            "size": [image.height, image.width],
            "encoding": image.encoding,
            "age": node.ages[topic],
        }
    joints, chunk = node.newest["joint_states"], node.newest["action_chunk"]
    durations = [point.time_from_start for point in chunk.points]
    return {
        "cameras": cameras,
        "reported_rate": float(node.reports["sim_node: world"]["values"]["image_rate"]),
        "joint_states": {
            "rate": node.counts.get("joint_states", 0) / seconds,
            "names": list(joints.name),
            "finite": all(map(math.isfinite, joints.position)) and len(joints.position) == 14,
        },
        "action_chunk": {
            "count": max(1, node.counts.get("action_chunk", 0)),
            "names": list(chunk.joint_names),
            "age": node.ages["action_chunk"],
            "times": [duration.sec + duration.nanosec * 1e-9 for duration in durations],
        },
        "instruction": node.newest["instruction"].data,
    }


def observe_stop(node: Observer) -> dict[str, Any]:
    """Emergency stop and the way back."""
    name = "piper_node: control loop"
    found: dict[str, Any] = {"stop": node.trigger("piper/stop")}
    node.spin_until(lambda: "stopped" in node.reports[name]["message"], 5.0)
    found["diagnosis"] = node.reports[name]["message"]
    found["enable_before_reset"] = node.enable()
    found["reset"] = node.trigger("piper/reset")
    node.spin_until(lambda: False, 2.0)  # the arms fell: a joint that swings past its limit cannot be enabled
    found["enable_after_reset"] = node.enable()
    return found


def observe_reset(node: Observer) -> dict[str, Any]:
    """A new layout with a seed of our choice."""
    value = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=7)
    request = SetParameters.Request(parameters=[Parameter(name="next_seed", value=value)])
    assert node.call(SetParameters, "sim_node/set_parameters", request).results[0].successful
    positions: list[Sequence[float]] = []
    node.create_subscription(
        JointState, "joint_states", lambda message: positions.append(message.position), qos_profile_sensor_data
    )
    found = node.trigger("sim/reset")
    node.spin_until(lambda: False, 0.3)
    steps = itertools.pairwise(positions)
    found["largest_joint_jump"] = max(abs(a - b) for step in steps for a, b in zip(*step, strict=True))
    return found


def main() -> None:
    rclpy.init()
    node = Observer()
    assert node.spin_until(node.is_ready, READY_TIMEOUT), f"not ready: {node.reports}"
    found = observe_topics(node)
    found["home"] = node.trigger("piper/home")
    found["stop"] = observe_stop(node)
    found["reset"] = observe_reset(node)
    instruction = found["reset"]["message"].split(": ", 1)[1]
    planning, world = "policy_node: planning", "sim_node: world"
    node.spin_until(lambda: node.reports[world]["values"].get("seed") == "7", 20.0)
    node.spin_until(lambda: node.reports[planning]["values"].get("instruction") == instruction, 20.0)
    found["diagnostics"] = node.reports
    print(json.dumps(found))


if __name__ == "__main__":
    main()
