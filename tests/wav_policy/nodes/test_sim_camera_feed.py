"""What the simulated cameras and adapters do when they fail, and what a policy makes of it."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import StartSystem

pytest.importorskip("rclpy")

from sensor_msgs.msg import CameraInfo

from wav_models.presets import WAV_TINY
from wav_policy.nodes.clients.system_client import SystemClient
from wav_policy.nodes.runtime.camera_subscriptions import CameraSubscriptions
from wav_policy.nodes.sim_node import parse_adapters
from wav_policy.nodes.sim_workers import damaged_jpeg_message
from wav_policy.policy.observation import IMAGE_TOPICS, NotReady, ObservationBuffer
from wav_policy.policy.observation_config import ObservationConfig
from wav_policy.robot.cameras import IMAGE_SIZES, VIEWS
from wav_policy.robot.description import cameras
from wav_policy.robot.joints import JOINT_DIM

PATIENCE = 60.0


def test_a_damaged_jpeg_still_looks_like_one_and_shows_something_else() -> None:
    columns = np.linspace(0.0, 250.0, 320)
    scene = np.stack([np.tile(columns, (240, 1)), np.tile(columns[::-1], (240, 1)), np.full((240, 320), 90.0)], axis=2)
    image, rng = scene.astype(np.uint8), random.Random(0)
    for _ in range(20):
        message = damaged_jpeg_message(image, "head", rng)
        assert bytes(message.data[:2]) == b"\xff\xd8"
        shown = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
        if shown is not None:
            assert (np.abs(shown[..., ::-1].astype(int) - image).max(axis=2) > 20).mean() > 0.05


def test_adapters_are_refused_by_name() -> None:
    assert parse_adapters("") == ("left", "right")
    assert parse_adapters("swapped") == ("right", "left")
    with pytest.raises(ValueError, match="fault.adapters is 'crossed'; 'swapped'"):
        parse_adapters("crossed")


class Viewer:
    """A policy's eyes on simulated cameras. The arms are not driven: nothing moves but the noise."""

    def __init__(self) -> None:
        self.client = SystemClient()
        config = ObservationConfig(max_image_age=2.0, max_image_skew=1.0)  # a busy machine renders slowly
        self.buffer = ObservationBuffer(WAV_TINY.horizon, WAV_TINY.latent.image_size, config)
        self.cameras = CameraSubscriptions(self.client.node, self.buffer, "auto")

    def complaint(self) -> str:
        """Why nothing can be seen, "" when all is well."""
        now = self.client.node.get_clock().now().nanoseconds * 1e-9
        self.buffer.add_joint_state(np.zeros(JOINT_DIM), now)
        try:
            self.buffer.require_fresh(now)
        except NotReady as error:
            return str(error)
        return ""

    def complaints(self, seconds: float) -> set[str]:
        """All that are made in that time."""
        made: set[str] = set()

        def note() -> bool:
            made.add(self.complaint())
            return False

        self.client.spin_until(note, seconds)
        return made

    def wait(self, condition: Callable[[str], bool]) -> None:
        assert self.client.spin_until(lambda: condition(self.complaint()), PATIENCE), self.complaint()


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory, repository: Path, start_system: StartSystem) -> Iterator[Viewer]:
    directory = tmp_path_factory.mktemp("cameras")
    command = [sys.executable, "-m", "wav_policy.nodes.sim_node", "--ros-args", "-p", "image_rate:=15.0"]
    for side in ("left", "right"):
        command += ["-p", f"can_{side}:={directory / side}"]
    with start_system(command, cwd=repository) as process:
        viewer = Viewer()
        try:
            yield viewer
        finally:
            viewer.cameras.destroy()
            viewer.client.close()
        process.terminate()
        assert process.wait(timeout=30) == 0


@pytest.mark.ros
@pytest.mark.sim
def test_a_camera_that_lives_is_not_blamed_though_nothing_moves(viewer: Viewer) -> None:
    viewer.wait(lambda complaint: complaint == "")
    assert not any("frozen" in complaint for complaint in viewer.complaints(2.0))


@pytest.mark.ros
@pytest.mark.sim
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("frozen", "frozen: the very same picture for"),
        ("damaged_jpeg", "newest message is"),
        ("dropped", "newest message is"),
    ],
)
def test_a_wrist_camera_that_fails_is_blamed_though_nothing_moves(viewer: Viewer, fault: str, words: str) -> None:
    viewer.wait(lambda complaint: complaint == "")
    viewer.client.set_parameter("sim_node", "fault.cameras", f"left_wrist {fault}")
    blamed = f"{IMAGE_TOPICS['left_wrist']}: {words}"
    viewer.wait(lambda complaint: complaint.startswith(blamed))
    assert all(complaint.startswith(blamed) for complaint in viewer.complaints(2.0)), "for as long as it lasts"
    viewer.client.set_parameter("sim_node", "fault.cameras", "")
    viewer.wait(lambda complaint: complaint == "")


@pytest.mark.ros
@pytest.mark.sim
def test_cameras_tell_their_calibration(viewer: Viewer) -> None:
    heard: dict[str, list[CameraInfo]] = {view: [] for view in VIEWS}
    for view, infos in heard.items():
        viewer.client.node.create_subscription(CameraInfo, f"{view}/camera_info", infos.append, 1)
    assert viewer.client.spin_until(lambda: all(heard.values()), PATIENCE)
    for camera in cameras():
        info = heard[camera.view][-1]
        assert (info.height, info.width) == IMAGE_SIZES[camera.view]
        assert info.header.frame_id == camera.frame == f"{camera.view}_camera"
        focal, centre = info.k[4], info.k[5]
        assert 2.0 * np.arctan(centre / focal) == pytest.approx(camera.field_of_view)
