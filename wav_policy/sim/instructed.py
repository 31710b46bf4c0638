"""One task's scene and predicate under another task's instruction: does the policy listen?"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from wav_models.types import FloatArray
from wav_policy.sim.env import Info, ObservationDict
from wav_policy.sim.tasks import make_task


class InstructedEnv(gymnasium.Wrapper[ObservationDict, FloatArray, ObservationDict, FloatArray]):
    """Success stays that of the environment's own task; what is asked for is another one's.

    Args:
        environment: a `WavEnv`.
        instruction_of: the task whose phrasings are used; one per seed, drawn by it.
        phrasing: "train" or "held_out".
    """

    def __init__(
        self,
        environment: gymnasium.Env[ObservationDict, FloatArray],
        instruction_of: str,
        phrasing: str = "train",
    ) -> None:
        super().__init__(environment)
        task = make_task(instruction_of)
        self._phrasings = task.held_out_instructions if phrasing == "held_out" else task.instructions

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[ObservationDict, Info]:
        observation, info = self.env.reset(seed=seed, options=options)
        rng = np.random.default_rng(seed)
        return observation, {**info, "instruction": str(rng.choice(self._phrasings))}
