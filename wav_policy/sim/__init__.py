"""The simulated robot cell. Importing it registers the Gymnasium environment `wav/PiperBowl-v0`, and costs little."""

from __future__ import annotations

import gymnasium

ENVIRONMENTS = {"wav/PiperBowl-v0": "bowl"}
"""Gymnasium id -> task."""

for _id, _task in ENVIRONMENTS.items():
    if _id not in gymnasium.registry:
        gymnasium.register(id=_id, entry_point="wav_policy.sim.env:WavEnv", kwargs={"task": _task})
