"""What is recorded, shown and read is one list of topics."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from wav_models import project_files
from wav_policy.bringup.access import POLICY_FILE, read_policy
from wav_policy.recording.bag_topics import BagTopics

RECORDED = yaml.safe_load(project_files.find("config/bag_topics.yaml").read_text())["topics"]
LAYOUT: dict[str, Any] = json.loads(project_files.find("config/foxglove_layout.json").read_text())
OF_OTHERS = {"/robot_description", "/tf", "/tf_static"}
"""robot_state_publisher's."""


def test_a_recording_can_be_replayed() -> None:
    topics = BagTopics()
    compressed = [
        f"{topic}/compressed" for topic in topics.images.values()
    ]  # of the simulation there are raw ones only
    assert {*topics.images.values(), *compressed, *topics.joints, topics.instruction} <= set(RECORDED)


def test_every_topic_is_one_that_the_nodes_use() -> None:
    used = {topic for access in read_policy(project_files.find(POLICY_FILE)).values() for topic in access.publish}
    used |= {topic for access in read_policy(project_files.find(POLICY_FILE)).values() for topic in access.subscribe}
    used = {f"/{topic.lstrip('/')}" for topic in used}
    assert not set(RECORDED) - used - OF_OTHERS


def test_the_foxglove_layout_shows_only_what_is_recorded_and_every_panel() -> None:
    text = json.dumps(LAYOUT["configById"])
    shown = set(re.findall(r'"(/[a-z_/]+)', text))
    assert len(shown) > 8
    assert shown <= set(RECORDED)
    assert set(re.findall(r'"(\w+![\w]+)"', json.dumps(LAYOUT["layout"]))) == set(LAYOUT["configById"])
