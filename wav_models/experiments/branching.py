"""What becomes of imagined futures: every one of them is acted out from the same state of the simulator.

At a moment of an episode the model imagines M futures, promises a value for each and decodes a chunk for each. The
simulator then goes on from that moment once per future, following that future's chunk. The true outcome is seen by the
cameras and judged by the same value expert and the same score, so that promise and outcome are in one unit.

Outcomes are read with one noise for all futures, never with the noise that a future was imagined from: what promise and
outcome have in common shall come through the simulator, not through the noise.

Choices are made at single moments: in most others all futures are one and the same, and an average over an episode says
little about a search. So the moments of an episode at which imagined futures ask for the most different motions are
looked at as well, wherever they are. (The spread of actions at these is high because they were chosen by it.)

What whole searches choose can be acted out beside them: their promise and their outcome are judged by the noises that
the M futures are judged by, which no search has seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from wav_models.data.images import resize_image
from wav_models.engines.torch_engine import TorchScene
from wav_models.evaluation.closed_loop import ObservationHistory, plan_seed
from wav_models.experiments.reader import FutureReader, Reading, action_spread
from wav_models.planner.config import PlannerConfig
from wav_models.planner.scoring import make_score
from wav_models.types import FloatArray, ImageArray, Observation
from wav_models.words import counted


class Branches(Protocol):
    """A simulated cell that can go back in time."""

    def reset(self, seed: int) -> str:
        """Lay out an episode; its instruction."""

    def step(self, action: FloatArray) -> bool:
        """Run one action [A] without looking; whether the task has succeeded."""

    def observe(self) -> dict[str, Any]:
        """Images per view and "joint_state" [S]."""

    def save(self) -> Any:
        """This moment."""

    def restore(self, saved: Any) -> None:
        """Back to a moment of this episode."""


@dataclass(frozen=True)
class BranchSettings:
    """How much to look at.

    Attributes:
        futures: M, imagined at every moment; at least 2, for they are compared.
        value_samples: N, with noises that all futures share.
        max_steps: of an episode.
        first_plan, every_plans: moments of an episode that are looked at, counted in plans from its beginning.
        choices: moments of an episode that are looked at because futures differ most there, `every_plans` apart.
        replan_steps: steps between plans on the way there, and after which "one re-plan later" is.
    """

    futures: int
    value_samples: int
    max_steps: int
    first_plan: int = 2
    every_plans: int = 3
    choices: int = 4
    replan_steps: int = 4

    def __post_init__(self) -> None:
        if self.futures < 2:
            raise ValueError(
                f"{counted(self.futures, 'future')} per moment: at least 2 are needed, for they are compared"
            )


@dataclass(frozen=True)
class Moment:
    """One moment; axis M is the futures.

    Attributes:
        regular: whether it is one of those at regular distances.
        choice: whether it is one of those at which futures differ most.
        pairs: score of every imagined future and value sample [M, N].
        promised: score of every imagined future [M].
        realised: score of every true outcome of acting on it [M].
        replanned: mean value expected one re-plan later in every branch [M].
        actions: chunk of every future, same value and action noise [M, H, A].
        actions_by_value: chunks of the first future, one per value noise [N, H, A].
        actions_by_noise: chunks of the first future, one per action noise of scale 1 [N, H, A].
        imagined, outcome: latents [M, D].
        searched: by name of a planner, promised and realised score of the future that it chose.
    """

    seed: int
    step: int
    regular: bool
    choice: bool
    pairs: FloatArray
    promised: FloatArray
    realised: FloatArray
    replanned: FloatArray
    actions: FloatArray
    actions_by_value: FloatArray
    actions_by_noise: FloatArray
    imagined: FloatArray
    outcome: FloatArray
    searched: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Noise:
    """Of M futures, of one outcome, of N value samples and N chunks."""

    video: Tensor
    outcome: Tensor
    value: Tensor
    action: Tensor


@dataclass(frozen=True)
class _Visit:
    """A moment of an episode to come back to, and what its futures ask for: chunks [M, H, A] of the noise."""

    step: int
    saved: Any
    history: ObservationHistory
    seen: Observation
    noise: _Noise
    actions: FloatArray


class Brancher:
    """Walks through episodes with one reader and looks around at some of their moments.

    Args:
        searches: planners whose choices are acted out as well, by name.
    """

    def __init__(
        self,
        reader: FutureReader,
        cell: Branches,
        settings: BranchSettings,
        searches: Mapping[str, PlannerConfig] | None = None,
    ) -> None:
        self.reader, self.cell, self.settings, self.searches = reader, cell, settings, searches or {}
        self.config = reader.engine.config
        self._score = make_score(reader.planner.score, reader.planner.snr_eps)

    def episode(self, seed: int) -> list[Moment]:
        """The chosen moments of an episode that is driven by single futures (K = 0)."""
        settings = self.settings
        visits = self._walk(seed)
        regular = {v.step for v in visits[:: settings.every_plans]}
        choices = self._choices(visits)
        looked_at = [v for v in visits if v.step in regular | choices]
        return [self._look_around(seed, v, v.step in regular, v.step in choices) for v in looked_at]

    def _choices(self, visits: list[_Visit]) -> set[int]:
        """Steps of the widest spreads, one of every decision: those near one that was taken are left out."""
        settings = self.settings
        apart = settings.every_plans * settings.replan_steps
        chosen: set[int] = set()
        joints = self.config.embodiment.arm_columns
        for visit in sorted(visits, key=lambda v: -action_spread(v.actions, joints)):
            if len(chosen) < settings.choices and all(abs(visit.step - step) >= apart for step in chosen):
                chosen.add(visit.step)
        return chosen

    def _walk(self, seed: int) -> list[_Visit]:
        """An episode, and its moments of planning from `first_plan` on."""
        settings, visits = self.settings, []
        instruction = self.cell.reset(seed)
        history = ObservationHistory(self.config)
        chunk: FloatArray = np.empty((0, self.config.embodiment.action_dim))
        for step in range(settings.max_steps):
            observation = self.cell.observe()
            history.add(observation)
            seen = history.assemble(observation, instruction, step / self.config.horizon.step_hz)
            if step % settings.replan_steps == 0:
                scene = self.reader.observe(seen)
                chunk = self._chunks(scene, seen, self._draw(seed, step, 1))[0]
                if step >= settings.first_plan * settings.replan_steps:
                    noise = self._draw(seed, step, settings.futures)
                    actions = self._chunks(scene, seen, noise)
                    visits.append(_Visit(step, self.cell.save(), history.copy(), seen, noise, actions))
            if self.cell.step(chunk[min(step % settings.replan_steps, len(chunk) - 1)]):
                break
        return visits

    def _draw(self, seed: int, step: int, futures: int) -> _Noise:
        generator = torch.Generator().manual_seed(plan_seed(seed, step))
        reader, count = self.reader, self.settings.value_samples
        video = reader.video_noise(futures, generator)
        value, action = reader.value_noise(count, generator), reader.action_noise(count, generator)
        return _Noise(video, reader.video_noise(1, generator), value, action)

    def _chunks(self, scene: TorchScene, seen: Observation, noise: _Noise) -> FloatArray:
        """What every future asks for, [M, H, A]."""
        reading = self.reader.imagined(scene, noise.video)
        return self.reader.actions(reading, seen.joint_state, noise.value[0], noise.action[0])

    def _look_around(self, seed: int, visit: _Visit, regular: bool, choice: bool) -> Moment:
        reader, step, seen, noise = self.reader, visit.step, visit.seen, visit.noise
        scene, state = reader.observe(seen), seen.joint_state
        reading = reader.imagined(scene, noise.video)
        outcomes, replanned = [], []
        for chunk in visit.actions:
            self.cell.restore(visit.saved)
            later, frames = self._act_out(chunk, visit.history.copy(), seen)
            outcomes.append(reader.encode_frames(frames))
            replanned.append(self._expected_value(later, noise))
        outcome = torch.stack(outcomes)
        pairs, first = self._pairs(reading, noise), reading.select(0)
        unit = torch.randn(noise.action.shape, generator=torch.Generator().manual_seed(plan_seed(seed, step) ^ 1))
        return Moment(
            seed,
            step,
            regular,
            choice,
            pairs=pairs.numpy(),
            promised=self._score.futures(pairs).numpy(),
            realised=self._true_scores(scene, outcome, noise),
            replanned=np.array(replanned),
            actions=visit.actions,
            actions_by_value=np.stack([reader.act(first, state, z, noise.action[0]) for z in noise.value]),
            actions_by_noise=np.stack([reader.act(first, state, noise.value[0], z) for z in unit]),
            imagined=_flat(reading.latents),
            outcome=_flat(outcome),
            searched={name: self._search(seed, visit, scene, planner) for name, planner in self.searches.items()},
        )

    def _search(self, seed: int, visit: _Visit, scene: TorchScene, planner: PlannerConfig) -> tuple[float, float]:
        """Promised and realised score of what a planner chooses here."""
        noise = visit.noise
        chosen, chunk = self.reader.choose(scene, visit.seen.joint_state, planner, plan_seed(seed, visit.step))
        promised = self._score.futures(self._pairs(self.reader.imagined(scene, chosen[None]), noise))
        self.cell.restore(visit.saved)
        _, frames = self._act_out(chunk, visit.history.copy(), visit.seen)
        realised = self._true_scores(scene, self.reader.encode_frames(frames)[None], noise)
        return float(promised), float(realised[0])

    def _true_scores(self, scene: TorchScene, outcome: Tensor, noise: _Noise) -> FloatArray:
        """Of true futures [M, ...], shape [M]."""
        true = self.reader.noised(scene, outcome, noise.outcome.expand_as(outcome))
        return self._score.futures(self._pairs(true, noise)).numpy()

    def _act_out(
        self, chunk: FloatArray, history: ObservationHistory, seen: Observation
    ) -> tuple[Observation, ImageArray]:
        """Follow a chunk to the last future frame: the observation one re-plan later, and the true future frames."""
        horizon, replan_steps = self.config.horizon, self.settings.replan_steps
        frames, later = [], seen
        for step in range(1, max(*horizon.future_offsets, replan_steps) + 1):
            self.cell.step(chunk[min(step, len(chunk)) - 1])
            if step > replan_steps and step not in horizon.future_offsets:
                continue
            observation = self.cell.observe()
            if step in horizon.future_offsets:
                frames.append(
                    np.stack(
                        [
                            resize_image(observation[v], self.config.latent.image_size)
                            for v in self.config.embodiment.view_names
                        ]
                    )
                )
            if step <= replan_steps:
                history.add(observation)
            if step == replan_steps:
                stamp = seen.stamp + replan_steps / horizon.step_hz
                later = history.assemble(observation, seen.instruction, stamp)
        return later, np.stack(frames, axis=1)

    def _pairs(self, reading: Reading, noise: _Noise) -> Tensor:
        return self._score.pairs(torch.from_numpy(self.reader.values(reading, noise.value)))

    def _expected_value(self, seen: Observation, noise: _Noise) -> float:
        reading: Reading = self.reader.imagined(self.reader.observe(seen), noise.video)
        return float(self.reader.values(reading, noise.value).mean())


def _flat(latents: Tensor) -> FloatArray:
    return latents.flatten(1).double().numpy()
