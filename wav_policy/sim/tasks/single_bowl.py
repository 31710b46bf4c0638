"""The bowl task without a distractor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wav_policy.sim.tasks.bowl import BowlTask
from wav_policy.sim.tasks.bowl_scene import MIN_CLEARANCE, PLATE_X, PLATE_Y, bowl_position, put_down

if TYPE_CHECKING:
    import mujoco


class SingleBowlTask(BowlTask):
    """One bowl, at the left or the right, and the plate."""

    bowls = ("red_bowl",)

    def __init__(self) -> None:
        super().__init__("bowl", "red_bowl")
        self.instructions = (
            "put the bowl on the plate",
            "place the red bowl on the blue plate",
            "pick up the bowl and set it down on the plate",
            "move the bowl onto the plate in the middle",
            "tidy up: the bowl belongs on the plate",
        )

    def lay_out(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator, held_out: bool) -> None:
        """Place bowl and plate at random, clear of each other.

        Raises:
            ValueError: held-out layouts are asked for; demonstrations cover them all.
        """
        if held_out:
            raise ValueError(f"task {self.name!r} has no held-out layouts; task 'bowls' has")
        side = 1.0 if rng.random() < 0.5 else -1.0
        while True:
            bowl = bowl_position(side, rng)
            plate = np.array([rng.uniform(*PLATE_X), rng.uniform(*PLATE_Y)])
            if np.linalg.norm(bowl - plate) >= MIN_CLEARANCE:
                break
        model.body("plate").pos[:] = [*plate, 0.0]
        put_down(data, self.target, bowl, rng.uniform(-np.pi, np.pi))
