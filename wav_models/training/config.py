"""What decides a training run: one YAML file, read strictly."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from wav_models.configuration import Range, load
from wav_models.data.mapping import DataMapping
from wav_models.planner.config import PlannerConfig
from wav_models.planner.scoring import make_score
from wav_models.presets import ModelConfig, get_preset
from wav_models.rewards.label_config import LabelConfig

STAGES = ("video", "value", "action")
"""The three stages of Section 4.2, in order; each starts from the averaged weights of the one before."""
DISTIL = "distil"
EVERY_STAGE = (*STAGES, DISTIL)
"""With the one after them that a run need not have."""


Share = Annotated[float, Range(0.0, 1.0)]


@dataclass(frozen=True)
class LoopConfig:
    """Optimisation of one stage."""

    steps: int | None = None
    """Planned optimiser steps, where the command does not say."""
    learning_rate: float = 1e-3
    """Peak learning rate; reached after `warmup_steps`, then a cosine down to `final_rate` times it."""
    final_rate: float = 0.02
    warmup_steps: int = 150
    weight_decay: float = 1e-5
    betas: tuple[float, float] = (0.9, 0.95)
    clip_norm: float = 1.0
    ema_decay: float = 0.998
    batch_size: int = 32
    """Samples of one optimiser step, over all workers and accumulated parts."""
    accumulation: int = 1
    """Parts that a worker splits its share of the batch into."""
    bf16: bool = True
    """Forward and backward in bfloat16 autocast, except on a processor that does not multiply it; weights and moments
    stay in float32."""
    log_seconds: float = 15.0
    save_seconds: float = 120.0
    evaluate_seconds: float = 180.0
    keep: Annotated[int, Range(0)] = 0
    """Averaged weights of so many last evaluations are kept beside the state, as STAGE.STEP.safetensors."""


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters, which a stage trains instead of its networks; checkpoints hold the sum of both.

    Attributes:
        rank: of the change of a weight.
        targets: ends of names of linear layers, such as "to_q", "attn2.to_v" or "ff.proj_in".
    """

    rank: Annotated[int, Range(1)] = 8
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out")


@dataclass(frozen=True)
class AutoencoderConfig:
    """Training of the tiny auto-encoder."""

    loop: LoopConfig = field(default_factory=lambda: LoopConfig(learning_rate=2e-3, batch_size=32))
    l1_weight: float = 0.5
    """Weight of the absolute error beside the squared one."""
    foreground_weight: float = 8.0
    """Additional weight of a pixel that differs fully from its view's mean image: small moving objects must count."""
    latent_weight: float = 1e-4
    """Weight of the squared latents: keeps their scale bounded."""


@dataclass(frozen=True)
class StageConfig:
    """What the stages share."""

    loop: LoopConfig = field(default_factory=LoopConfig)
    lora: LoraConfig | None = None
    memory_noise: float = 0.1
    """Standard deviation of the noise on the memory latents, in standard deviations of the latents."""
    camera_dropout: Share = 0.0
    """Share of the observations in which one camera's memory is hidden: a policy must bear a lost camera."""


@dataclass(frozen=True)
class VideoStageConfig(StageConfig):
    caption_dropout: Share = 0.06
    noisiest_fraction: Share = 0.1
    """Share of the samples at flow time 0 exactly: the single pass that acting without denoising reads."""


@dataclass(frozen=True)
class FuturesConfig:
    """Which futures the experts read while they train.

    All of them contain what was recorded along with the actions and values they are paired with: the recorded future,
    noised, or the model's own, denoised from the noised recorded one. A future denoised from pure noise is another
    than the recorded one, and pairing the two would teach the experts to ignore futures (docs/planning.md).

    Raises:
        ValueError: flow times that do not ascend.
    """

    noisiest_fraction: Share = 0.25
    """Share of the recorded futures at flow time 0 exactly; the others are uniform in [0, 1)."""
    own_fraction: Share = 0.0
    """Share of the observations whose future is the model's own; rounded to whole samples of a worker's part."""
    own_start: tuple[Share, Share] = (0.3, 0.6)
    """Flow times, drawn uniformly, at which the model takes over from the noised recorded future."""
    own_steps: Annotated[int, Range(1)] = 1
    """Euler steps from there to the flow time that is read, which is uniform between the two and 1."""

    def __post_init__(self) -> None:
        _require_ascending("own_start", self.own_start)


@dataclass(frozen=True)
class ExpertStageConfig(StageConfig):
    """What the stages of the experts share."""

    draws: Annotated[int, Range(1)] = 4
    """Noise and time draws per observation, sharing the keys and values of the video features (R)."""
    futures: FuturesConfig = field(default_factory=FuturesConfig)
    memory_dropout: Share = 0.0
    """Share of the observations whose memory features are hidden from the stage's own expert: it must judge the future
    alone, or read from state and future what led from one to the other."""
    mask_padding: bool = False
    """Leave what lies beyond an episode's end out of the loss, instead of repeating its last step."""


@dataclass(frozen=True)
class ActionStageConfig(ExpertStageConfig):
    value_draws: Annotated[int, Range(1)] = 2
    """Value draws per observation; the first one's features condition the action expert (Eq. 3)."""
    video_rate: float = 0.5
    """Learning rate of the video DiT relative to the experts."""
    video_weight: float = 0.3
    value_weight: float = 0.1
    """The value loss stays, small: the value expert must follow the video features while they move."""
    caption_dropout: Share = 0.0
    state_dropout: Share = 0.0
    """Share of the observations whose state token is hidden (zero: the mean state)."""
    prefix_steps: tuple[Annotated[int, Range(0)], Annotated[int, Range(0)]] = (0, 0)
    """Least and most of a chunk's first actions that are given, drawn uniformly: what is executed while planning lasts.
    Such a checkpoint continues a chunk by being given these, without guidance (`HorizonConfig.given_steps`)."""

    def __post_init__(self) -> None:
        _require_ascending("prefix_steps", self.prefix_steps)


@dataclass(frozen=True)
class Schedule:
    """Passes and steps by which a future is imagined, judged and acted on; as in `PlannerConfig`.

    Raises:
        ValueError: times that no planner takes.
    """

    video_times: tuple[float, ...]
    """Flow times of a future's passes. The first step, to the first of them, is one for all futures of an observation
    where that is above 0."""
    num_value_steps: Annotated[int, Range(1)]
    num_action_steps: Annotated[int, Range(1)]

    def __post_init__(self) -> None:
        self.applied(PlannerConfig())

    @property
    def shares_first_step(self) -> bool:
        return self.video_times[:1] > (0.0,)

    def applied(self, planner: PlannerConfig) -> PlannerConfig:
        """That planner, with these passes and steps."""
        return replace(
            planner,
            video_times=self.video_times,
            share_first_step=self.shares_first_step,
            num_value_steps=self.num_value_steps,
            num_action_steps=self.num_action_steps,
        )


@dataclass(frozen=True)
class DistilStageConfig(StageConfig):
    """The stage after the three: fewer passes and steps for what a teacher does with more (`distil_stage`)."""

    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(learning_rate=2e-4, batch_size=16, ema_decay=0.99, evaluate_seconds=600.0)
    )
    """With the learning rate of the other stages a trial got worse: a student starts near its end."""
    memory_noise: float = 0.0
    teacher: Schedule = field(default_factory=lambda: Schedule((0.25, 0.5, 0.75), 3, 5))
    student: Schedule = field(default_factory=lambda: Schedule((0.25,), 1, 1))
    num_futures: Annotated[int, Range(2)] = 4
    """Futures imagined of every observation, from noises that are drawn anew each time (M)."""
    num_value_samples: Annotated[int, Range(1)] = 2
    """Value samples of every future, from noises that the futures of an observation share (N)."""
    action_noise_std: Annotated[float, Range(0.0)] = 1.0
    """That of `planner.json`: 0 = acting starts from zero."""
    score: str = "gain"
    """By which the futures are compared in held-out metrics; that of `planner.json`."""
    difference_weight: float = 1.0
    """Weight of the errors of what distinguishes the futures of an observation, beside those of the futures themselves:
    a choice is made among differences."""
    future_weight: float = 1.0
    value_weight: float = 1.0
    action_weight: float = 1.0
    recorded_weight: float = 0.1
    """Weight of the video loss on recorded futures, where the video network trains: it must stay able to denoise a
    future in many steps, which is what people are shown."""

    def __post_init__(self) -> None:
        make_score(self.score)


def _require_ascending(name: str, numbers: tuple[float, float]) -> None:
    if numbers[0] > numbers[1]:
        raise ValueError(f"{name} {numbers} must ascend")


@dataclass(frozen=True)
class DatasetConfig:
    """How one of several datasets is used.

    Attributes:
        weight: its observations are drawn this many times as often as those of a dataset of weight 1.
        episodes: which of its episodes are used (`EpisodeFilter`), such as "success and not recovering"; all when None.
        imitated: whose actions are learnt, of those that are used, such as "success"; all when None. The others teach
            what they lead to (futures and values), so that choosing knows failures that acting does not imitate.
        mapping: of a dataset of another layout, see `DataMapping`; `wav dataset convert` prints one.
    """

    weight: Annotated[float, Range(0.0, above=True)] = 1.0
    episodes: str | None = None
    imitated: str | None = None
    mapping: DataMapping | None = None


@dataclass(frozen=True)
class AugmentationConfig:
    """How pictures are changed before they are encoded, see `training.data.augmentation`.

    Attributes:
        encodings: of every episode beside the plain one, each changed otherwise; a sample is drawn from any of all.
        brightness, contrast, saturation: factors are uniform in 1 - x to 1 + x.
        crop: sides of what is cut out at random, relative to the picture's.
    """

    encodings: Annotated[int, Range(0)] = 0
    brightness: Share = 0.2
    contrast: Share = 0.2
    saturation: Share = 0.3
    crop: Annotated[float, Range(0.0, 1.0, above=True)] = 0.95


@dataclass(frozen=True)
class TrainConfig:
    """One run.

    Attributes:
        preset: name of the model preset.
        seed: decides every draw together with stage, step and worker.
        validation_fraction: share of the episodes held out of every stage, drawn by `seed`.
        validation_samples: held-out observations that the metrics are computed on.
        drop_still_steps: train no stage on observations in whose whole chunk nothing moves (`batches.still_steps`).
        start_steps: steps at the beginning of an episode, where the memory shows no motion yet and what follows has to
            be chosen, that are drawn `start_weight` times as often as others.
        start_weight: see there.
        datasets: by the name of a dataset's directory; one that is not there is used whole, with weight 1.
        labels: how datasets that are read through a mapping are labelled: they have no labels of their own.
        augmentation: other pictures of the same episodes, made by `wav train latents`; held-out metrics have the plain
            ones.
        frozen: beginnings of names of parameters that no stage trains, such as "video." or "value.blocks.0.".
        workers: processes with averaged gradients, one torch thread each.
        compile: compile the transformer blocks (needs a C++ compiler; half a minute or more at the start).
        recompute: keep what enters a transformer block for the backward pass and run the block again there: a tenth of
            the memory of a sample, a third more arithmetic.
    """

    preset: str = "wav-tiny"
    seed: int = 0
    validation_fraction: float = 0.05
    validation_samples: int = 256
    drop_still_steps: bool = False
    start_steps: Annotated[int, Range(0)] = 0
    start_weight: Annotated[int, Range(1)] = 1
    datasets: dict[str, DatasetConfig] = field(default_factory=dict)
    labels: LabelConfig = field(default_factory=LabelConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    frozen: tuple[str, ...] = ()
    workers: int = 2
    compile: bool = False
    recompute: bool = False
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    video: VideoStageConfig = field(default_factory=VideoStageConfig)
    value: ExpertStageConfig = field(default_factory=ExpertStageConfig)
    action: ActionStageConfig = field(default_factory=ActionStageConfig)
    distil: DistilStageConfig = field(default_factory=DistilStageConfig)

    def __post_init__(self) -> None:
        horizon, prefix_steps = self.model.horizon.action_horizon, self.action.prefix_steps
        if prefix_steps[1] >= horizon:
            raise ValueError(f"action.prefix_steps {prefix_steps} must leave one of the {horizon} actions of a chunk")

    @property
    def model(self) -> ModelConfig:
        return get_preset(self.preset)


def load_config(path: Path, settings: Iterable[str] = ()) -> TrainConfig:
    """Read a run's YAML.

    Args:
        settings: "key=value" each, which count more than the file; see `wav_models.configuration.load`.

    Raises:
        ConfigurationError: as `wav_models.configuration.load`.
        ValueError: unknown preset.
    """
    return load(TrainConfig, path, settings)
