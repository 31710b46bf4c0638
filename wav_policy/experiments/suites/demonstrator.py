"""Demonstrations of a suite's scripted operator: layouts are drawn anew, never those that are evaluated."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from wav_policy.experiments.suites.catalogue import get_suite
from wav_policy.experiments.suites.environment import SuiteEnvironment
from wav_policy.recording.episode_recorder import EpisodeRecorder
from wav_policy.recording.quality import QualityMix

REST: Final = 10
"""Steps that are recorded after success, or after an operator has finished without."""


class SuiteDemonstrator:
    """Plays episode after episode; seeds go through the tasks in turn.

    Args:
        mix: which seeds are of which quality.
        image_size: of recorded images [px].
    """

    def __init__(self, mix: QualityMix, image_size: int) -> None:
        self._mix, self._size = mix, image_size

    def __call__(self, task: str, seed: int, noise: float, start: Callable[[str], EpisodeRecorder]) -> bool:
        """Record one episode of the suite named `task`; the action of a frame is what was commanded upon seeing it."""
        environment = _environment(task)
        suite, quality = environment.suite, self._mix.of(seed)
        number = seed % suite.num_tasks
        seen = environment.reset(number, seed=seed)
        environment.operate(seed, quality)
        recorder = start(environment.instruction)
        success, rest = False, REST
        for step in range(suite.max_steps):
            images = environment.render(self._size)
            action, finished = environment.demonstrate()
            recorder.add_frame(images, seen.state, action, step / suite.robot.control_rate)
            success = success or seen.success
            if (success or finished) and (rest := rest - 1) <= 0:
                break
            seen = environment.step(action)
        recorder.extra.update(quality=quality, suite=suite.name, suite_task=number)
        return success


@lru_cache(maxsize=1)
def _environment(suite: str) -> SuiteEnvironment:
    """One of each process."""
    return SuiteEnvironment(get_suite(suite))
