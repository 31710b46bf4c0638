"""One episode acted out in several ways: the simulator goes back to a saved moment and on from there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from wav_models.types import FloatArray, Observation
from wav_policy.sim.operator import ACTION_PERIOD
from wav_policy.sim.tasks import make_task
from wav_policy.sim.world import SavedWorld, World

if TYPE_CHECKING:
    from wav_models.presets import ModelConfig


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


def watch_operator(
    cell: BranchingWorld, config: ModelConfig, instruction: str, num_steps: int
) -> Iterator[tuple[int, Observation]]:
    """Step and observation of the first `num_steps` steps after a reset, or until success.

    The cell is at that moment when it is given, and must be there again when the next one is asked for.
    """
    from wav_models.evaluation.closed_loop import ObservationHistory

    operator, history = cell.world.task.make_operator(), ObservationHistory(config)
    for step in range(num_steps):
        observation = cell.observe()
        history.add(observation)
        yield step, history.assemble(observation, instruction, step / config.horizon.step_hz)
        if cell.step(operator.act(cell.world)):
            return
