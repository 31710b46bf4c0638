"""The Gymnasium environment."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import wav_policy.sim  # noqa: F401  (registers)
from wav_policy.experiments.suites.catalogue import PROCESSES
from wav_policy.robot.model import home_positions
from wav_policy.sim.env import WavEnv

pytestmark = pytest.mark.sim


def test_gymnasiums_own_checker_passes() -> None:
    env = gymnasium.make("wav/PiperBowl-v0", render_mode="rgb_array")
    check_env(env.unwrapped)
    env.close()


def test_registration_does_not_load_the_simulator() -> None:
    code = "import sys, wav_policy.sim; assert 'mujoco' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_mujoco_comes_from_one_place(repository: Path) -> None:
    """It reads MUJOCO_GL when it is imported; imported without it, it draws no pictures for the rest of the process.

    Suites have processes, and a MuJoCo, of their own.
    """
    found = {
        path.relative_to(repository).as_posix()
        for folder in ("wav_policy", "tests")
        for path in (repository / folder).rglob("*.py")
        if path.parent != PROCESSES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.Import, ast.ImportFrom)) and "mujoco" in _imported(node) and not _for_types(path, node)
    }
    assert found == {"wav_policy/robot/physics.py"}


def _imported(node: ast.Import | ast.ImportFrom) -> set[str]:
    """First names of the packages."""
    names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    return {name.split(".")[0] for name in names}


def _for_types(path: Path, node: ast.stmt) -> bool:
    """Whether it stands below `if TYPE_CHECKING`."""
    before = path.read_text(encoding="utf-8").splitlines()[: node.lineno - 1]
    top = [line for line in before if line and not line.startswith((" ", "#"))]
    return node.col_offset > 0 and top[-1].startswith("if TYPE_CHECKING")


def test_same_seed_and_actions_give_the_same_episode() -> None:
    env = WavEnv()
    episodes = []
    for _ in range(2):
        observation, info = env.reset(seed=11)
        rows = [observation]
        for index in range(5):
            observation, *_ = env.step(home_positions() + 0.02 * index)
            rows.append(observation)
        episodes.append((rows, info["instruction"]))
    env.close()
    assert episodes[0][1] == episodes[1][1]
    for first, second in zip(episodes[0][0], episodes[1][0], strict=True):
        for key in first:
            assert np.array_equal(first[key], second[key]), key


def test_images_between_two_periods_repeat_and_change_nothing_else() -> None:
    often, seldom = WavEnv(), WavEnv(image_period=2)
    for env in (often, seldom):
        env.reset(seed=3)
    rows = [[env.step(home_positions() + 0.1)[0] for _ in range(2)] for env in (often, seldom)]
    first = [env.reset(seed=3)[0] for env in (often, seldom)]
    for env in (often, seldom):
        env.close()
    for view in ("head", "left_wrist", "right_wrist"):
        assert np.array_equal(first[1][view], rows[1][0][view])
        assert not np.array_equal(rows[0][0][view], rows[1][0][view])
        assert np.array_equal(rows[0][1][view], rows[1][1][view])
    for a, b in zip(*rows, strict=True):
        assert np.array_equal(a["joint_state"], b["joint_state"])


def test_the_operator_terminates_the_episode_with_reward_one() -> None:
    env = WavEnv()
    env.reset(seed=0)
    operator = env.world.task.make_operator()
    rewards = []
    for _ in range(150):
        _, reward, terminated, truncated, info = env.step(operator.act(env.world))
        rewards.append(reward)
        if terminated or truncated:
            break
    env.close()
    assert terminated
    assert not truncated
    assert info["success"]
    assert sum(rewards) == 1.0


def test_the_time_limit_truncates() -> None:
    env = WavEnv(max_episode_steps=3)
    env.reset(seed=0)
    flags = [env.step(home_positions())[2:4] for _ in range(3)]
    env.close()
    assert flags == [(False, False), (False, False), (False, True)]


def test_a_non_finite_action_is_refused() -> None:
    env = WavEnv()
    env.reset(seed=0)
    with pytest.raises(ValueError, match="finite"):
        env.step(np.full(14, np.nan))
    env.close()
