"""What the policy would see while the scripted operator works."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wav_models.presets import ModelConfig
    from wav_models.types import Observation
    from wav_policy.experiments.branching_world import BranchingWorld


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
