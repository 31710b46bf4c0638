"""Demonstrations of a suite's scripted operator: layouts are drawn anew, never those that are evaluated."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import numpy as np

from wav_models.data.images import resize_image
from wav_policy.experiments.suites.catalogue import get_suite
from wav_policy.experiments.suites.environment import EnvironmentLost, SuiteEnvironment, SuiteSeen
from wav_policy.experiments.suites.players import RENDER_SIZE, Player, PlayerSpec
from wav_policy.recording.episode_recorder import EpisodeRecorder
from wav_policy.recording.quality import QualityMix

REST: Final = 10
"""Steps that go on after success, or after an operator has finished without."""
EPISODES_OF_A_TASK: Final = 10
"""In a row: building a task's scene takes seconds."""
PUSH_MEMORY: Final = 0.7
"""What is left of a push a command later."""
LONGEST_VISIT: Final = 8.0
"""That a policy acts before the operator takes over [s]."""


class SuiteDemonstrator:
    """Plays episode after episode; tens of seeds go through the tasks in turn.

    Args:
        mix: which seeds are of which quality.
        image_size: of recorded images [px], made from what evaluations see.
        hold: steps of the suite that a command is held for.
        visitor: a policy that acts first, up to `LONGEST_VISIT`; the operator takes over from where that got to. So
            demonstrations show how to go on from what policies do and no operator would.
    """

    def __init__(self, mix: QualityMix, image_size: int, hold: int = 1, visitor: PlayerSpec | None = None) -> None:
        self._mix, self._size, self._hold, self._visitor = mix, image_size, hold, visitor

    def __call__(self, task: str, seed: int, noise: float, start: Callable[[str], EpisodeRecorder]) -> bool:
        """Record one episode of the suite named `task`; the action of a frame is what was commanded upon seeing it.

        With `noise` the robot is pushed off what was commanded, and the operator answers: so demonstrations show how to
        come back. Recording begins where a mistake that is made good has been made: otherwise it would be imitated too.

        Raises:
            EnvironmentLost: twice.
        """
        begun: list[EpisodeRecorder] = []

        def begin(instruction: str) -> EpisodeRecorder:
            begun.append(start(instruction))
            return begun[-1]

        try:
            return self._record(task, seed, noise, begin)
        except EnvironmentLost as error:
            print(f"seed {seed}: {error}; once more", file=sys.stderr, flush=True)
            for recorder in begun:
                recorder.discard()
            return self._record(task, seed, noise, start)

    def _record(self, task: str, seed: int, noise: float, start: Callable[[str], EpisodeRecorder]) -> bool:
        environment = _environment(task)
        suite, quality = environment.suite, self._mix.of(seed)
        number = seed // EPISODES_OF_A_TASK % suite.num_tasks
        seen, visited = self._visit(environment, number, seed)
        environment.operate(seed, quality, self._hold)
        pushes, push = np.random.default_rng(seed), np.zeros(len(suite.robot.actions))
        spread = noise * np.sqrt(1.0 - PUSH_MEMORY**2) * np.array(suite.pushes)
        lower, upper = (np.array([getattr(c, end) for c in suite.robot.actions]) for end in ("lower", "upper"))
        recorder = start(environment.instruction)
        success, rest, begun = False, REST, None
        for step in range(0, suite.max_steps, self._hold):
            now = environment.demonstrate()
            if not now.errs:
                begun = step if begun is None else begun
                images = {
                    view: resize_image(image, (self._size, self._size))
                    for view, image in environment.render(RENDER_SIZE).items()
                }
                recorder.add_frame(images, seen.state, now.action, (step - begun) / suite.robot.control_rate)
            if (success or now.finished) and (rest := rest - self._hold) <= 0:
                break
            push = PUSH_MEMORY * push + pushes.normal(0.0, spread)
            for _ in range(self._hold):
                seen = environment.step(np.clip(now.action + push, lower, upper))
                success = success or seen.success
        recorder.extra.update(quality=quality, suite=suite.name, suite_task=number)
        if self._visitor is not None:
            recorder.extra.update(visited_steps=visited)
        return success

    def _visit(self, environment: SuiteEnvironment, task: int, seed: int) -> tuple[SuiteSeen, int]:
        """Lay out an episode and let the visitor act; it is given half the time where it would have succeeded."""
        if self._visitor is None:
            return environment.reset(task, seed=seed), 0
        player = _player(self._visitor, environment.suite.name)
        longest = round(LONGEST_VISIT * environment.suite.robot.control_rate)
        steps = int(np.random.default_rng((seed, longest)).integers(longest + 1))
        while True:
            seen = environment.reset(task, seed=seed)
            player.begin(environment, seed)
            taken = 0
            while taken < steps and not seen.success:
                seen, taken = environment.step(player.act(seen)), taken + 1
            if not (seen.success and taken):
                return seen, taken
            steps = taken // 2


@lru_cache(maxsize=1)
def _environment(suite: str) -> SuiteEnvironment:
    """Started once in every process."""
    return SuiteEnvironment(get_suite(suite))


@lru_cache(maxsize=1)
def _player(visitor: PlayerSpec, suite: str) -> Player:
    """One of each process, to which a demonstrator comes anew with every episode."""
    return visitor.make(get_suite(suite))
