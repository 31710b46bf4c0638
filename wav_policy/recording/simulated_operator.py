"""The simulator's scripted operator as a demonstrator for `record_demonstrations`."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from wav_policy.recording.episode_recorder import EpisodeRecorder

if TYPE_CHECKING:
    from wav_policy.sim.demonstrate import Noise
    from wav_policy.sim.world import World


@lru_cache(maxsize=1)
def _world(task: str) -> World:
    """One world per worker process: building it costs more than resetting it."""
    from wav_policy.sim.world import World

    return World(task)


def scaled_noise(level: float) -> Noise:
    """The simulator's usual disturbance times `level`, in size and in rate; 0 is none at all."""
    from wav_policy.sim.demonstrate import Noise

    if not level >= 0.0:
        raise ValueError(f"noise level is {level}; it must not be negative")
    usual = Noise()
    return Noise(
        joint_std=level * usual.joint_std,
        stroke_std=level * usual.stroke_std,
        correlation_time=usual.correlation_time,
        push_rate=level * usual.push_rate,
        push_std=level * usual.push_std,
        push_duration=usual.push_duration,
        slip_rate=level * usual.slip_rate,
        slip_duration=usual.slip_duration,
        start_std=level * usual.start_std,
        wide_start=min(1.0, level * usual.wide_start),
    )


def demonstrate_in_simulation(task: str, seed: int, noise: float, start: Callable[[str], EpisodeRecorder]) -> bool:
    """Play the scripted operator once; the recorded action is its intent, also where noise disturbed the motion."""
    from wav_policy.sim.demonstrate import demonstrate

    world = _world(task)
    recorder: EpisodeRecorder | None = None
    for step in demonstrate(world, seed, scaled_noise(noise)):
        if recorder is None:
            recorder = start(world.instruction)
        recorder.add_frame(step.images, step.state, step.action, step.time)
    return bool(world.success())
