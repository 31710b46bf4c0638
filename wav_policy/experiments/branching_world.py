"""One episode acted out in several ways: the simulator goes back to a saved moment and on from there."""

from __future__ import annotations

from typing import Any

from wav_models.types import FloatArray
from wav_policy.sim.operator import ACTION_PERIOD
from wav_policy.sim.tasks import make_task
from wav_policy.sim.world import SavedWorld, World


class BranchingWorld:
    """A `World` in steps of 0.1 s that looks only when asked to; see `wav_models.experiments.branching.Branches`."""

    def __init__(self, task: str, **options: str) -> None:
        self.world = World(make_task(task), **options)

    def reset(self, seed: int) -> str:
        """Lay out `seed`; the instruction."""
        self.world.reset(seed)
        return self.world.instruction

    def step(self, action: FloatArray) -> bool:
        """Move towards `action` [14] for 0.1 s; whether the task has succeeded."""
        self.world.set_targets(action, ACTION_PERIOD)
        self.world.step(ACTION_PERIOD)
        return self.world.success()

    def observe(self) -> dict[str, Any]:
        """The three views and "joint_state" [14]."""
        return {**self.world.render_all(), "joint_state": self.world.joint_positions}

    def save(self) -> SavedWorld:
        """This moment, for `restore`."""
        return self.world.save()

    def restore(self, saved: SavedWorld) -> None:
        """Back to a moment of this layout."""
        self.world.restore(saved)
