"""Quality of service of sensor data: offered reliably, so that every subscriber can have it, and asked for without."""

from __future__ import annotations

from typing import Final

from rclpy.qos import QoSProfile, ReliabilityPolicy

SENSOR_DATA: Final = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
"""Of publishers (REP 2003). One that is best-effort sends nothing to a subscriber with ROS's defaults; subscribers take
`qos_profile_sensor_data`, which any publisher satisfies."""

NEWEST: Final = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Of who looks at the newest message only."""
