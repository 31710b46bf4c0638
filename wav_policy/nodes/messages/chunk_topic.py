"""Quality of service of `action_chunk`: who commands the arms must show, many times a second, that it is still there.

A chunk covers 1.6 s of motion. A policy that dies, freezes or goes blind must not steer the arms that long, so the
topic carries DDS liveliness: the publisher asserts it by hand every `HEARTBEAT_PERIOD` as long as the chunk in force
still stands, and `piper_node` holds once `LEASE` has passed without. It notices a killed process, a stopped one and
one whose executor hangs alike; no operating system has to report anything.
"""

from __future__ import annotations

from typing import Final

from rclpy.duration import Duration
from rclpy.qos import LivelinessPolicy, QoSProfile, ReliabilityPolicy

CHUNK_TOPIC: Final = "action_chunk"
LEADERS: Final = ("policy_node", "teleop_node")
"""Whoever of this project tells the arms what to do; the arms hold as soon as nobody does."""

LEASE: Final = 0.07
"""Silence after which the publisher counts as lost [s]. With one control tick it stays below 100 ms."""

HEARTBEAT_PERIOD: Final = 0.015
"""Between assertions [s]. Four may be late or lost in a row before the lease runs out."""


def _qos(liveliness: LivelinessPolicy) -> QoSProfile:
    return QoSProfile(
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE,
        liveliness=liveliness,
        liveliness_lease_duration=Duration(seconds=LEASE),
    )


OFFERED_QOS: Final = _qos(LivelinessPolicy.MANUAL_BY_TOPIC)
"""Of publishers that assert liveliness themselves."""

REQUESTED_QOS: Final = _qos(LivelinessPolicy.AUTOMATIC)
"""Of `piper_node`'s subscription; also of publishers that let the middleware assert for them."""
