"""LIBERO and LIBERO-PRO as an environment process; runs in the virtual environment of `wav suite install libero`.

As the published evaluations have it: actions of OSC_POSE at 20 Hz, ten waiting steps with an open gripper, both images
turned by 180 degrees, state of position, axis-angle and both fingers. Images are rendered only when asked for, without
multisampling, which would double the time that they take without a GPU.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("MUJOCO_GL", "egl")

import numpy as np
from libero.libero import benchmark, get_libero_path  # type: ignore[import-not-found]
from libero.libero.envs import OffScreenRenderEnv  # type: ignore[import-not-found]
from libero_operator import PickAndPlace  # type: ignore[import-not-found]
from serve import Reply, serve  # type: ignore[import-not-found]

WAITING_STEPS = 10
WAIT = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0])
CAMERAS = ("agentview", "robot0_eye_in_hand")


class Libero:
    """One task at a time."""

    def __init__(self) -> None:
        self._env: Any = None

    def make(self, suite: str, task: int) -> Reply:
        """Build the task's environment; another one is closed."""
        known = benchmark.get_benchmark_dict()
        if suite not in known:
            raise ValueError(f"no suite {suite!r}; there are {', '.join(sorted(known))}")
        tasks = known[suite]()
        if not 0 <= task < tasks.n_tasks:
            raise ValueError(f"{suite} has the tasks 0 to {tasks.n_tasks - 1}, not {task}")
        described = tasks.get_task(task)
        self._states = np.asarray(tasks.get_task_init_states(task))
        path = Path(get_libero_path("bddl_files")) / described.problem_folder / described.bddl_file
        if self._env is not None:
            self._env.close()
        self._env = OffScreenRenderEnv(bddl_file_name=str(path), use_camera_obs=False, hard_reset=False)
        self._env.sim.model._model.vis.quality.offsamples = 0
        self._env.sim._render_context_offscreen._set_mujoco_context_and_buffers()
        return {
            "instruction": described.language,
            "num_tasks": tasks.n_tasks,
            "num_states": len(self._states),
        }, ()

    def reset(self, state: int | None, seed: int) -> Reply:
        """Lay out one of the task's initial states, or, where it is None, objects drawn anew by `seed`."""
        self._env.seed(seed)
        self._seen = self._env.reset()
        if state is not None:
            if not 0 <= state < len(self._states):
                raise ValueError(f"the task has the initial states 0 to {len(self._states) - 1}, not {state}")
            self._seen = self._env.set_init_state(self._states[state])
        for _ in range(WAITING_STEPS):
            self._seen, _, _, _ = self._env.step(WAIT)
        return self._answer(False)

    def step(self, action: np.ndarray) -> Reply:
        """One step of 1/20 s."""
        self._seen, _, done, _ = self._env.step(action)
        return self._answer(bool(done))

    def render(self, size: int) -> Reply:
        """Both cameras, uint8 [size, size, 3]."""
        images = [self._env.sim.render(width=size, height=size, camera_name=name) for name in CAMERAS]
        return {}, [np.ascontiguousarray(image[::-1, ::-1]) for image in images]

    def operate(self, seed: int, quality: str, hold: int) -> Reply:
        """Begin a demonstration of the scripted operator from here."""
        first, second = self._env.obj_of_interest[:2]
        self._operator = PickAndPlace(self._env, first, second, quality, np.random.default_rng(seed), hold)
        return {}, ()

    def demonstrate(self) -> Reply:
        """What the scripted operator would do now."""
        action = self._operator.act(self._seen)
        return {"finished": self._operator.phases.finished, "errs": self._operator.phases.errs}, [action]

    def _answer(self, success: bool) -> Reply:
        return {"success": success}, [proprioception(self._seen)]


def proprioception(seen: dict[str, Any]) -> np.ndarray:
    """Position [m], axis-angle [rad] and fingers [m], shape [8]."""
    quaternion = np.asarray(seen["robot0_eef_quat"], dtype=np.float64)
    w = min(1.0, max(-1.0, float(quaternion[3])))
    sine = math.sqrt(1.0 - w * w)
    rotation = np.zeros(3) if sine < 1e-9 else quaternion[:3] * 2.0 * math.acos(w) / sine
    parts = (seen["robot0_eef_pos"], rotation, seen["robot0_gripper_qpos"])
    return np.concatenate(parts).astype(np.float64)


if __name__ == "__main__":
    serve(Libero())
