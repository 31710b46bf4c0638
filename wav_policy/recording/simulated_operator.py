"""The simulator's scripted operator as a demonstrator for `record_demonstrations`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from wav_policy.recording.episode_recorder import EpisodeRecorder
from wav_policy.recording.quality import QualityMix

if TYPE_CHECKING:
    from wav_policy.sim.demonstrate import Demonstration, Noise, Visit
    from wav_policy.sim.world import World

_SCALED = ("joint_std", "stroke_std", "push_rate", "push_std", "slip_rate", "start_std")
"""What grows with the level of a disturbance."""


@lru_cache(maxsize=1)
def _world(task: str) -> World:
    """One world per worker process: building it costs more than resetting it."""
    from wav_policy.sim.tasks import make_task
    from wav_policy.sim.world import World

    return World(make_task(task))


def scaled_noise(level: float, usual: Noise | None = None) -> Noise:
    """A disturbance (the simulator's usual one if None) times `level`, in size and in rate; 0 is none at all."""
    from wav_policy.sim.demonstrate import Noise

    if not level >= 0.0:
        raise ValueError(f"noise level is {level}; it must not be negative")
    usual = Noise() if usual is None else usual
    scaled = {name: level * getattr(usual, name) for name in _SCALED}
    return replace(usual, **scaled, wide_start=min(1.0, level * usual.wide_start))


class SimulatedDemonstrator:
    """Plays the scripted operator; the recorded action is its intent, also where noise disturbed the motion.

    Args:
        mix: which seeds are of which quality; all "recovering" if None.
        visit: acts first; the episode begins where the operator takes over.
    """

    def __init__(self, mix: QualityMix | None = None, visit: Visit | None = None):
        self._mix = QualityMix({"recovering": 1.0}) if mix is None else mix
        self._visit = visit

    def __call__(self, task: str, seed: int, noise: float, start: Callable[[str], EpisodeRecorder]) -> bool:
        """Record one episode with its quality and, where it has one, its failure; returns its success."""
        demonstration = self._demonstration(task, seed, noise)
        recorder: EpisodeRecorder | None = None
        for step in demonstration.steps():
            if recorder is None:
                recorder = start(demonstration.world.instruction)
            recorder.add_frame(step.images, step.state, step.action, step.time)
        assert recorder is not None
        recorder.extra.update(quality=demonstration.quality, failure=demonstration.failure)
        if self._visit is not None:
            recorder.extra.update(visited_steps=demonstration.visited_steps)
        return demonstration.world.success()

    def play(self, task: str, noise: float, seed: int) -> tuple[str, bool, int]:
        """The same without cameras and recorder: quality, success and number of steps."""
        demonstration = self._demonstration(task, seed, noise)
        num_steps = sum(1 for _ in demonstration.steps(images=False))
        return demonstration.quality, demonstration.world.success(), num_steps

    def _demonstration(self, task: str, seed: int, noise: float) -> Demonstration:
        from wav_policy.sim.demonstrate import QUALITIES, Demonstration

        quality = self._mix.of(seed)
        return Demonstration(_world(task), seed, scaled_noise(noise, QUALITIES[quality]), quality, self._visit)
