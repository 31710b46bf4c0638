"""The instruction in force is the one that was said last, whoever said it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

from wav_policy.nodes.messages.limits import MAX_TEXT
from wav_policy.nodes.messages.subscribing import subscribe
from wav_policy.policy.observation import INSTRUCTION_TOPIC

LATCHED_QOS: Final = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def make_instruction_publisher(node: Node) -> Publisher:
    """For `std_msgs/String`; what was said last is kept for those who come later."""
    return node.create_publisher(String, INSTRUCTION_TOPIC, LATCHED_QOS)


def subscribe_instruction(node: Node, on_instruction: Callable[[str], None]) -> Any:
    """The subscription; `on_instruction` is called with every instruction that is newer than those before.

    One of more than `MAX_TEXT` characters is refused, with the reason in the log, and the one in force stays.

    Several nodes speak (the simulation, the page, the one who records), and the middleware keeps what each said last
    for those who come later. They hear all of it, in any order. One that was said later than now tells nothing about
    order: the clock has been set back since.
    """
    newest = 0

    def on_message(message: String, info: Mapping[str, int]) -> None:
        nonlocal newest
        if fault := instruction_fault(message.data):
            node.get_logger().warning(f"{INSTRUCTION_TOPIC}: {fault}", throttle_duration_sec=5.0)
            return
        said = info["source_timestamp"]
        if said >= newest or newest > info["received_timestamp"]:
            newest = said
            on_instruction(message.data)

    return subscribe(node, String, INSTRUCTION_TOPIC, on_message, LATCHED_QOS)


def instruction_fault(text: str) -> str | None:
    """Why a text is no instruction; None where it is one."""
    return f"instruction of {len(text)} characters refused: at most {MAX_TEXT} fit" if len(text) > MAX_TEXT else None
