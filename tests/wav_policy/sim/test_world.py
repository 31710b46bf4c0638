"""Physics, motors, threads and cameras of the simulated cell."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from wav_policy.robot.cameras import IMAGE_SIZES, VIEWS
from wav_policy.robot.kinematics import MAX_JOINT_VELOCITY, MAX_STROKE
from wav_policy.robot.model import home_positions
from wav_policy.sim.cameras import Cameras, RenderingError
from wav_policy.sim.tasks import make_task
from wav_policy.sim.tasks.bowl_scene import bowl_state
from wav_policy.sim.world import World

pytestmark = pytest.mark.sim


@pytest.fixture(scope="module")
def shared_world() -> World:
    return World(make_task("bowl"))


@pytest.fixture
def world(shared_world: World) -> World:
    shared_world.reset(0)
    return shared_world


def test_same_seed_same_world_and_motion(world: World) -> None:
    target = home_positions() + 0.1
    outcomes = []
    for seed in (5, 5, 6):
        world.reset(seed)
        layout = bowl_state(world, "red_bowl").bowl
        world.set_targets(target, 0.3)
        world.step(0.5)
        outcomes.append((layout, world.joint_positions, world.instruction))
    assert np.array_equal(outcomes[0][0], outcomes[1][0])
    assert np.array_equal(outcomes[0][1], outcomes[1][1])
    assert outcomes[0][2] == outcomes[1][2]
    assert not np.array_equal(outcomes[0][0], outcomes[2][0])


def test_arms_reach_their_targets(world: World) -> None:
    target = home_positions()
    target[[0, 2, 7, 9]] += [0.3, -0.2, -0.3, -0.2]
    target[[6, 13]] = [0.02, 0.05]
    world.set_targets(target, 0.5)
    world.step(1.5)
    assert np.abs(world.joint_positions - target).max() < 0.003


def test_set_points_never_exceed_the_velocity_limit(world: World) -> None:
    target = home_positions()
    target[0] += 1.5
    world.set_targets(target)
    fastest = 0.0
    for _ in range(50):
        world.step(0.02)
        fastest = max(fastest, float(np.abs(world.joint_velocities).max()))
    assert 0.5 * MAX_JOINT_VELOCITY < fastest < 1.15 * MAX_JOINT_VELOCITY


def test_targets_beyond_the_limits_are_clipped(world: World) -> None:
    target = home_positions()
    target[1], target[6] = -3.0, 0.2
    world.set_targets(target, 0.5)
    world.step(2.0)
    assert -0.02 < world.joint_positions[1] < 0.05
    assert world.joint_positions[6] == pytest.approx(MAX_STROKE, abs=0.002)


@pytest.mark.parametrize("bad", [np.zeros(13), np.full(14, np.nan)])
def test_malformed_targets_are_refused(world: World, bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="14 finite values"):
        world.set_targets(bad)


def test_steps_carry_their_remainder(world: World) -> None:
    for _ in range(300):
        world.step(0.0033)
    assert world.time == pytest.approx(0.99, abs=0.005)


def test_without_power_an_arm_falls_and_with_power_it_holds_where_it_is(world: World) -> None:
    left, right = world.arm("left"), world.arm("right")
    before = left.read().position, right.read().position
    height = world.tip("left")[2]
    left.set_power(False)
    world.step(0.4)
    fallen = left.read().position
    assert world.tip("left")[2] < height - 0.03
    assert np.abs(right.read().position - before[1]).max() < 0.005
    left.set_power(True)
    world.step(0.05)
    assert np.abs(left.read().position - fallen).max() < 0.3
    world.step(1.0)
    assert np.abs(left.read().velocity).max() < 0.01


def test_an_arm_is_commanded_alone(world: World) -> None:
    plant = world.arm("right")
    target = plant.read().position + 0.1 * np.eye(6)[0]
    plant.command(target, None)
    plant.command(None, 0.03)
    world.step(1.0)
    reading = plant.read()
    assert np.abs(reading.position - target).max() < 0.003
    assert reading.stroke == pytest.approx(0.03, abs=0.001)
    assert np.abs(world.arm("left").read().position - home_positions()[:6]).max() < 0.003
    with pytest.raises(ValueError, match="right arm"):
        plant.command(np.full(6, np.inf), None)


def test_the_grip_holds_by_friction_while_the_arm_shakes(world: World) -> None:
    operator = world.task.make_operator()
    while bowl_state(world, "red_bowl").clearance < 0.04:
        world.set_targets(operator.act(world), 0.1)
        world.step(0.1)
        assert world.time < 10
    held = world.joint_positions
    held[[6, 13]] = np.where(held[[6, 13]] < 0.02, 0.0, MAX_STROKE)
    for sign in (1, -1) * 10:
        world.set_targets(held + sign * 0.06 * np.eye(14)[[0, 7]].sum(axis=0), 0.15)
        world.step(0.15)
    assert bowl_state(world, "red_bowl").clearance > 0.025


def test_unknown_names_list_the_valid_ones(world: World) -> None:
    with pytest.raises(KeyError, match="left, right"):
        world.arm("middle")
    with pytest.raises(KeyError, match="left_wrist"):
        world.render("ceiling")
    with pytest.raises(ValueError, match="bowl"):
        make_task("juggling")


def test_every_view_is_rendered_at_its_size_and_changes_with_the_scene(world: World) -> None:
    first = world.render_all()
    assert {view: first[view].shape[:2] for view in VIEWS} == IMAGE_SIZES
    world.set_targets(home_positions() + 0.2, 0.3)
    world.step(0.6)
    second = world.render_all()
    for view in VIEWS:
        assert np.abs(first[view].astype(int) - second[view]).mean() > 1.0, view


def test_the_bowl_is_large_enough_for_a_64_pixel_model(world: World) -> None:
    import cv2

    for seed in range(5):
        world.reset(seed)
        small = cv2.resize(world.render("head"), (64, 64), interpolation=cv2.INTER_AREA).astype(int)
        bowl = (small[..., 0] > 120) & (small[..., 2] < 80)
        rows, columns = np.nonzero(bowl)
        assert np.ptp(columns) + 1 >= 10
        assert np.ptp(rows) + 1 >= 10


def test_a_snapshot_renders_in_another_thread_while_physics_runs(world: World) -> None:
    expected = world.render("head")
    snapshot = world.snapshot()
    images: list[np.ndarray] = []

    def render() -> None:
        cameras = Cameras(world.model)
        images.extend(cameras.render("head", snapshot) for _ in range(3))
        cameras.close()

    thread = threading.Thread(target=render)
    thread.start()
    world.set_targets(home_positions() + 0.3, 0.2)
    world.step(0.5)
    thread.join()
    assert len(images) == 3
    assert all(np.array_equal(image, expected) for image in images)


def test_cameras_of_another_thread_are_refused(world: World) -> None:
    world.render("head")
    errors: list[Exception] = []

    def render() -> None:
        try:
            world.render("head")
        except RenderingError as error:
            errors.append(error)

    thread = threading.Thread(target=render)
    thread.start()
    thread.join()
    assert "another thread" in str(errors[0])


def test_missing_opengl_names_the_packages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from wav_policy.robot.physics import mujoco

    def broken(*_args: object, **_kwargs: object) -> None:
        raise ImportError("no EGL")

    monkeypatch.setattr(mujoco, "Renderer", broken)
    with pytest.raises(RenderingError, match="libosmesa6"):
        Cameras(world.model)
