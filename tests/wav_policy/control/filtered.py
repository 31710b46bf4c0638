"""Ticks of a safety filter, for its tests."""

from __future__ import annotations

import numpy as np

from wav_models.types import FloatArray
from wav_policy.control.safety import Cause, SafetyDecision, SafetyFilter, SafetyLimits

LIMITS = SafetyLimits()
LOWER, UPPER = LIMITS.lower, LIMITS.upper
MIDDLE = (LOWER + UPPER) / 2.0
VELOCITY = np.tile(LIMITS.velocity, 2)
ACCELERATION = np.tile(LIMITS.acceleration, 2)
TOLERANCE = np.tile(LIMITS.measurement_tolerance, 2)
TICK = 0.005
FAR = SafetyLimits(max_step=(10.0,) * 7, command_tolerance=(10.0,) * 7)
"""Lets a command be anywhere, so that the motion limits alone are at work."""


def follow(
    safety: SafetyFilter, commands: list[FloatArray | None], start: float = 100.0, measured: FloatArray | None = None
) -> tuple[FloatArray, list[SafetyDecision]]:
    """Targets [T, 14] of ticks at the set rate; the measurement is the last target unless given."""
    decisions: list[SafetyDecision] = []
    position = MIDDLE if measured is None else measured
    for i, command in enumerate(commands):
        now = start + i * TICK
        decision = safety.step(now, command, position, now, now)
        assert decision.target is not None
        position = decision.target if measured is None else measured
        decisions.append(decision)
    return np.array([d.target for d in decisions]), decisions


def causes(decision: SafetyDecision) -> set[Cause]:
    return {intervention.cause for intervention in decision.interventions}
