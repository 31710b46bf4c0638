"""The simulated robot cell. Importing it registers the Gymnasium environments, and costs little."""

from __future__ import annotations

ENVIRONMENTS = {
    "wav/PiperBowl-v0": "bowl",
    "wav/PiperBowls-v0": "bowls",
    "wav/PiperGreenBowl-v0": "green_bowl",
    "wav/PiperDrawer-v0": "drawer",
    "wav/PiperTowel-v0": "towel",
}
"""Gymnasium id -> task."""


def _register() -> None:
    """Where Gymnasium is missing nobody can make an environment: `ros2 launch` imports the robot's geometry and the
    names of the tasks with the system's Python, which has numpy and yaml only."""
    try:
        import gymnasium
    except ModuleNotFoundError:
        return
    for name, task in ENVIRONMENTS.items():
        if name not in gymnasium.registry:
            gymnasium.register(id=name, entry_point="wav_policy.sim.env:WavEnv", kwargs={"task": task})


_register()
