"""The simulated robot cell. Importing it registers the Gymnasium environments, and costs little."""

from __future__ import annotations

import gymnasium

ENVIRONMENTS = {
    "wav/PiperBowl-v0": "bowl",
    "wav/PiperBowls-v0": "bowls",
    "wav/PiperGreenBowl-v0": "green_bowl",
    "wav/PiperDrawer-v0": "drawer",
    "wav/PiperTowel-v0": "towel",
}
"""Gymnasium id -> task."""

for _id, _task in ENVIRONMENTS.items():
    if _id not in gymnasium.registry:
        gymnasium.register(id=_id, entry_point="wav_policy.sim.env:WavEnv", kwargs={"task": _task})
