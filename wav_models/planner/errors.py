"""The planner's typed failure."""

from __future__ import annotations


class PlannerError(RuntimeError):
    """No plan can be given for this observation: something the planner was fed or computed is not finite."""
