"""The instruction in force is the one that was said last, whoever said it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

from wav_policy.nodes.messages.subscribing import subscribe
from wav_policy.policy.instruction import instruction_fault
from wav_policy.policy.observation import INSTRUCTION_TOPIC

LATCHED_QOS: Final = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)

_KEPT: Final = 1_000_000_000
"""A message older than this at its arrival was kept for late comers [ns]."""


def make_instruction_publisher(node: Node) -> Publisher:
    """For `std_msgs/String`; what was said last is kept for those who come later."""
    return node.create_publisher(String, INSTRUCTION_TOPIC, LATCHED_QOS)


class Succession:
    """Which message was said last. What arrives when it is said is the last word: clocks may have been set back since
    the one before. What was kept for late comers counts if it was said after all that was heard."""

    def __init__(self) -> None:
        self._newest = 0

    def is_newest(self, said: int, arrived: int) -> bool:
        """Look at every message once, in the order of arrival.

        Args:
            said: when it was sent, by the sender's wall clock [ns].
            arrived: when it came, by ours [ns].
        """
        if abs(arrived - said) > _KEPT and said < self._newest:
            return False
        self._newest = said
        return True


def subscribe_instruction(node: Node, on_instruction: Callable[[str], None]) -> Any:
    """The subscription; `on_instruction` is called with every instruction that is newer than those before.

    One of more than `MAX_TEXT` characters is refused, with the reason in the log, and the one in force stays.

    Several nodes speak (the simulation, the page, the one who records), and the middleware keeps what each said last
    for those who come later. They hear all of it, in any order: `Succession` puts it right.
    """
    succession = Succession()

    def on_message(message: String, info: Mapping[str, int]) -> None:
        if fault := instruction_fault(message.data):
            node.get_logger().warning(f"{INSTRUCTION_TOPIC}: {fault}", throttle_duration_sec=5.0)
            return
        if succession.is_newest(info["source_timestamp"], info["received_timestamp"]):
            on_instruction(message.data)

    return subscribe(node, String, INSTRUCTION_TOPIC, on_message, LATCHED_QOS)
