"""The simulated robot cell. Importing it registers the Gymnasium environments, and costs little."""

from __future__ import annotations

from wav_policy.sim.tasks import TASKS

ENVIRONMENTS = {f"wav/Piper{task.title().replace('_', '')}-v0": task for task in TASKS}
"""Gymnasium id -> task: "wav/PiperGreenBowl-v0" -> "green_bowl"."""


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
