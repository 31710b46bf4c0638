"""Typed configuration of the model; presets.

`wav-2b` is the published 2.2 B-parameter model (names and shapes of its checkpoint) for two Piper arms, `wav-2b-libero`
that for LIBERO; `wav-tiny` is the same architecture at a size that trains and runs on two CPU cores. Field names of the
networks are those of diffusers' `LTXVideoTransformer3DModel`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

from wav_models.configuration import check_choice
from wav_models.embodiment import Embodiment
from wav_models.embodiments import ALOHA, BIMANUAL_PIPER, LIBERO_PANDA

MAX_SIZE: Final = 2**16
"""Of every number of a configuration: nothing real is larger, and what is damaged is refused before it is built."""
MAX_LAYERS: Final = 512
MAX_TABLE: Final = 2**28
"""Entries of a rotary table: positions times hidden size."""


@dataclass(frozen=True)
class VideoConfig:
    """Video DiT. hidden = num_attention_heads * attention_head_dim."""

    num_layers: int = 28
    num_attention_heads: int = 32
    attention_head_dim: int = 64
    in_channels: int = 128
    out_channels: int = 128
    caption_channels: int = 4096
    cross_attention_dim: int = 2048
    max_view: int = 3
    """Rows of the view embedding. A robot may have fewer views: they take the first ones."""
    use_view_embed: bool = True
    cross_view_every: int = 3
    """All views of a sample attend jointly in blocks 0, 3, 6, ..."""
    causal_memory: bool = False
    """Memory tokens do not attend to future tokens: their keys and values are computed once per observation."""

    @property
    def hidden_size(self) -> int:
        return self.num_attention_heads * self.attention_head_dim


@dataclass(frozen=True)
class ExpertConfig:
    """Value or action DiT: as many blocks as the video DiT.

    Attributes:
        in_channels, out_channels: of the value DiT the embodiment's value channels; of the action DiT its actions and
            its state.
    """

    in_channels: int
    out_channels: int
    num_attention_heads: int = 16
    attention_head_dim: int = 32

    @property
    def hidden_size(self) -> int:
        return self.num_attention_heads * self.attention_head_dim


@dataclass(frozen=True)
class LatentConfig:
    """Images and what the auto-encoder makes of them."""

    autoencoder: str = "ltx"
    """"ltx": diffusers' AutoencoderKLLTXVideo; "tiny": `TinyAutoencoder`, frame by frame."""
    image_size: tuple[int, int] = (256, 256)
    """(height, width) of every view as the model sees it [px]."""
    tokens_per_frame: tuple[int, int] = (8, 8)
    spatial_compression: int = 32
    temporal_compression: int = 8
    frame_rate: float = 30.0
    """Frames per second of the video the RoPE's time axis is scaled by."""

    @property
    def is_pretrained(self) -> bool:
        """Whether the auto-encoder comes from a local directory; otherwise `wav train autoencoder` makes it."""
        return self.autoencoder != "tiny"


@dataclass(frozen=True)
class HorizonConfig:
    """What is remembered, imagined and acted on, in steps of `1 / step_hz` relative to now."""

    step_hz: float = 30.0
    memory_offsets: tuple[int, ...] = (-27, -18, -9, 0)
    future_offsets: tuple[int, ...] = (6, 54)
    """Steps of the future latent frames: of the last image, where one covers several. The published model imagines
    nine images in the time of its 54 actions, six steps apart: the first is a latent alone, eight are the second."""
    action_horizon: int = 54
    value_horizon: int = 54
    num_execute_steps: int = 27
    """Steps of a chunk that are run before the next plan takes over."""
    given_steps: int | None = None
    """So many of a chunk's first actions may be given to the action expert as clean data, because they are executed
    before the chunk arrives (`ActionStageConfig.prefix_steps`); None: it was not trained so, and is guided to them."""


@dataclass(frozen=True)
class TextConfig:
    encoder: str = "t5"
    """"t5": T5 encoder through transformers from a local directory; "minilm": the packaged MiniLM weights."""
    max_tokens: int = 128


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides the shapes of a WAV model.

    Raises:
        ValueError: a size that no model can have, naming it.
    """

    name: str
    value: ExpertConfig
    action: ExpertConfig
    video: VideoConfig = field(default_factory=VideoConfig)
    latent: LatentConfig = field(default_factory=LatentConfig)
    horizon: HorizonConfig = field(default_factory=HorizonConfig)
    text: TextConfig = field(default_factory=TextConfig)
    embodiment: Embodiment = BIMANUAL_PIPER
    """The robot. Checkpoints of earlier versions do not say it: all of them are of two Piper arms."""

    def __post_init__(self) -> None:
        _require_sizes(self)
        _require_embodiment(self)
        horizon = self.horizon
        frames = (self.num_memory_frames + self.num_future_frames) * self.num_tokens_per_frame
        tables = {
            "the video model": frames * self.video.hidden_size,
            "the value model": horizon.value_horizon * self.value.hidden_size,
            "the action model": horizon.action_horizon * self.action.hidden_size,
        }
        for part, entries in tables.items():
            if entries > MAX_TABLE:
                raise ValueError(f"{part} has {entries} numbers in all its positions; at most {MAX_TABLE} fit")

    @property
    def num_views(self) -> int:
        return len(self.embodiment.views)

    @property
    def num_memory_frames(self) -> int:
        return len(self.horizon.memory_offsets)

    @property
    def num_future_frames(self) -> int:
        return len(self.horizon.future_offsets)

    @property
    def num_window_latents(self) -> int:
        """Future latent frames that cover several images: all but the first, where the auto-encoder covers several."""
        return 0 if self.latent.temporal_compression == 1 else self.num_future_frames - 1

    @property
    def future_image_offsets(self) -> tuple[int, ...]:
        """Steps of the images of a future: one for the first latent frame, `temporal_compression` for each other one,
        evenly spaced up to that one's step.

        Raises:
            ValueError: they are not on whole steps.
        """
        span, offsets = self.latent.temporal_compression, self.horizon.future_offsets
        images = list(offsets[:1])
        for start, end in pairwise(offsets):
            spacing, rest = divmod(end - start, span)
            if spacing < 1 or rest:
                raise ValueError(
                    f"{self.name}: horizon.future_offsets {offsets} do not leave a whole number of steps between the "
                    f"{span} images of a latent; a distance that {span} divides fits"
                )
            images += range(start + spacing, end + 1, spacing)
        return tuple(images)

    @property
    def num_tokens_per_frame(self) -> int:
        return self.latent.tokens_per_frame[0] * self.latent.tokens_per_frame[1]

    @property
    def memory_shape(self) -> tuple[int, int, int, int]:
        """Latents of an observation, [V, F_mem, L, C]."""
        return self.num_views, self.num_memory_frames, self.num_tokens_per_frame, self.video.in_channels

    @property
    def future_shape(self) -> tuple[int, int, int, int]:
        """Latents of a future, [V, F_fut, L, C]."""
        return self.num_views, self.num_future_frames, self.num_tokens_per_frame, self.video.in_channels

    @property
    def value_shape(self) -> tuple[int, int]:
        """Values of a future, [T, C]."""
        return self.horizon.value_horizon, self.value.in_channels

    @property
    def action_shape(self) -> tuple[int, int]:
        """A chunk with the states that it leads to, [H, A + S]."""
        return self.horizon.action_horizon, self.action.in_channels


def _require_sizes(config: ModelConfig) -> None:
    """ValueError unless all numbers of a configuration are within reason; offsets may be negative or zero."""
    for part in (config.video, config.value, config.action, config.latent, config.horizon, config.text):
        for name, value in vars(part).items():
            lowest = -MAX_SIZE if name.endswith("_offsets") else 1
            highest = MAX_LAYERS if name == "num_layers" else MAX_SIZE
            for number in value if isinstance(value, tuple) else (value,):
                whole = isinstance(number, int) and not isinstance(number, bool)
                if whole and not lowest <= number <= highest:
                    raise ValueError(f"{name} is {value!r}; {lowest} to {highest} fits")
                if isinstance(number, float) and not 0.0 < number <= MAX_SIZE:
                    raise ValueError(f"{name} is {value!r}; more than 0 and at most {MAX_SIZE} fits")
            if value == ():
                raise ValueError(f"{name} is empty; it needs an entry at least")


def _require_embodiment(config: ModelConfig) -> None:
    """ValueError unless the networks have the channels and views of the robot."""
    robot = config.embodiment
    joint_channels = robot.action_dim + robot.state_dim
    for part, expert, expected in (
        ("value", config.value, robot.value_dim),
        ("action", config.action, joint_channels),
    ):
        for name in ("in_channels", "out_channels"):
            if (found := getattr(expert, name)) != expected:
                raise ValueError(f"{part}.{name} is {found}; the robot {robot.name} needs {expected}")
    if config.video.use_view_embed and config.num_views > config.video.max_view:
        raise ValueError(
            f"video.max_view is {config.video.max_view}; the robot {robot.name} has {config.num_views} views"
        )


def expert_configs(
    robot: Embodiment, num_attention_heads: int = 16, attention_head_dim: int = 32
) -> tuple[ExpertConfig, ExpertConfig]:
    """Value and action DiT of a robot."""
    value, action = (
        ExpertConfig(channels, channels, num_attention_heads, attention_head_dim)
        for channels in (robot.value_dim, robot.action_dim + robot.state_dim)
    )
    return value, action


_VALUE, _ACTION = expert_configs(BIMANUAL_PIPER)
WAV_2B = ModelConfig(name="wav-2b", value=_VALUE, action=_ACTION)

_VALUE, _ACTION = expert_configs(LIBERO_PANDA)
WAV_2B_LIBERO = ModelConfig(
    name="wav-2b-libero",
    value=_VALUE,
    action=_ACTION,
    latent=LatentConfig(frame_rate=20.0),
    horizon=HorizonConfig(
        step_hz=20.0,
        memory_offsets=(-18, -12, -6, 0),
        future_offsets=(4, 36),
        action_horizon=36,
        value_horizon=36,
        num_execute_steps=8,
    ),
    embodiment=LIBERO_PANDA,
)
"""As published for LIBERO: 36 actions of which 8 are run, two views. The times of its images are our choice."""

_VALUE, _ACTION = expert_configs(BIMANUAL_PIPER, num_attention_heads=2, attention_head_dim=64)

WAV_TINY = ModelConfig(
    name="wav-tiny",
    video=VideoConfig(
        num_layers=6,
        num_attention_heads=3,
        attention_head_dim=64,
        in_channels=32,
        out_channels=32,
        caption_channels=384,
        cross_attention_dim=192,
        causal_memory=True,
    ),
    value=_VALUE,
    action=_ACTION,
    latent=LatentConfig(
        autoencoder="tiny",
        image_size=(64, 64),
        tokens_per_frame=(4, 4),
        spatial_compression=16,
        temporal_compression=1,
        frame_rate=10.0,
    ),
    horizon=HorizonConfig(
        step_hz=10.0,
        memory_offsets=(-8, 0),
        future_offsets=(8, 16),
        action_horizon=16,
        value_horizon=16,
        num_execute_steps=4,
    ),
    text=TextConfig(encoder="minilm", max_tokens=16),
)

_VALUE, _ACTION = expert_configs(LIBERO_PANDA, num_attention_heads=2, attention_head_dim=64)
WAV_TINY_LIBERO = replace(WAV_TINY, name="wav-tiny-libero", value=_VALUE, action=_ACTION, embodiment=LIBERO_PANDA)
"""`wav-tiny` with LIBERO's robot: ten commands a second, each held for two of the environment's steps."""

_VALUE, _ACTION = expert_configs(ALOHA, num_attention_heads=2, attention_head_dim=64)
WAV_TINY_ALOHA = replace(
    WAV_TINY,
    name="wav-tiny-aloha",
    value=_VALUE,
    action=_ACTION,
    latent=replace(WAV_TINY.latent, frame_rate=50.0),
    horizon=HorizonConfig(
        step_hz=50.0,
        memory_offsets=(-40, 0),
        future_offsets=(40, 80),
        action_horizon=80,
        value_horizon=80,
        num_execute_steps=20,
    ),
    text=replace(WAV_TINY.text, max_tokens=24),
    embodiment=ALOHA,
)
"""`wav-tiny` with ALOHA's robot: the same times, at its fifty commands a second."""

PRESETS: dict[str, ModelConfig] = {
    preset.name: preset for preset in (WAV_2B, WAV_2B_LIBERO, WAV_TINY, WAV_TINY_LIBERO, WAV_TINY_ALOHA)
}


def get_preset(name: str) -> ModelConfig:
    """The preset of that name; ValueError with the nearest valid name otherwise."""
    check_choice("preset", name, PRESETS)
    return PRESETS[name]
