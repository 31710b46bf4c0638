"""Towel: unfold a cloth, one edge or corner of which lies folded over, until it covers its full area of the table."""

from __future__ import annotations

import numpy as np

from wav_policy.sim.task import Operator, ScriptedFailure
from wav_policy.sim.tasks.towel_cloth import Towel
from wav_policy.sim.tasks.towel_failures import make_failure
from wav_policy.sim.tasks.towel_operator import TowelOperator


class TowelTask(Towel):
    """The towel, and who unfolds it."""

    def make_operator(self) -> Operator:
        """A scripted operator of this task."""
        return TowelOperator(self)

    def make_failure(self, rng: np.random.Generator) -> ScriptedFailure:
        """A random way to fail."""
        return make_failure(self, rng)
