"""What every task must offer, and the predicates of drawer and towel."""

from __future__ import annotations

import numpy as np
import pytest

from wav_models.networks.text_encoder import make_text_encoder
from wav_models.presets import WAV_TINY
from wav_policy.recording.dry_run import describe, dry_run
from wav_policy.recording.simulated_operator import SimulatedDemonstrator
from wav_policy.robot.model import home_positions
from wav_policy.sim import ENVIRONMENTS
from wav_policy.sim.demonstrate import LONGEST_VISIT, NO_NOISE, Demonstration
from wav_policy.sim.operator import ACTION_PERIOD
from wav_policy.sim.tasks import TASKS, make_task
from wav_policy.sim.tasks.bowl_scene import HELD_OUT_ABS_Y, HELD_OUT_X
from wav_policy.sim.tasks.drawer_scene import CLOSED, TRAVEL, drawer_state
from wav_policy.sim.tasks.towel_scene import COVERAGE, FOLDS, HELD_OUT_FOLDS, SIZE, covered_area, fold
from wav_policy.sim.world import World

pytestmark = pytest.mark.sim

CHOSEN = {"bowls": 0.95, "drawer": 0.90, "towel": 0.80}
"""Tasks of the multi-task model, and the share of seeds in which their operators must succeed."""


@pytest.fixture(scope="module", params=CHOSEN)
def world(request: pytest.FixtureRequest) -> World:
    return World(make_task(request.param))


@pytest.fixture(scope="module")
def drawer() -> World:
    return World(make_task("drawer"))


def play(demonstration: Demonstration) -> int:
    return sum(1 for _ in demonstration.steps(images=False))


def test_every_task_has_an_environment_and_phrasings_of_its_own() -> None:
    assert set(ENVIRONMENTS.values()) == set(TASKS)
    seen: set[str] = set()
    for name in CHOSEN:
        task = make_task(name)
        assert len(set(task.instructions)) >= 5
        assert len(set(task.held_out_instructions)) >= 2
        phrasings = {*task.instructions, *task.held_out_instructions}
        assert len(phrasings) == len(task.instructions) + len(task.held_out_instructions)
        assert not seen & phrasings
        seen |= phrasings


def test_every_phrasing_fits_the_text_encoder_of_the_small_model() -> None:
    encoder = make_text_encoder(WAV_TINY)
    for name in TASKS:
        task = make_task(name)
        encoder([*task.instructions, *task.held_out_instructions])  # raises, naming one that is too long


def test_an_unknown_task_is_named_with_the_closest() -> None:
    with pytest.raises(ValueError, match="'drawers'; did you mean 'drawer'"):
        make_task("drawers")


def test_some_demonstrations_begin_exactly_where_the_robot_does(drawer: World) -> None:
    starts = [next(Demonstration(drawer, seed).steps(images=False)).state for seed in range(40)]
    distances = np.array([np.abs(start - home_positions()).max() for start in starts])
    assert 4 <= (distances < 1e-9).sum() <= 18
    assert (distances > 0.02).sum() >= 20


def test_the_operator_succeeds_and_leaves_every_lapse_unsuccessful(world: World) -> None:
    """One clean seed; and one failing seed, whose demonstration ends long before the time limit."""
    skilled = Demonstration(world, 0, NO_NOISE, "skilled")
    play(skilled)
    assert world.success()
    failing = Demonstration(world, 0, None, "failing")
    steps = play(failing)
    assert failing.failure is not None
    assert not world.success()
    assert steps < 10 * world.task.time_limit


@pytest.mark.parametrize("seed", [0, 4])
def test_the_operator_goes_on_from_where_a_visit_leaves_the_arms(drawer: World, seed: int) -> None:
    left: list[np.ndarray] = []

    def visit(world: World, its_seed: int, steps: int) -> int:
        """The operator itself, which would have succeeded had it had the time."""
        operator = world.task.make_operator()
        taken = 0
        while taken < steps and not world.success():
            world.set_targets(operator.act(world), ACTION_PERIOD)
            world.step(ACTION_PERIOD)
            taken += 1
        left.append(world.joint_positions)
        return taken

    demonstration = Demonstration(drawer, seed, NO_NOISE, "skilled", visit)
    steps = list(demonstration.steps(images=False))
    assert drawer.success()
    assert 0 < demonstration.visited_steps <= LONGEST_VISIT * drawer.task.time_limit / ACTION_PERIOD
    np.testing.assert_array_equal(steps[0].state, left[-1])
    np.testing.assert_allclose([step.time for step in steps], ACTION_PERIOD * np.arange(len(steps)), atol=1e-9)
    assert np.abs(left[-1] - home_positions()).max() > 0.1, "it is no start"


@pytest.mark.parametrize("least", [3, -1])
def test_a_visit_that_succeeds_is_given_half_the_time(
    drawer: World, monkeypatch: pytest.MonkeyPatch, least: int
) -> None:
    """Down to none at all, where the task is done from the start."""
    given: list[int] = []

    def visit(world: World, seed: int, steps: int) -> int:
        given.append(steps)
        return steps

    monkeypatch.setattr(drawer, "success", lambda: given[-1] > least if given else False)
    demonstration = Demonstration(drawer, 0, NO_NOISE, "skilled", visit)
    next(demonstration.steps(images=False))
    assert given == [given[0] >> halvings for halvings in range(len(given))]
    assert demonstration.visited_steps == given[-1] <= max(least, 0) < given[-2]


def test_no_training_layout_is_held_out() -> None:
    trained, held_out = World(make_task("bowls")), World(make_task("bowls"), split="held_out", phrasing="held_out")
    for seed in range(40):
        for world, expected in ((trained, False), (held_out, True)):
            world.reset(seed)
            bowls = [world.data.body(name).xpos for name in ("red_bowl", "green_bowl")]
            inside = [
                HELD_OUT_X[0] <= x <= HELD_OUT_X[1] and HELD_OUT_ABS_Y[0] <= abs(y) <= HELD_OUT_ABS_Y[1]
                for x, y, _ in bowls
            ]
            assert any(inside) == expected
        assert held_out.instruction in held_out.task.held_out_instructions


def test_the_same_seed_lays_both_bowl_tasks_out_alike() -> None:
    red, green = World(make_task("bowls")), World(make_task("green_bowl"))
    red.reset(5)
    green.reset(5)
    assert np.array_equal(red.data.qpos, green.data.qpos)
    assert "red" in red.instruction
    assert "green" in green.instruction


def put_away(world: World, block: str, opening: float) -> None:
    """Put the drawer to an opening [m], and a block into its tray; the drawer was closed."""
    world.data.joint("drawer").qpos[0] = -opening
    world.data.joint(block).qpos[:3] = drawer_state(world, block).front + np.array([0.06 - opening, 0.0, 0.04])
    world.data.joint(block).qvel[:] = 0.0


@pytest.mark.parametrize(
    ("block", "opening", "expected"),
    [("yellow_block", 0.0, True), ("yellow_block", 2 * CLOSED, False), ("cyan_block", 0.0, False)],
    ids=["closed", "ajar", "wrong block"],
)
def test_the_drawer_must_be_closed_on_the_yellow_block(
    drawer: World, block: str, opening: float, expected: bool
) -> None:
    drawer.reset(0)
    put_away(drawer, block, TRAVEL)
    drawer.step(0.3)
    drawer.data.joint("drawer").qpos[0] = -opening
    drawer.data.joint(block).qpos[0] += TRAVEL - opening
    drawer.step(0.6)
    assert drawer.success() == expected


def test_both_blocks_in_the_drawer_are_no_success(drawer: World) -> None:
    drawer.reset(0)
    for block, y in (("yellow_block", 0.035), ("cyan_block", -0.035)):
        put_away(drawer, block, 0.0)
        drawer.data.joint(block).qpos[1] += y
    drawer.step(0.8)
    assert drawer_state(drawer, "yellow_block").inside
    assert drawer_state(drawer, "cyan_block").inside
    assert not drawer.success()


def flat_grid() -> np.ndarray:
    line = np.linspace(-SIZE / 2, SIZE / 2, 10)
    return np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)


@pytest.mark.parametrize(("kind", "rows"), FOLDS)
def test_a_fold_covers_what_its_mirror_image_leaves(kind: str, rows: int) -> None:
    """Closed form: rows of an edge, or half the square of the rows at a corner; and never a success at the start."""
    folded, over = fold(flat_grid(), kind, rows)
    share = rows / 9 if "_" not in kind else (rows / 9) ** 2 / 2
    covered = covered_area(folded) / covered_area(flat_grid())
    assert covered == pytest.approx(1.0 - share, abs=0.04)
    assert covered < COVERAGE - 0.02
    assert over.any()
    lengths = np.linalg.norm(np.diff(folded.reshape(10, 10, 2), axis=0), axis=-1)
    assert lengths == pytest.approx(SIZE / 9)


def test_held_out_layouts_have_folds_that_training_layouts_lack() -> None:
    assert set(HELD_OUT_FOLDS) < set(FOLDS)
    held_out, shapes = World(make_task("towel"), split="held_out"), set()
    for seed in range(30):
        held_out.reset(seed)
        vertices = held_out.task.vertices(held_out)
        shapes.add(tuple(np.round(np.sort(np.linalg.norm(vertices - vertices.mean(axis=0), axis=1)), 3)))
    assert len(shapes) == len(HELD_OUT_FOLDS)


def test_the_same_seed_gives_the_same_failing_episode() -> None:
    world = World(make_task("bowls"))
    first, again = (
        np.array([step.action for step in Demonstration(world, 3, quality="failing").steps(images=False)])
        for _ in range(2)
    )
    assert np.array_equal(first, again)


@pytest.mark.slow
@pytest.mark.parametrize("task", CHOSEN)
def test_operators_succeed_over_100_seeds(task: str) -> None:
    from functools import partial

    results = dry_run(partial(SimulatedDemonstrator().play, task, 1.0), range(100), 2)
    assert sum(result.success for result in results) >= 100 * CHOSEN[task], describe(results)
