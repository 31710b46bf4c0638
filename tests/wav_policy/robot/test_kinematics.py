"""The geometry agrees with the vendor's own, and the inverse with the forward."""

from __future__ import annotations

import numpy as np
import pytest

from wav_policy.robot.joints import SIDES
from wav_policy.robot.kinematics import JOINT_LIMITS, UnreachableError, forward, inverse, tip_position
from wav_policy.robot.model import BASE_POSITIONS

NUM_CONFIGURATIONS = 1000


@pytest.fixture(scope="module")
def configurations() -> np.ndarray:
    """Random joint angles within the limits [1000, 6]."""
    rng = np.random.default_rng(0)
    return rng.uniform(JOINT_LIMITS[:, 0], JOINT_LIMITS[:, 1], (NUM_CONFIGURATIONS, 6))


@pytest.fixture(scope="module")
def vendor_flanges(configurations: np.ndarray) -> np.ndarray:
    """Flange positions of the vendor's forward kinematics [1000, 3], m; it computes in mm."""
    from piper_sdk.kinematics import C_PiperForwardKinematics

    vendor = C_PiperForwardKinematics(0x01)
    return np.array([vendor.CalFK(list(joints))[-1][:3] for joints in configurations]) / 1000


def test_forward_kinematics_agree_with_the_vendors(configurations: np.ndarray, vendor_flanges: np.ndarray) -> None:
    ours = np.array([forward(joints)[-1][:3, 3] for joints in configurations])
    assert np.abs(ours - vendor_flanges).max() < 1e-6


@pytest.mark.sim
@pytest.mark.parametrize("side", SIDES)
def test_simulated_arm_agrees_with_the_vendors(
    side: str, configurations: np.ndarray, vendor_flanges: np.ndarray
) -> None:
    from wav_policy.sim.tasks import make_task
    from wav_policy.sim.world import World

    world = World(make_task("bowl"))
    arm = slice(0, 6) if side == "left" else slice(7, 13)
    positions = world.joint_positions
    flanges = []
    for joints in configurations:
        positions[arm] = joints
        world.set_joints(positions)
        flanges.append(world.data.body(f"{side}_link6").xpos - BASE_POSITIONS[side])
    assert np.linalg.norm(flanges - vendor_flanges, axis=1).max() < 1e-4  # 0.1 mm


def test_inverse_reaches_the_point_within_limits_and_upright_where_possible() -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        radius, turn, height = rng.uniform(0.15, 0.40), rng.uniform(-1.2, 1.2), rng.uniform(-0.05, 0.15)
        tip = np.array([radius * np.cos(turn), radius * np.sin(turn), height])
        joints = inverse(tip, roll=0.5)
        assert np.allclose(tip_position(joints), tip, atol=1e-9)
        assert (joints >= JOINT_LIMITS[:, 0] - 1e-9).all()
        assert (joints <= JOINT_LIMITS[:, 1] + 1e-9).all()
        if height < 0.03:
            assert forward(joints)[-1][2, 2] == pytest.approx(-1.0)


def test_inverse_is_continuous_where_the_gripper_begins_to_lean() -> None:
    heights = np.linspace(0.0, 0.2, 401)
    path = np.array([inverse([0.3, 0.0, height]) for height in heights])
    assert np.degrees(np.abs(np.diff(path, axis=0)).max()) < 1.0


def test_a_point_out_of_reach_is_named() -> None:
    with pytest.raises(UnreachableError, match=r"0\.900"):
        inverse([0.9, 0.0, 0.1])
