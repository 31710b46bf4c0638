"""gym-aloha's cube transfer as an environment process; runs in the virtual environment of `wav suite install aloha`.

Physics alone: gym-aloha's own step renders three cameras every time; here images are rendered only when asked for.
"""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("MUJOCO_GL", "egl")

import numpy as np
from aloha_operator import CubeTransfer  # type: ignore[import-not-found]
from gym_aloha.env import AlohaEnv  # type: ignore[import-not-found]
from gym_aloha.tasks.sim import BOX_POSE, TransferCubeTask  # type: ignore[import-not-found]
from gym_aloha.utils import sample_box_pose  # type: ignore[import-not-found]
from serve import Reply, serve  # type: ignore[import-not-found]

SUCCESS = 4
"""Reward of gym-aloha where the left gripper holds the cube and nothing touches the table."""
FIRST_EVALUATED, NUM_EVALUATED = 100_000, 50
"""Seeds of the cube's pose in the states that are evaluated: demonstrations take those before and after them."""


class Aloha:
    """The cube transfer."""

    def make(self, suite: str, task: int) -> Reply:
        """Build the environment."""
        if suite != "aloha_transfer_cube" or task:
            raise ValueError(f"no task {task} of {suite!r}; there is aloha_transfer_cube, task 0")
        self._env = AlohaEnv(task="transfer_cube")._env
        return {"instruction": "pick up the cube with the right arm and hand it over to the left arm"}, ()

    def reset(self, state: int | None, seed: int) -> Reply:
        """Draw the cube's pose: evaluation's states are seeds of their own."""
        pose = FIRST_EVALUATED + state if state is not None else seed + NUM_EVALUATED * (seed >= FIRST_EVALUATED)
        BOX_POSE[0] = sample_box_pose(pose)
        self._time = self._env.reset()
        return self._answer()

    def step(self, action: np.ndarray) -> Reply:
        """One step of 1/50 s: joint targets, grippers 0 closed to 1 open."""
        self._time = self._env.step(action)
        return self._answer()

    def render(self, size: int) -> Reply:
        """The camera above, uint8 [3/4 size, size, 3]."""
        image = self._env.physics.render(height=size * 3 // 4, width=size, camera_id="top")
        return {}, [np.ascontiguousarray(image)]

    def operate(self, seed: int, quality: str, hold: int) -> Reply:
        """Begin a demonstration of the scripted operator from here."""
        self._operator = CubeTransfer(self._env.physics, quality, np.random.default_rng(seed), hold)
        return {}, ()

    def demonstrate(self) -> Reply:
        """What the scripted operator would do now."""
        action = self._operator.act()
        return {"finished": self._operator.phases.finished, "errs": self._operator.phases.errs}, [action]

    def _answer(self) -> Reply:
        state = np.asarray(self._time.observation["qpos"], dtype=np.float64)
        return {"success": self._time.reward == SUCCESS}, [state]


def _without_images(task: TransferCubeTask, physics: Any) -> dict[str, Any]:
    return {"qpos": task.get_qpos(physics)}


TransferCubeTask.get_observation = _without_images

if __name__ == "__main__":
    serve(Aloha())
