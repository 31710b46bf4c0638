"""How a remote policy calls what we call views, joints and rates: one YAML file (`config/remote_openpi.yaml`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, TypeAlias

import cv2
import numpy as np

from wav_models.configuration import AtLeastOne, ConfigurationError, Positive, Range, check_choice
from wav_models.data.images import resize_image
from wav_models.presets import HorizonConfig
from wav_models.types import FloatArray, ImageArray, Observation
from wav_models.words import counted
from wav_policy.robot.cameras import VIEWS
from wav_policy.robot.joints import JOINT_NAMES, REVOLUTE

Key: TypeAlias = str | tuple[str, ...]
"""Where a value lies in a message: its name, or the names from the outside in."""
_PIXELS = Annotated[int, Range(8, 4096)]
_MAX_MEMORY: Final = 60.0
"""Pictures of longer ago are no memory, and keeping them fills this computer's [s]."""
_MAX_PICTURES: Final = 64_000_000
"""In one question; what `wav serve` takes [bytes]."""
_MAX_DEPTH: Final = 8
"""Names from the outside of a message to a value."""
_MAX_POSITION: Final = 100.0
"""A number beyond it is none, whatever it was meant to be [rad, m]."""
_MAX_SPEED: Final = 10.0
"""From one row to the next; a Piper's joints reach 3 [rad/s]."""


class MappingError(ValueError):
    """A message that is not as the mapping has it; names the part."""


@dataclass(frozen=True)
class RemoteMapping:
    """What is sent to a remote policy, and how its answer is read. Names are openpi's where nothing else is given.

    Raises:
        ValueError: a view or joint that there is not, or one named twice.
    """

    images: dict[str, str | tuple[str, ...]]
    """View: where its picture goes. Views that the policy does not know are left out."""
    step_hz: Annotated[float, Range(0.5, 1000.0)]
    """Rows of an answer per second [Hz]; row i is due (i + 1) steps after the observation."""
    action_horizon: Annotated[int, Range(2, 10_000)]
    """Rows that are used; more may come, fewer are refused."""
    num_execute_steps: AtLeastOne
    """Rows of a chunk that are run before the next one takes over."""
    image_size: tuple[_PIXELS, _PIXELS] = (224, 224)
    """(height, width) of every picture [px]."""
    image_fit: Literal["pad", "stretch"] = "pad"
    """pad: the aspect ratio is kept, black around; stretch: it is not."""
    image_layout: Literal["hwc", "chw"] = "hwc"
    """Order of the axes of a picture, uint8 RGB."""
    memory_offsets: tuple[int, ...] = (0,)
    """Steps of the pictures that are sent, oldest first; one goes as a picture, several as a stack [F, ...]."""
    state: str | tuple[str, ...] = "state"
    """Where the measured joints go."""
    instruction: str | tuple[str, ...] = "prompt"
    """Where the command in words goes."""
    actions: str | tuple[str, ...] = "actions"
    """Where the chunk lies in the answer: [H, len(joints)], absolute positions."""
    joints: tuple[str, ...] = JOINT_NAMES
    """In the policy's order; joints that it does not know stay where they were told to be."""
    scale: dict[str, float] = field(default_factory=dict)
    """Joint: the policy's number is scale * ours + offset, ours in rad (gripper: m); 1 where not given."""
    offset: dict[str, float] = field(default_factory=dict)
    """Joint: see there; 0 where not given."""
    max_start_distance: Positive = 0.5
    """A first row farther from the measured arms is of another moment, order of joints or unit [rad]."""
    timeout: Annotated[float, Range(0.05, 10.0)] = 2.0
    """An answer that takes longer is not waited for [s]."""

    def __post_init__(self) -> None:
        if not self.images:
            raise ConfigurationError("images is empty; a policy that sees nothing is not asked")
        for view in self.images:
            check_choice("view", view, VIEWS)
        if not self.joints or len(set(self.joints)) < len(self.joints):
            raise ConfigurationError(f"joints {list(self.joints)}: at least one, and none twice")
        for name in (*self.joints, *self.scale, *self.offset):
            check_choice("joint", name, JOINT_NAMES)
        if 0.0 in self.scale.values():
            raise ConfigurationError("a scale is 0; the policy's number would say nothing")
        if self.num_execute_steps >= self.action_horizon:
            raise ConfigurationError(
                f"num_execute_steps is {self.num_execute_steps}; fewer than action_horizon ({self.action_horizon}) fit"
            )
        if list(self.memory_offsets) != sorted({*self.memory_offsets, 0}) or self.memory_offsets[-1] != 0:
            raise ConfigurationError(f"memory_offsets {self.memory_offsets}: oldest first, all below 0 but the last, 0")
        if (oldest := -self.memory_offsets[0] / self.step_hz) > _MAX_MEMORY:
            raise ConfigurationError(f"memory_offsets go back {oldest:g} s; at most {_MAX_MEMORY:g} s fit")
        height, width = self.image_size
        if (size := len(self.images) * len(self.memory_offsets) * height * width * 3) > _MAX_PICTURES:
            raise ConfigurationError(f"the pictures of one question have {size:.2g} bytes; {_MAX_PICTURES:.2g} fit")
        paths = [_path(key) for key in (*self.images.values(), self.state, self.instruction)]
        for i, path in enumerate(paths):
            if len(path) > _MAX_DEPTH:
                raise ConfigurationError(f"{'/'.join(path[:3])}/... has {len(path)} names; {_MAX_DEPTH} fit")
            if not path or any(other[: len(path)] == path for j, other in enumerate(paths) if j != i):
                raise ConfigurationError(f"{'/'.join(path) or 'an empty key'} has no place of its own in the message")

    @property
    def horizon(self) -> HorizonConfig:
        """Steps as the observation buffer and the chunk continuation need them."""
        return HorizonConfig(
            step_hz=self.step_hz,
            memory_offsets=self.memory_offsets,
            future_offsets=(self.action_horizon,),
            action_horizon=self.action_horizon,
            value_horizon=self.action_horizon,
            num_execute_steps=self.num_execute_steps,
        )

    @property
    def _index(self) -> list[int]:
        return [JOINT_NAMES.index(name) for name in self.joints]

    def to_remote(self, positions: FloatArray) -> FloatArray:
        """Positions [..., 14] (rad, m) as the policy's numbers [..., len(joints)]."""
        scale, offset = self._units()
        return positions[..., self._index] * scale + offset

    def from_remote(self, numbers: FloatArray, others: FloatArray) -> FloatArray:
        """The inverse of `to_remote`, shape [..., 14]; joints the policy does not know are as in `others` [14]."""
        scale, offset = self._units()
        positions = np.broadcast_to(others, (*numbers.shape[:-1], len(JOINT_NAMES))).copy()
        positions[..., self._index] = (numbers - offset) / scale
        return positions

    def _units(self) -> tuple[FloatArray, FloatArray]:
        scale = np.array([self.scale.get(name, 1.0) for name in self.joints])
        return scale, np.array([self.offset.get(name, 0.0) for name in self.joints])

    def request(self, observation: Observation) -> dict[str, Any]:
        """What the policy is told."""
        message: dict[str, Any] = {}
        for view, key in self.images.items():
            frames = observation.images[VIEWS.index(view)]
            frames = np.moveaxis(frames, -1, -3) if self.image_layout == "chw" else frames
            _put(message, key, np.ascontiguousarray(frames if len(self.memory_offsets) > 1 else frames[-1]))
        _put(message, self.state, self.to_remote(observation.joint_state))
        _put(message, self.instruction, observation.instruction)
        return message

    def chunk_rows(self, answer: Mapping[str, Any], joint_state: FloatArray, others: FloatArray) -> FloatArray:
        """Targets [action_horizon, 14] (rad, m) of an answer.

        Args:
            answer: of the policy.
            joint_state: measured when it was asked, shape [14].
            others: where joints stay that the policy does not know, shape [14].

        Raises:
            MappingError: no array there, other joints, too few rows, a number that is none, rows that no arm can
                follow, or a chunk that does not begin where the arms are.
        """
        actions = _get(answer, self.actions)
        place = "/".join(_path(self.actions))
        if not isinstance(actions, np.ndarray) or actions.dtype.kind not in "fiu":
            raise MappingError(f"{place} is {_kind(actions)}; an array of numbers fits")
        fits = f"[{self.action_horizon} or more, {len(self.joints)}] fits ({', '.join(self.joints)})"
        if actions.ndim != 2 or actions.shape[1] != len(self.joints):
            raise MappingError(f"{place} has shape {list(actions.shape)}, of another robot; {fits}")
        if len(actions) < self.action_horizon:
            raise MappingError(f"{place} has {counted(len(actions), 'row')}; {fits}")
        numbers = actions[: self.action_horizon].astype(np.float64)
        rows = self.from_remote(numbers, others)
        if not (usable := np.abs(rows[:, self._index]) <= _MAX_POSITION).all():  # NaN is not
            row, joint = np.argwhere(~usable)[0]
            raise MappingError(f"{place} is {numbers[row, joint]:g} in row {row}, {self.joints[joint]}")
        distance = np.abs(rows[0] - joint_state)[REVOLUTE]
        if not distance.max() <= self.max_start_distance:
            name = JOINT_NAMES[REVOLUTE[int(distance.argmax())]]
            raise MappingError(
                f"{place} begins {distance.max():.2f} rad from where {name} is (allowed {self.max_start_distance:g}): "
                "a chunk of another moment, another order of joints, or another unit"
            )
        speeds = np.abs(np.diff(rows[:, REVOLUTE], axis=0)) * self.step_hz
        if speeds.max() > _MAX_SPEED:
            row, joint = np.unravel_index(int(speeds.argmax()), speeds.shape)
            raise MappingError(
                f"{place} moves {JOINT_NAMES[REVOLUTE[joint]]} at {speeds.max():.0f} rad/s after row {row}: no arm is "
                "that fast; another rate or unit"
            )
        return rows

    def observed(self, message: Mapping[str, Any]) -> tuple[dict[str, ImageArray], FloatArray, str]:
        """The other way, for a server: pictures [F, H, W, 3] by view, joint state [14] (rad, m) and instruction.

        Raises:
            MappingError: a part is missing or has another type or shape.
        """
        images = {view: self._frames(message, view, key) for view, key in self.images.items()}
        state, text = _get(message, self.state), _get(message, self.instruction)
        if not isinstance(state, np.ndarray) or state.dtype.kind not in "fiu" or state.shape != (len(self.joints),):
            raise MappingError(f"{'/'.join(_path(self.state))} is {_kind(state)}; numbers [{len(self.joints)}] fit")
        if not np.isfinite(state).all():
            raise MappingError(f"{'/'.join(_path(self.state))} is not finite at {self.joints[_first_bad(state)]}")
        if not isinstance(text, str) or not text.strip():
            raise MappingError(f"{'/'.join(_path(self.instruction))} is {_kind(text)}; the command in words fits")
        return images, self.from_remote(state.astype(np.float64), np.zeros(len(JOINT_NAMES))), text

    def _frames(self, message: Mapping[str, Any], view: str, key: Key) -> ImageArray:
        sent = _get(message, key)
        stack = np.asarray(sent)[None] if np.ndim(sent) == 3 else np.asarray(sent)
        if stack.ndim == 4 and self.image_layout == "chw":
            stack = np.moveaxis(stack, 1, -1)
        fits = stack.dtype == np.uint8 and stack.ndim == 4 and stack.size > 0 and stack.shape[-1] == 3
        if not fits or len(stack) not in (1, len(self.memory_offsets)):
            axes = "[3, H, W]" if self.image_layout == "chw" else "[H, W, 3]"
            raise MappingError(f"{'/'.join(_path(key))} ({view}) is {_kind(sent)}; uint8 {axes} fits")
        return np.stack([self.fit(np.ascontiguousarray(frame), self.image_size) for frame in stack])

    def fit(self, rgb: ImageArray, size: tuple[int, int], out: ImageArray | None = None) -> ImageArray:
        """A picture [H, W, 3] at `size` (height, width), stretched or padded; as `resize_image`."""
        return resize_image(rgb, size, out) if self.image_fit == "stretch" else letterbox(rgb, size, out)


def letterbox(rgb: ImageArray, size: tuple[int, int], out: ImageArray | None = None) -> ImageArray:
    """A picture uint8 [H, W, 3] at `size` (height, width): the aspect ratio is kept, black at both sides.

    Raises:
        ValueError: as `resize_image`.
    """
    if rgb.ndim != 3 or rgb.shape[:2] == size or 0 in rgb.shape:
        return resize_image(rgb, size, out)
    ratio = max(rgb.shape[0] / size[0], rgb.shape[1] / size[1])
    height, width = (max(1, min(round(n / ratio), m)) for n, m in zip(rgb.shape[:2], size, strict=True))
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    border = (top, size[0] - height - top, left, size[1] - width - left)
    padded = cv2.copyMakeBorder(resize_image(rgb, (height, width)), *border, cv2.BORDER_CONSTANT, dst=out)
    return np.asarray(padded, dtype=np.uint8)


def _path(key: Key) -> tuple[str, ...]:
    return tuple(filter(None, (key,))) if isinstance(key, str) else key


def _put(message: dict[str, Any], key: Key, value: Any) -> None:
    *outer, last = _path(key)
    for name in outer:
        message = message.setdefault(name, {})
    message[last] = value


def _get(message: Mapping[str, Any], key: Key) -> Any:
    found: Any = message
    for name in _path(key):
        if not isinstance(found, Mapping) or name not in found:
            names = ", ".join(_names(message)) or "nothing"
            raise MappingError(f"{'/'.join(_path(key))} is missing; there is {names}"[:300])
        found = found[name]
    return found


def _names(message: Mapping[Any, Any], outer: str = "") -> Iterator[str]:
    for key, value in message.items():
        if isinstance(value, Mapping) and value and not outer:
            yield from _names(value, f"{key}/")
        else:
            yield f"{outer}{str(key)[:40]}"


def _kind(value: Any) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"


def _first_bad(numbers: FloatArray) -> int:
    return int(np.isfinite(numbers).argmin())
