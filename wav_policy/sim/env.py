"""The cell as a Gymnasium environment: 10 Hz, absolute joint targets in, three images and joint positions out."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from wav_models.types import FloatArray, ImageArray
from wav_policy.robot.cameras import IMAGE_SIZES
from wav_policy.robot.joints import JOINT_DIM
from wav_policy.sim.operator import ACTION_PERIOD
from wav_policy.sim.tasks import make_task
from wav_policy.sim.world import HIGHEST_POSITIONS, LOWEST_POSITIONS, World

Info = dict[str, Any]
ObservationDict = dict[str, Any]


class WavEnv(gymnasium.Env[ObservationDict, FloatArray]):
    """Two Piper arms and one task.

    Observation: "head" uint8 [240, 424, 3], "left_wrist" and "right_wrist" uint8 [240, 320, 3], "joint_state" float64
    [14] rad and m. Action: absolute joint targets [14], reached linearly within the step. Reward 1 and termination on
    success; truncation after `max_episode_steps`. Info: "instruction", "success", "time". The same seed gives the same
    episode.

    Args:
        task: name of the task.
        max_episode_steps: steps of 0.1 s until truncation; the task's own time limit if None.
        render_mode: "rgb_array" makes `render()` return the head view; None makes it unavailable.
        split: "train" or "held_out" layouts.
        phrasing: "train" or "held_out" phrasings of the instruction.
        image_period: steps of 0.1 s between images; steps between them repeat the last ones, which costs no rendering.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 (an instance variable in the base class)

    def __init__(
        self,
        task: str = "bowl",
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        split: str = "train",
        phrasing: str = "train",
        image_period: int = 1,
    ):
        if image_period < 1:
            raise ValueError(f"image_period is {image_period}; an integer >= 1 fits")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"unknown render_mode {render_mode!r}; choose rgb_array or None")
        self.render_mode = render_mode
        self.world = World(make_task(task), split, phrasing)
        self._max_steps = max_episode_steps or round(self.world.task.time_limit / ACTION_PERIOD)
        self._num_steps = 0
        self._image_period = image_period
        self._images: dict[str, ImageArray] = {}
        self.action_space = spaces.Box(LOWEST_POSITIONS, HIGHEST_POSITIONS, dtype=np.float64)
        images: dict[str, spaces.Space[Any]] = {
            view: spaces.Box(0, 255, (*size, 3), dtype=np.uint8) for view, size in IMAGE_SIZES.items()
        }
        # Unbounded: measured joints may overshoot their limits a little.
        joints = spaces.Box(-np.inf, np.inf, (JOINT_DIM,), dtype=np.float64)
        self.observation_space = spaces.Dict({**images, "joint_state": joints})

    def reset(self, *, seed: int | None = None, options: Info | None = None) -> tuple[ObservationDict, Info]:
        """Lay out the task at random; without `seed`, from the environment's own generator."""
        super().reset(seed=seed)
        self.world.reset(int(self.np_random.integers(2**31)) if seed is None else seed)
        self._num_steps = 0
        return self._observation(), self._info()

    def step(self, action: FloatArray) -> tuple[ObservationDict, float, bool, bool, Info]:
        """Move towards `action` [14] for 0.1 s.

        Raises:
            ValueError: wrong shape or non-finite values.
        """
        self.world.set_targets(action, ACTION_PERIOD)
        self.world.step(ACTION_PERIOD)
        return self.finish_step()

    def finish_step(self) -> tuple[ObservationDict, float, bool, bool, Info]:
        """Count a step: what `step` returns, for whoever has moved `world` on by 0.1 s."""
        self._num_steps += 1
        success = self.world.success()
        truncated = not success and self._num_steps >= self._max_steps
        return self._observation(), float(success), success, truncated, self._info()

    def render(self) -> np.ndarray | None:
        """The head view when `render_mode` is "rgb_array"."""
        return self.world.render("head") if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Free the renderer."""
        self.world.close()

    def _observation(self) -> ObservationDict:
        if self._num_steps % self._image_period == 0:
            self._images = self.world.render_all()
        return {**self._images, "joint_state": self.world.joint_positions}

    def _info(self) -> Info:
        world = self.world
        return {"instruction": world.instruction, "success": world.success(), "time": world.time}
