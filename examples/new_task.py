"""A task of one's own in the simulated cell, done by a scripted operator: python examples/new_task.py [SEED]

To train and evaluate on it, give it a file under wav_policy/sim/tasks/ and a line in `sim/tasks/__init__.py`: then
`wav demonstrate --task`, `wav evaluate --task` and `wav demo --task` know it by name.
"""

from __future__ import annotations

import sys

import numpy as np

from wav_policy.sim.operator import ACTION_PERIOD
from wav_policy.sim.tasks.single_bowl import SingleBowlTask
from wav_policy.sim.world import World

HEIGHT = 0.05  # m


class LiftTask(SingleBowlTask):
    """Lift the bowl 5 cm and hold it there; scene and operator are those of `bowl`."""

    def __init__(self) -> None:
        super().__init__()
        self.name, self.hold_time = "lift", 0.2
        self.instructions = ("lift the bowl",)

    def is_done(self, world: World) -> bool:
        """The bowl is that high, and slow."""
        bowl = world.data.joint(self.target)
        return bool(bowl.qpos[2] > HEIGHT and np.linalg.norm(bowl.qvel[:3]) < 0.5)


task = LiftTask()
world = World(task, "train", "train")
world.reset(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
operator = task.make_operator()
while not world.success() and world.time < task.time_limit:
    world.set_targets(operator.act(world), ACTION_PERIOD)
    world.step(ACTION_PERIOD)
print(f"{world.instruction!r}: {'done' if world.success() else 'not done'} after {world.time:.1f} s")
world.close()
