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

from wav_models.configuration import parse_json
from wav_models.embodiment import Embodiment
from wav_models.types import FloatArray

if TYPE_CHECKING:
    from torch import Tensor

Array = TypeVar("Array", NDArray[Any], "Tensor")
STD_FLOOR: Final = {"rad": 5e-3, "m": 5e-4, "1": 5e-3}
"""By unit: keeps a joint that stood still in the data from turning sensor noise into large inputs."""
VALUE_STD_FLOOR: Final = 1e-2


class NormalizationError(ValueError):
    """Statistics that are missing, unknown, malformed or not finite; the message names them."""


@dataclass(frozen=True)
class Normalization:
    """Means and standard deviations of S numbers of a state, A of an action and C value channels, in their units.

    Attributes:
        state_mean, state_std: of the measured state, shape [S].
        action_diff_mean, action_diff_std: of joint targets minus measured state, of other actions as they are, shape
            [H, A].
        state_diff_mean, state_diff_std: of future state minus measured state, shape [H, S].
        value_mean, value_std: of symlog(value), shape [C].
        embodiment: whose they are; not part of the file.
    """

    state_mean: FloatArray
    state_std: FloatArray
    action_diff_mean: FloatArray
    action_diff_std: FloatArray
    state_diff_mean: FloatArray
    state_diff_std: FloatArray
    value_mean: FloatArray
    value_std: FloatArray
    embodiment: Embodiment

    def __post_init__(self) -> None:
        for name, shape in statistic_shapes(self.embodiment, self.action_horizon).items():
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

    def equals(self, other: Normalization) -> bool:
        """Whether all statistics are the same."""
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in _STATISTICS)

    def encode_state(self, state: Array) -> Array:
        """Measured state [..., S] to network input [..., S]."""
        return _standardise(state, self.state_mean, self.state_std)

    def state_token(self, joint_state: FloatArray) -> FloatArray:
        """What the action expert is told of the measured state [..., S]: a zero per action, then the normalised state.

        Returns:
            Shape [..., 1, A + S].
        """
        state = self.encode_state(joint_state)
        no_action = np.zeros((*state.shape[:-1], self.embodiment.action_dim), dtype=state.dtype)
        return np.concatenate([no_action, state], axis=-1)[..., None, :]

    def encode_actions(self, actions: Array, states: Array, state: Array) -> Array:
        """Absolute targets and future states to the action expert's variable.

        Args:
            actions: absolute joint targets, or end-effector deltas, shape [..., H, A].
            states: measured states after each of them, shape [..., H, S].
            state: measured state at the observation, shape [..., S].

        Returns:
            Shape [..., H, A + S]: normalised joint targets minus state, or deltas, then normalised state differences.
        """
        origin = state[..., None, :]
        moved = actions - origin if self.embodiment.relative_to_state else actions
        action_part = _standardise(moved, self.action_diff_mean, self.action_diff_std)
        state_part = _standardise(states - origin, self.state_diff_mean, self.state_diff_std)
        return _namespace(action_part).concatenate((action_part, state_part), -1)

    def decode_actions(self, x: Array, state: Array) -> Array:
        """Absolute joint targets, or deltas, [..., H, A] of x [..., H, A + S] and the measured state [..., S]."""
        decoded: Array = self._decode(x[..., : self.embodiment.action_dim], self.action_diff_mean, self.action_diff_std)
        return decoded + state[..., None, :] if self.embodiment.relative_to_state else decoded

    def decode_states(self, x: Array, state: Array) -> Array:
        """Predicted states [..., H, S] of x [..., H, A + S] and the measured state [..., S]."""
        predicted = x[..., self.embodiment.action_dim :]
        return self._decode(predicted, self.state_diff_mean, self.state_diff_std) + state[..., None, :]

    def encode_values(self, values: Array) -> Array:
        """Rewards and return [..., C] to network variable [..., C]."""
        return _standardise(symlog(values), self.value_mean, self.value_std)

    def decode_values(self, x: Array) -> Array:
        """Inverse of `encode_values`; [..., C]."""
        return symexp(self._decode(x, self.value_mean, self.value_std))

    def decode_returns(self, x: Array) -> Array:
        """Discounted return alone: x [...] is the last channel of the network variable."""
        return symexp(x * float(self.value_std[-1]) + float(self.value_mean[-1]))

    @staticmethod
    def _decode(x: Any, mean: FloatArray, std: FloatArray) -> Any:
        return x * _like(std, x) + _like(mean, x)

    @classmethod
    def fit(
        cls,
        states: FloatArray,
        action_diffs: FloatArray,
        state_diffs: FloatArray,
        values: FloatArray,
        embodiment: Embodiment,
    ) -> Normalization:
        """Statistics of training data.

        Args:
            states: measured states, shape [N, S].
            action_diffs: action chunks, of joint targets minus the state at their observation, shape [N, H, A].
            state_diffs: the states after each action minus the same, shape [N, H, S].
            values: reward terms and return, shape [N, C].
            embodiment: whose they are.
        """
        state_floor = np.array([STD_FLOOR[channel.unit] for channel in embodiment.state])
        action_floor = np.array([STD_FLOOR[channel.unit] for channel in embodiment.actions])
        samples: dict[str, tuple[FloatArray, Any]] = {
            "state": (states, state_floor),
            "action_diff": (action_diffs, action_floor),
            "state_diff": (state_diffs, state_floor),
            "value": (symlog(np.asarray(values, dtype=np.float64)), VALUE_STD_FLOOR),
        }
        statistics: dict[str, FloatArray] = {}
        for name, (data, floor) in samples.items():
            if len(data) == 0:
                raise NormalizationError(f"{name}: no samples to fit statistics on")
            statistics[f"{name}_mean"] = np.mean(data, axis=0, dtype=np.float64)
            statistics[f"{name}_std"] = np.maximum(np.std(data, axis=0, dtype=np.float64), floor)
        return cls(**statistics, embodiment=embodiment)

    def to_json(self, path: Path) -> None:
        """Write all statistics to a JSON file."""
        data = {name: getattr(self, name).tolist() for name in _STATISTICS}
        Path(path).write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def from_json(cls, path: Path, embodiment: Embodiment) -> Normalization:
        """Read what `to_json` wrote of a robot; NormalizationError names the file and what is wrong with it."""
        try:
            return cls.from_dict(parse_json(Path(path).read_text(encoding="utf-8")), embodiment)
        except OSError as error:
            raise NormalizationError(f"{path}: cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise NormalizationError(f"{path}: {error}. Restore the file or fit the statistics again") from error

    @classmethod
    def from_dict(cls, data: Any, embodiment: Embodiment) -> Normalization:
        """What `to_json` wrote of a robot, parsed; NormalizationError names missing, unknown and malformed entries."""
        names = set(_STATISTICS)
        keys = set(data) if isinstance(data, dict) else set()
        if keys != names:
            raise NormalizationError(f"missing {sorted(names - keys)}, unknown {sorted(keys - names)}")
        try:
            statistics = {name: np.array(value, dtype=np.float64) for name, value in data.items()}
            return cls(**statistics, embodiment=embodiment)
        except NormalizationError:
            raise
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise NormalizationError(f"malformed numbers: {error}") from error


_STATISTICS: Final = tuple(field.name for field in fields(Normalization) if field.name != "embodiment")


def statistic_shapes(embodiment: Embodiment, action_horizon: int) -> dict[str, tuple[int, ...]]:
    """Of mean and standard deviation, by what they are of."""
    return {
        "state": (embodiment.state_dim,),
        "action_diff": (action_horizon, embodiment.action_dim),
        "state_diff": (action_horizon, embodiment.state_dim),
        "value": (embodiment.value_dim,),
    }


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
