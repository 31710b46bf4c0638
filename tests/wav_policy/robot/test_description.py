"""The pictures of the robot (URDF, scene) have the simulator's kinematics, and those are the vendor's."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from wav_models.types import FloatArray
from wav_policy.robot.description import arm_bodies, cameras, joint_values
from wav_policy.robot.joints import JOINT_NAMES, SIDES
from wav_policy.robot.kinematics import JOINT_LIMITS, MAX_STROKE, forward
from wav_policy.robot.model import BASE_POSITIONS, cell_xml
from wav_policy.robot.urdf import FILE, robot_urdf

TENTH_OF_A_MILLIMETRE = 1e-4


def random_positions(number: int) -> FloatArray:
    low, high = np.append(JOINT_LIMITS[:, 0], 0.0), np.append(JOINT_LIMITS[:, 1], MAX_STROKE)
    return np.random.default_rng(0).uniform(np.tile(low, 2), np.tile(high, 2), (number, 14))


class Urdf:
    """Forward kinematics of a URDF, from its definition."""

    def __init__(self, text: str) -> None:
        self.joints = {joint.get("name", ""): joint for joint in ElementTree.fromstring(text).findall("joint")}

    def pose(self, link: str, values: dict[str, float]) -> FloatArray:
        """Pose [4, 4] of a link in the world."""
        for name, joint in self.joints.items():
            if joint.find("child").get("link") == link:  # type: ignore[union-attr]
                parent = joint.find("parent").get("link")  # type: ignore[union-attr]
                before = np.eye(4) if parent == "world" else self.pose(str(parent), values)
                return before @ self._origin(joint) @ self._motion(name, joint, values)
        raise KeyError(link)

    @staticmethod
    def _origin(joint: ElementTree.Element) -> FloatArray:
        origin = joint.find("origin")
        assert origin is not None
        pose = np.eye(4)
        roll, pitch, yaw = map(float, origin.get("rpy", "").split())
        pose[:3, :3] = turn("z", yaw) @ turn("y", pitch) @ turn("x", roll)
        pose[:3, 3] = [float(x) for x in origin.get("xyz", "").split()]
        return pose

    @staticmethod
    def _motion(name: str, joint: ElementTree.Element, values: dict[str, float]) -> FloatArray:
        pose = np.eye(4)
        if joint.get("type") == "fixed":
            return pose
        axis = np.array([float(x) for x in joint.find("axis").get("xyz", "").split()])  # type: ignore[union-attr]
        mimic = joint.find("mimic")
        value = values[name] if mimic is None else values[mimic.get("joint", "")] * float(mimic.get("multiplier", ""))
        if joint.get("type") == "prismatic":
            pose[:3, 3] = value * axis
        else:
            assert axis.tolist() == [0.0, 0.0, 1.0]
            pose[:3, :3] = turn("z", value)
        return pose


def turn(axis: str, angle: float) -> FloatArray:
    c, s = np.cos(angle), np.sin(angle)
    return {
        "x": np.array([[1, 0, 0], [0, c, -s], [0, s, c]]),
        "y": np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]),
        "z": np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]),
    }[axis]


@pytest.fixture(scope="module")
def urdf() -> Urdf:
    return Urdf(robot_urdf())


def test_the_file_is_what_the_generator_writes(repository: Path) -> None:
    """But for what processors round differently."""
    number = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")
    written, made = (repository / FILE).read_text(), robot_urdf()
    assert number.sub("#", written) == number.sub("#", made), "run `python -m wav_policy.robot.urdf`"
    numbers = [np.array(number.findall(text), dtype=np.float64) for text in (written, made)]
    np.testing.assert_allclose(*numbers, atol=1e-9)


def test_the_moving_joints_are_those_of_the_contract(urdf: Urdf) -> None:
    own = [name for name, joint in urdf.joints.items() if joint.get("type") != "fixed" and joint.find("mimic") is None]
    assert sorted(own) == sorted(JOINT_NAMES)
    for side in SIDES:
        for index, (low, high) in enumerate(JOINT_LIMITS):
            limit = urdf.joints[f"{side}_joint{index + 1}"].find("limit")
            assert limit is not None
            assert [float(limit.get(key, "")) for key in ("lower", "upper")] == pytest.approx([low, high])


def test_its_forward_kinematics_is_the_vendors(urdf: Urdf) -> None:
    sdk = pytest.importorskip("piper_sdk.kinematics.piper_fk").C_PiperForwardKinematics(dh_is_offset=1)
    for positions in random_positions(100):
        values = dict(zip(JOINT_NAMES, positions, strict=True))
        for arm, side in enumerate(SIDES):
            joints = positions[7 * arm : 7 * arm + 6]
            vendor = 1e-3 * np.array(sdk.CalFK(joints.tolist())[-1][:3])
            for index, pose in enumerate(forward(joints)):
                flange = urdf.pose(f"{side}_link{index + 1}", values)
                np.testing.assert_allclose(
                    flange[:3, 3], BASE_POSITIONS[side] + pose[:3, 3], atol=TENTH_OF_A_MILLIMETRE
                )
                np.testing.assert_allclose(flange[:3, :3], pose[:3, :3], atol=1e-6)
            np.testing.assert_allclose(flange[:3, 3], BASE_POSITIONS[side] + vendor, atol=TENTH_OF_A_MILLIMETRE)


def test_the_fingers_open_by_the_stroke(urdf: Urdf) -> None:
    values = dict.fromkeys(JOINT_NAMES, 0.0) | {"left_gripper": 0.05}
    left, right = (urdf.pose(f"left_finger{number}", values)[:3, 3] for number in (1, 2))
    assert np.linalg.norm(left - right) == pytest.approx(0.05)


def test_every_shape_of_the_simulated_arms_is_there() -> None:
    geoms = re.findall(r"<geom ", cell_xml(""))
    assert sum(len(body.shapes) for body in arm_bodies()) == len(geoms) - 1  # but the table


def test_camera_frames_look_where_the_simulated_cameras_look() -> None:
    """MuJoCo's cameras look along -z with y up, optical frames along z with y down."""
    from wav_policy.robot.physics import mujoco

    model = mujoco.MjModel.from_xml_string(cell_xml(""))
    data, urdf = mujoco.MjData(model), Urdf(robot_urdf())
    for positions in random_positions(5):
        values = joint_values(positions) | {
            f"{side}_gripper": float(positions[7 * i + 6]) for i, side in enumerate(SIDES)
        }
        for name, value in joint_values(positions).items():
            data.joint(name).qpos = value
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        for camera in cameras():
            pose, simulated = urdf.pose(camera.frame, values), data.camera(camera.view)
            np.testing.assert_allclose(pose[:3, 3], simulated.xpos, atol=TENTH_OF_A_MILLIMETRE)
            flipped = simulated.xmat.reshape(3, 3) @ np.diag([1.0, -1.0, -1.0])
            np.testing.assert_allclose(pose[:3, :3], flipped, atol=1e-4)
            assert camera.field_of_view == pytest.approx(np.radians(model.camera(camera.view).fovy[0]))
