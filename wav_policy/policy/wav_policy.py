"""Checkpoint, engine and planner put together: an observation in, a chunk of joint targets out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from wav_models.checkpoint import load_checkpoint, load_model_config, load_planner_config
from wav_models.data.images import resize_image
from wav_models.data.normalization import Normalization
from wav_models.embodiment import Embodiment
from wav_models.engines.base import Engine, full_memory_is_named
from wav_models.engines.observed_trajectories import ObservedTrajectories, make_state_token
from wav_models.engines.prepare import make_missing
from wav_models.engines.select import EngineOptions, loaded_format, make_engine
from wav_models.guidance import JACOBIANS, Guidance
from wav_models.planner.config import PlannerConfig
from wav_models.planner.errors import PlannerError
from wav_models.planner.latent_plan import LatentPlan
from wav_models.planner.noise import NoiseStreams, SearchState
from wav_models.planner.search import search
from wav_models.planner.timing import (
    Deadline,
    Pace,
    Stopwatch,
    TimedTrajectoryModel,
    efforts,
    size_of,
)
from wav_models.presets import HorizonConfig, ModelConfig
from wav_models.types import ActionChunk, FloatArray, ImageArray, Observation, Plan
from wav_policy.policy.chunk_continuation import CommittedMotion
from wav_policy.policy.imagined_futures import ImaginedFutures
from wav_policy.policy.imagined_motion import ImaginedMotion
from wav_policy.policy.planning_effort import PlanCost
from wav_policy.robot.joints import ROBOT

IMAGINATION_STEPS: Final = 8
THUMBNAIL_STEPS: Final = 4


@dataclass(frozen=True)
class ImaginedFuture:
    """What `WAVPolicy.imagine`, `futures` and `alternatives` need of the future a plan chose, and of those it did
    not."""

    model: ObservedTrajectories
    video_noise: Tensor
    video_elites: Tensor
    sampled: tuple[Tensor, ...]
    state: SearchState
    joint_state: FloatArray


@dataclass(frozen=True)
class _LastPlan:
    """Where a warm start begins."""

    stamp: float
    instruction: str
    state: SearchState


class WAVPolicy:
    """Plans with one checkpoint.

    `plan` and `imagine` may be called from different threads. A plan is reproducible from checkpoint, observation and
    seed, unless a deadline made it smaller or it was warm-started from the plan before.

    Args:
        engine: runs the networks.
        normalization: statistics of the checkpoint.
        planner: parameters of the search.
        jacobian: how a plan is guided to committed motion, one of `guidance.JACOBIANS`.
    """

    def __init__(
        self,
        engine: Engine,
        normalization: Normalization,
        planner: PlannerConfig | None = None,
        jacobian: str = JACOBIANS[0],
    ) -> None:
        self.engine = engine
        self.config: ModelConfig = engine.config
        self.planner = planner or PlannerConfig()
        asked, *less = efforts(self.planner)
        self._efforts = [asked, *(each for each in less if engine.has_rounds_of(size_of(each)))]
        self._normalization = normalization
        self._jacobian = jacobian
        self._lock = threading.Lock()
        self._last: _LastPlan | None = None
        self._pace = Pace()

    @classmethod
    def load(
        cls,
        checkpoint: Path | str,
        *,
        engine: str = "auto",
        planner: PlannerConfig | None = None,
        num_threads: int | None = None,
        dtype: str = "fp32",
        pretrained: Path | None = None,
        jacobian: str = JACOBIANS[0],
        options: EngineOptions | None = None,
        robot: Embodiment = ROBOT,
        prepare: Callable[[str], None] | None = None,
    ) -> WAVPolicy:
        """Load a checkpoint directory.

        Args:
            checkpoint: directory written by training.
            engine: "auto", "torch", "onnxruntime" or "tensorrt".
            planner: parameters of the search; None = those stored with the checkpoint, else the defaults.
            num_threads: of torch, for the whole process, and of ONNX Runtime; None leaves torch's setting alone.
            dtype: one of `engines.precision.PRECISIONS`; "auto" is the fastest that keeps the plans.
            pretrained: local LTX-Video directory (vae, tokenizer, text_encoder), for checkpoints that use them.
            jacobian: how a plan is guided to committed motion, one of `guidance.JACOBIANS`.
            options: execution providers, compilation and CUDA graphs; its other fields are those above.
            robot: that the plans are for.
            prepare: make graphs that engine "auto" would take and that are missing (`engines.prepare`); called with
                what is being done. None: take what there is.

        Raises:
            CheckpointError: a file or tensor is missing, unknown or has the wrong shape.
            EmbodimentError: the checkpoint is of another robot, or sees with cameras that this one lacks.
            EngineError: the engine is unknown or cannot run here.
        """
        if num_threads is not None:
            torch.set_num_threads(num_threads)
        load_model_config(Path(checkpoint)).embodiment.require(robot, f"checkpoint {checkpoint}", "the robot")
        if prepare is not None and engine == "auto" and dtype in ("auto", "int8"):
            make_missing(Path(checkpoint), planner or load_planner_config(Path(checkpoint)), prepare)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        with full_memory_is_named():
            weights = loaded_format(engine, dtype, device)
            loaded = load_checkpoint(Path(checkpoint), device, dtype=weights, autoencoder_directory=pretrained)
        planner = planner or loaded.planner
        backend = make_engine(
            engine,
            loaded,
            options=replace(options or EngineOptions(), dtype=dtype, num_threads=num_threads),
            text_encoder_directory=pretrained,
            planner=planner,
        )
        return cls(backend, loaded.normalization, planner, jacobian)

    def plan(
        self,
        observation: Observation,
        *,
        seed: int = 0,
        deadline: float | None = None,
        committed: CommittedMotion | None = None,
    ) -> Plan:
        """Choose a future and the actions that lead to it.

        What would be late has smaller rounds (`timing.SHEDDING`), then fewer.

        Args:
            observation: images as the model was trained, uint8 [V, F_mem, H, W, 3]; state [S].
            seed: of all random draws.
            deadline: time this plan may take [s]; None = that of the planner's configuration.
            committed: motion that the chunk shall continue.

        Raises:
            ValueError: a shape or type does not fit.
            PlannerError: the joint state, a score or an action is not finite.
        """
        budget = Deadline(self.planner.deadline if deadline is None else deadline, pace=self._pace)
        return self._plan(observation, seed, budget, self._efforts, committed)

    def _plan(
        self,
        observation: Observation,
        seed: int,
        budget: Deadline,
        candidates: Sequence[PlannerConfig],
        committed: CommittedMotion | None = None,
    ) -> Plan:
        self._check(observation)
        stopwatch = Stopwatch()
        with stopwatch.stage("text"):
            text = self.engine.encode_text(observation.instruction)
        with stopwatch.stage("images"):
            memory_latents = self.engine.encode_images(observation.images)
        with stopwatch.stage("memory"):
            scene = self.engine.observe(memory_latents, text, self.planner.share_first_step)
        token = make_state_token(self._normalization, observation.joint_state)
        guidance = None if committed is None else self._guidance(committed, observation.joint_state)
        planner = budget.choose(candidates)
        model = ObservedTrajectories(self.engine, scene, token, self._normalization, planner, guidance)
        began = budget.elapsed()
        answer = search(
            TimedTrajectoryModel(model, stopwatch),
            planner,
            seed,
            start=self._warm_start(observation),
            deadline=budget,
        )
        rounds = [r.seconds for r in answer.rounds]
        self._remember(observation, answer)
        self._pace = self._pace.after(size_of(planner), rounds, budget.elapsed() - began - sum(rounds))
        positions = self._normalization.decode_actions(answer.actions.double().numpy(), observation.joint_state)
        return Plan(
            chunk=ActionChunk(positions, observation.stamp, 1.0 / self.config.horizon.step_hz),
            values=answer.values.double().numpy(),
            rounds=answer.rounds,
            stop_reason=answer.stop_reason if planner.num_iterations == self.planner.num_iterations else "deadline",
            seconds={**stopwatch.seconds, "total": budget.elapsed()},
            seed=seed,
            chosen=answer.chosen,
            future=ImaginedFuture(
                model, answer.video_noise, answer.video_elites, answer.sampled, answer.state, observation.joint_state
            ),
        )

    def imagine(self, plan: Plan, *, num_steps: int = IMAGINATION_STEPS) -> ImageArray:
        """Frames uint8 [V, F, H, W, 3] of the future a plan chose: its noise denoised to the end, then decoded."""
        future = _imagined_future(plan)
        latents = self.engine.denoise(future.model.scene, future.video_noise[None], num_steps)
        return self.engine.decode_images(latents)

    def futures(self, plan: Plan, *, num_steps: int = THUMBNAIL_STEPS) -> ImaginedFutures | None:
        """How the futures of a round end, as the first view will see it; None without a round.

        Of the round that the chosen one is of, or the last. They are denoised one after the other, coarsely.
        """
        future = _imagined_future(plan)
        if not future.sampled:
            return None
        number, taken = plan.chosen or (len(future.sampled) - 1, None)
        scene = future.model.scene
        latents = (self.engine.denoise(scene, noise, num_steps) for noise in future.sampled[number].split(1))
        images = [self.engine.decode_images(each)[0, -1] for each in latents]
        chosen_round = plan.rounds[number]
        return ImaginedFutures(np.stack(images), chosen_round.video_score, chosen_round.mean_value, taken)

    @torch.inference_mode()
    def alternatives(self, plan: Plan, count: int) -> tuple[ImaginedMotion, ...]:
        """What the other elites of the last round would have the arms do, at most `count`; none without planning.

        Value noise is the refitted mean and action noise the chosen future's, so that motions differ by their futures.
        """
        future = _imagined_future(plan)
        model, value_noise = future.model, future.state.value.mean
        action_noise = self.planner.action_noise_std * torch.randn(
            model.action_noise_shape, generator=NoiseStreams.from_seed(plan.seed).action
        )
        others = [noise for noise in future.video_elites if not torch.equal(noise, future.video_noise)]
        motions = []
        for video_noise in others[:count]:
            decision = model.act(model.imagine(video_noise[None]), value_noise, action_noise)
            positions = self._normalization.decode_actions(decision.actions.double().numpy(), future.joint_state)
            chunk = ActionChunk(positions, plan.chunk.stamp, plan.chunk.step)
            motions.append(ImaginedMotion(chunk, decision.values.double().numpy()))
        return tuple(motions)

    @property
    def description(self) -> str:
        """What runs the networks, and why that."""
        return self.engine.description

    fit_image = staticmethod(resize_image)
    """How pictures of cameras become those of an observation."""

    def close(self) -> None:
        """Nothing outside is held."""

    def reset(self) -> None:
        """Forget the last plan, so that the next one is not warm-started from it."""
        with self._lock:
            self._last = None

    def warm_up(self, instruction: str = "") -> PlanCost:
        """Plan from a blank observation, so that the first real plan is as fast as the tenth.

        Once in every way that a plan acts and is shown in, for each is recorded where it first comes. Then twice with
        rounds of every size that a late plan may have, whatever the deadline: the first runs every network once, the
        second finds how long rounds really take.
        """
        height, width = self.config.latent.image_size
        images = np.zeros((self.config.num_views, self.config.num_memory_frames, height, width, 3), np.uint8)
        blank = Observation(images, np.zeros(self.config.embodiment.state_dim), instruction)
        motions: list[CommittedMotion | None] = [None]
        if self.config.embodiment.relative_to_state:  # else no chunk continues another
            rows = self.config.horizon.action_horizon
            motions.append(CommittedMotion(np.zeros((rows, self.config.embodiment.action_dim)), np.zeros(rows)))
        for motion in motions:
            self.alternatives(self._plan(blank, 0, Deadline(), [self.planner], motion), 1)
        costs = []
        for planner in self._efforts:
            for _ in range(2):
                self._pace = Pace()
                plan = self._plan(blank, 0, Deadline(), [planner])
            costs.append((plan.seconds["total"], self._pace))
        rounds = {size: seconds for _, pace in costs for size, seconds in pace.round_seconds.items()}
        total, pace = costs[0]
        self._pace = Pace(rounds, action_seconds=pace.action_seconds)
        self.reset()
        in_rounds = self.planner.num_iterations * rounds.get(size_of(self.planner), 0.0)
        return PlanCost(total, max(0.0, total - in_rounds), rounds)

    def _check(self, observation: Observation) -> None:
        height, width = self.config.latent.image_size
        shape = (self.config.num_views, self.config.num_memory_frames, height, width, 3)
        images, state = observation.images, observation.joint_state
        if images.shape != shape or images.dtype != np.uint8:
            raise ValueError(f"images is {images.dtype} {list(images.shape)}; uint8 {list(shape)} fits")
        expected = self.config.embodiment.state_dim
        if state.shape != (expected,):
            raise ValueError(f"joint_state has shape {list(state.shape)}; [{expected}] fits")
        if not np.isfinite(state).all():
            raise PlannerError(f"joint_state is not finite at index {np.flatnonzero(~np.isfinite(state)).tolist()}")

    def _guidance(self, committed: CommittedMotion, joint_state: FloatArray) -> Guidance:
        """Committed motion as differences to the newly measured state, in the action expert's units.

        Only the action channels are guided: what the joints did is measured, not what an older plan foresaw.
        """
        positions = committed.positions
        states = np.broadcast_to(joint_state, positions.shape)
        target = torch.from_numpy(self._normalization.encode_actions(positions, states, joint_state)).float()
        weight = torch.zeros_like(target)
        weight[:, : self.config.embodiment.action_dim] = torch.from_numpy(committed.weight)[:, None]
        return Guidance(target, weight, self._jacobian)

    def _warm_start(self, observation: Observation) -> SearchState | None:
        """The last plan's noise at this observation's time; None if there is none or it is too old."""
        with self._lock:
            last = self._last
        if not self.planner.warm_start or last is None or last.instruction != observation.instruction:
            return None
        horizon = self.config.horizon
        steps = (observation.stamp - last.stamp) * horizon.step_hz
        if not 0 <= steps < horizon.action_horizon:
            return None
        floor = self.planner.warm_start_min_std
        video = last.state.video.shifted(steps / _frame_spacing(horizon), axis=1, min_std=floor)
        return SearchState(video, last.state.value.shifted(steps, axis=0, min_std=floor))

    def _remember(self, observation: Observation, answer: LatentPlan) -> None:
        with self._lock:
            self._last = _LastPlan(observation.stamp, observation.instruction, answer.state)


def _imagined_future(plan: Plan) -> ImaginedFuture:
    if not isinstance(plan.future, ImaginedFuture):
        raise ValueError("plan.future is missing; only a plan made by WAVPolicy.plan can be imagined")
    return plan.future


def _frame_spacing(horizon: HorizonConfig) -> float:
    """Steps between two future latent frames."""
    return horizon.future_offsets[-1] / len(horizon.future_offsets)
