"""What the networks see instead of radians, metres and rewards; fitted on the training data, kept in the checkpoint.

Actions and future states are differences to the measured state at the time of the observation, standardised per step
of the chunk; values are symlog-compressed, then standardised (the symlog as in the official WAV code). One set of
formulas serves NumPy arrays and torch tensors: the result has the kind, dtype and device of the input.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from wav_models.types import ARM_DOF, JOINT_DIM

if TYPE_CHECKING:
    from torch import Tensor

Array = TypeVar("Array", NDArray[Any], "Tensor")
FloatArray = NDArray[np.float64]

VALUE_DIM: Final = 17
"""16 scalar terms of Table 2, then the discounted return."""

# Floors keep a joint that stood still in the data from turning sensor noise into large inputs.
ANGLE_STD_FLOOR: Final = 5e-3
"""[rad]"""
STROKE_STD_FLOOR: Final = 5e-4
"""[m]"""
VALUE_STD_FLOOR: Final = 1e-2


class NormalizationError(ValueError):
    """Statistics that are missing, unknown, malformed or not finite; the message names them."""


@dataclass(frozen=True)
class Normalization:
    """Means and standard deviations.

    Attributes:
        state_mean, state_std: of the joint state, shape [14], rad and m.
        action_diff_mean, action_diff_std: of action minus measured state, shape [H, 14], rad and m.
        state_diff_mean, state_diff_std: of future state minus measured state, shape [H, 14], rad and m.
        value_mean, value_std: of symlog(value), shape [17].
    """

    state_mean: FloatArray
    state_std: FloatArray
    action_diff_mean: FloatArray
    action_diff_std: FloatArray
    state_diff_mean: FloatArray
    state_diff_std: FloatArray
    value_mean: FloatArray
    value_std: FloatArray

    def __post_init__(self) -> None:
        chunk = (self.action_horizon, JOINT_DIM)
        shapes = {"state": (JOINT_DIM,), "action_diff": chunk, "state_diff": chunk, "value": (VALUE_DIM,)}
        for name, shape in shapes.items():
            for statistic in ("mean", "std"):
                array = np.asarray(getattr(self, f"{name}_{statistic}"), dtype=np.float64)
                object.__setattr__(self, f"{name}_{statistic}", array)
                if array.shape != shape:
                    raise NormalizationError(f"{name}_{statistic}: shape {list(array.shape)}, expected {list(shape)}")
                if not np.isfinite(array).all():
                    raise NormalizationError(f"{name}_{statistic}: not finite at {np.argwhere(~np.isfinite(array))[0]}")
            if (getattr(self, f"{name}_std") <= 0).any():
                raise NormalizationError(f"{name}_std: every standard deviation must be positive")

    @property
    def action_horizon(self) -> int:
        """H, the number of steps of an action chunk."""
        return len(np.asarray(self.action_diff_mean))

    def encode_state(self, state: Array) -> Array:
        """Joint state [..., 14] in rad and m to network input [..., 14]."""
        return _standardise(state, self.state_mean, self.state_std)

    def encode_actions(self, actions: Array, states: Array, state: Array) -> Array:
        """Absolute targets and future states to the action expert's variable.

        Args:
            actions: absolute joint targets, shape [..., H, 14], rad and m.
            states: measured states after each of them, shape [..., H, 14], rad and m.
            state: measured state at the observation, shape [..., 14], rad and m.

        Returns:
            Shape [..., H, 28]: 14 normalised action differences, then 14 normalised state differences.
        """
        origin = state[..., None, :]
        action_part = _standardise(actions - origin, self.action_diff_mean, self.action_diff_std)
        state_part = _standardise(states - origin, self.state_diff_mean, self.state_diff_std)
        return _namespace(action_part).concatenate((action_part, state_part), -1)

    def decode_actions(self, x: Array, state: Array) -> Array:
        """Absolute joint targets [..., H, 14] (rad, m) of x [..., H, 28] and the measured state [..., 14]."""
        return self._decode(x[..., :JOINT_DIM], self.action_diff_mean, self.action_diff_std) + state[..., None, :]

    def decode_states(self, x: Array, state: Array) -> Array:
        """Predicted joint states [..., H, 14] (rad, m) of x [..., H, 28] and the measured state [..., 14]."""
        return self._decode(x[..., JOINT_DIM:], self.state_diff_mean, self.state_diff_std) + state[..., None, :]

    def encode_values(self, values: Array) -> Array:
        """Rewards and return [..., 17] to network variable [..., 17]."""
        return _standardise(symlog(values), self.value_mean, self.value_std)

    def decode_values(self, x: Array) -> Array:
        """Inverse of `encode_values`; [..., 17]."""
        return symexp(self._decode(x, self.value_mean, self.value_std))

    def decode_returns(self, x: Array) -> Array:
        """Discounted return alone: x [...] is the last channel of the network variable."""
        return symexp(x * float(self.value_std[-1]) + float(self.value_mean[-1]))

    @staticmethod
    def _decode(x: Any, mean: FloatArray, std: FloatArray) -> Any:
        return x * _like(std, x) + _like(mean, x)

    @classmethod
    def fit(
        cls, states: FloatArray, action_diffs: FloatArray, state_diffs: FloatArray, values: FloatArray
    ) -> Normalization:
        """Statistics of training data.

        Args:
            states: joint states, shape [N, 14], rad and m.
            action_diffs: action chunks minus the state at their observation, shape [N, H, 14], rad and m.
            state_diffs: the states after each action minus the same, shape [N, H, 14], rad and m.
            values: Table 2 terms and return, shape [N, 17].
        """
        joint_floor = np.tile([ANGLE_STD_FLOOR] * (ARM_DOF - 1) + [STROKE_STD_FLOOR], 2)
        samples: dict[str, tuple[FloatArray, Any]] = {
            "state": (states, joint_floor),
            "action_diff": (action_diffs, joint_floor),
            "state_diff": (state_diffs, joint_floor),
            "value": (symlog(np.asarray(values, dtype=np.float64)), VALUE_STD_FLOOR),
        }
        statistics: dict[str, FloatArray] = {}
        for name, (data, floor) in samples.items():
            if len(data) == 0:
                raise NormalizationError(f"{name}: no samples to fit statistics on")
            statistics[f"{name}_mean"] = np.mean(data, axis=0, dtype=np.float64)
            statistics[f"{name}_std"] = np.maximum(np.std(data, axis=0, dtype=np.float64), floor)
        return cls(**statistics)

    def to_json(self, path: Path) -> None:
        """Write all statistics to a JSON file."""
        data = {f.name: getattr(self, f.name).tolist() for f in fields(self)}
        Path(path).write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def from_json(cls, path: Path) -> Normalization:
        """Read what `to_json` wrote; NormalizationError names the file and what is wrong with it."""
        try:
            return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except OSError as error:
            raise NormalizationError(f"{path}: cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise NormalizationError(f"{path}: {error}. Restore the file or fit the statistics again") from error

    @classmethod
    def from_dict(cls, data: Any) -> Normalization:
        """What `to_json` wrote, parsed; NormalizationError names missing, unknown and malformed entries."""
        names = {f.name for f in fields(cls)}
        keys = set(data) if isinstance(data, dict) else set()
        if keys != names:
            raise NormalizationError(f"missing {sorted(names - keys)}, unknown {sorted(keys - names)}")
        try:
            return cls(**{name: np.array(value, dtype=np.float64) for name, value in data.items()})
        except NormalizationError:
            raise
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise NormalizationError(f"malformed numbers: {error}") from error


def symlog(x: Array) -> Array:
    """sign(x) log(1 + |x|), elementwise."""
    xp = _namespace(x)
    return xp.sign(x) * xp.log1p(xp.abs(x))


def symexp(x: Array) -> Array:
    """Inverse of `symlog`."""
    xp = _namespace(x)
    return xp.sign(x) * xp.expm1(xp.abs(x))


def _standardise(x: Any, mean: FloatArray, std: FloatArray) -> Any:
    return (x - _like(mean, x)) / _like(std, x)


def _namespace(x: Any) -> Any:
    """torch for tensors, else NumPy; torch is never imported here."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(x, torch.Tensor) else np


def _like(array: FloatArray, x: Any) -> Any:
    """`array` as the kind, dtype and device of x."""
    xp = _namespace(x)
    return array.astype(x.dtype, copy=False) if xp is np else xp.as_tensor(array, dtype=x.dtype, device=x.device)
