"""What RViz is told to show is what the nodes publish; RViz itself needs a full ROS 2."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from wav_policy.robot.cameras import VIEWS
from wav_policy.robot.description import WORLD

pytest.importorskip("rclpy")

from wav_policy.nodes import diagnostic_markers
from wav_policy.nodes.imagination import MONTAGE_TOPIC, image_topic
from wav_policy.nodes.messages import plan_messages
from wav_policy.policy.observation import IMAGE_TOPICS

pytestmark = pytest.mark.ros


def test_the_layout_shows_the_topics_of_the_contract(repository: Path) -> None:
    """Relative, so that it serves a robot in a namespace."""
    layout = yaml.safe_load((repository / "config/wav.rviz").read_text())["Visualization Manager"]
    assert layout["Global Options"]["Fixed Frame"] == WORLD
    topics = {display["Topic"]["Value"]: display["Topic"] for display in layout["Displays"] if "Topic" in display}
    cameras = {IMAGE_TOPICS[view] for view in VIEWS}
    imagined = {MONTAGE_TOPIC, plan_messages.MARKERS_TOPIC, *map(image_topic, VIEWS)}
    assert set(topics) == {*cameras, *imagined, diagnostic_markers.TOPIC}
    assert {topics[camera]["Reliability Policy"] for camera in cameras} == {"Best Effort"}, "as cameras publish"
    (robot,) = (display for display in layout["Displays"] if display["Class"].endswith("RobotModel"))
    assert robot["Description Topic"] == {
        "Value": "robot_description",  # of robot_state_publisher
        "Depth": 1,
        "Durability Policy": "Transient Local",
        "History Policy": "Keep Last",
        "Reliability Policy": "Reliable",
    }
