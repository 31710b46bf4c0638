"""The shapes of a benchmark model from a JSON file: a scaled-down WAV with random weights, or a preset."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from wav_models.configuration import AtLeastOne, did_you_mean, load
from wav_models.embodiment import Channel, Embodiment, RewardTerm, View
from wav_models.presets import (
    PRESETS,
    ExpertConfig,
    HorizonConfig,
    LatentConfig,
    ModelConfig,
    TextConfig,
    VideoConfig,
)
from wav_models.project_files import resolve

PUBLISHED_DENOISE_STEPS = 10


@dataclass(frozen=True)
class BenchmarkModel:
    """A model and how it is denoised.

    Attributes:
        denoise_steps: Euler steps of the value and of the action expert.
        num_video_steps: passes of the video DiT per future.
    """

    config: ModelConfig
    denoise_steps: int = PUBLISHED_DENOISE_STEPS
    num_video_steps: int = 1


@dataclass(frozen=True)
class VideoShapes:
    num_layers: AtLeastOne
    num_attention_heads: AtLeastOne
    attention_head_dim: AtLeastOne
    in_channels: AtLeastOne
    out_channels: AtLeastOne
    caption_channels: AtLeastOne
    cross_attention_dim: AtLeastOne
    max_view: AtLeastOne


@dataclass(frozen=True)
class ExpertShapes:
    num_attention_heads: AtLeastOne
    attention_head_dim: AtLeastOne
    in_channels: AtLeastOne


@dataclass(frozen=True)
class ModelFile:
    """Keys of the file; `about` and `plans` (suggested [K, M, N]) are for its readers."""

    video: VideoShapes
    value: ExpertShapes
    action: ExpertShapes
    views: AtLeastOne
    memory_frames: AtLeastOne
    future_frames: AtLeastOne
    tokens_per_frame: tuple[AtLeastOne, AtLeastOne]
    text_tokens: AtLeastOne
    action_horizon: AtLeastOne
    value_horizon: AtLeastOne
    denoise_steps: AtLeastOne
    num_video_steps: AtLeastOne
    about: str = ""
    plans: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        if self.views != self.video.max_view:
            raise ValueError(f"views is {self.views}, video.max_view {self.video.max_view}; both must be the same")
        hidden = self.video.num_attention_heads * self.video.attention_head_dim
        if self.video.cross_attention_dim != hidden:
            raise ValueError(
                f"video.cross_attention_dim is {self.video.cross_attention_dim}; {hidden} fits "
                "(num_attention_heads * attention_head_dim)"
            )

    def model(self, name: str) -> BenchmarkModel:
        rows, columns = self.tokens_per_frame
        latent = LatentConfig(tokens_per_frame=(rows, columns))
        pixels = latent.spatial_compression
        spacing = self.action_horizon // self.future_frames or 1
        config = ModelConfig(
            name=name,
            video=VideoConfig(**asdict(self.video)),
            value=_expert(self.value),
            action=_expert(self.action),
            latent=replace(latent, image_size=(rows * pixels, columns * pixels)),
            horizon=HorizonConfig(
                memory_offsets=tuple(range(1 - self.memory_frames, 1)),
                future_offsets=tuple(spacing * (i + 1) for i in range(self.future_frames)),
                action_horizon=self.action_horizon,
                value_horizon=self.value_horizon,
                num_execute_steps=max(1, self.action_horizon // 2),
            ),
            text=TextConfig(max_tokens=self.text_tokens),
            embodiment=_robot(self.views, self.action.in_channels, self.value.in_channels),
        )
        return BenchmarkModel(config, self.denoise_steps, self.num_video_steps)


def load_model(source: str) -> BenchmarkModel:
    """The model of a preset's name or of a JSON file.

    Raises:
        ValueError: unknown preset; a file with unknown, missing or unsuitable keys, that is not JSON or cannot be read.
    """
    if source in PRESETS:
        return BenchmarkModel(PRESETS[source])
    path = resolve(source)
    if path.suffix != ".json":
        raise ValueError(f"{source!r} is neither a JSON file nor a preset{did_you_mean(source, PRESETS)}")
    return load(ModelFile, path).model(path.stem)


def _robot(num_views: int, action_channels: int, value_channels: int) -> Embodiment:
    """Some robot of that size: costs depend on nothing else of it."""
    num_commands = action_channels // 2
    return Embodiment(
        name="benchmark",
        robot_type="benchmark",
        state=tuple(Channel(f"state{i}", "1", -1.0, 1.0) for i in range(action_channels - num_commands)),
        views=tuple(View(f"view{i}", f"view{i}", (1, 1)) for i in range(num_views)),
        control_rate=1.0,
        reward_terms=tuple(RewardTerm(f"term{i}", "proximity", "state", 1.0) for i in range(value_channels - 1)),
        action_kind="end_effector_deltas",
        commands=tuple(Channel(f"command{i}", "1", -1.0, 1.0) for i in range(num_commands)),
    )


def _expert(shapes: ExpertShapes) -> ExpertConfig:
    return ExpertConfig(**asdict(shapes), out_channels=shapes.in_channels)
