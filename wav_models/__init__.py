"""The World-Value-Action model: networks, planner, data, training, engines. No ROS, no CAN, no simulator."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
"""ONNX Runtime 1.31 otherwise reports its use to its maker over the network, from the moment it is imported."""
