"""Three cameras over DDS into policy and recorder: what arrives is counted, and shown."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from wav_policy.experiments.camera_load import NODES, camera_text, measure_cameras
from wav_policy.policy.observation import IMAGE_TOPICS
from wav_policy.robot.cameras import VIEWS

pytestmark = pytest.mark.ros


@pytest.mark.slow
def test_raw_pictures_above_half_a_megabyte_arrive(repository: Path, tmp_path: Path) -> None:
    """Of three cameras at 10 Hz, so that a busy machine is not what is measured; one in ten arrived in 512 KiB."""
    measured = measure_cameras((640, 480), 10.0, "rgb8", 5.0, tmp_path, repository / "checkpoints/wav-tiny")
    assert measured["bytes"] == 640 * 480 * 3
    for node in NODES:
        for topic in IMAGE_TOPICS.values():
            assert measured["taken"][node][topic] > 0.9 * measured["published"][topic] > 20


def test_what_was_measured_is_shown() -> None:
    topics = [IMAGE_TOPICS[view] for view in VIEWS]
    measured = {
        "size": [640, 480],
        "rate": 30.0,
        "encoding": "jpeg",
        "bytes": 54414,
        "seconds": 15.2,
        "load_before": 1.0,
        "shares": {"cameras": {"main thread": 0.1}, "policy_node": {"main thread": 0.05, "subscriptions": 0.25}},
        "published": dict.fromkeys(topics, 100),
        "taken": {"policy_node": dict.fromkeys(topics, 99)},
        "age_ms": {"a plan begins": [12.0, 34.0]},
        "recorded": {"frames": 150, "bridged": {"head": 2}},
    }
    lines = camera_text(measured).splitlines()
    assert lines[0].startswith("3 x 640 x 480 px, jpeg (54414 bytes) at 30 Hz for 15 s")
    assert "| cameras | 10.0 |  | 10.0 |" in lines
    assert "| policy_node | 5.0 | 25.0 | 30.0 |" in lines
    assert "| policy_node | 99 | 99 | 99 |" in lines
    assert "| a plan begins | 12.0 | 34.0 |" in lines
    assert lines[-1] == "recorded: 150 frames, bridged: head 2"
