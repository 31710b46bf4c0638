"""Training samples as tensors, drawn from arrays in memory: no video is decoded and nothing loops over samples."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wav_models.alignment import memory_rows
from wav_models.data.conventions import STILL
from wav_models.data.normalization import Normalization
from wav_models.embodiment import Embodiment
from wav_models.presets import HorizonConfig
from wav_models.training.data.latent_store import LatentStore
from wav_models.training.randomness import RngStreams
from wav_models.training.transfer import to_device
from wav_models.types import IndexArray


@dataclass(frozen=True)
class Episodes:
    """All steps of all episodes, one after the other, at the model's step rate.

    Attributes:
        latents: standardised latents of all N steps.
        states: measured states, shape [N, S].
        actions: commands, shape [N, A]; row t is commanded at step t, reached at t + 1.
        values: reward terms and return, shape [N, C].
        first: index of the first step of each step's episode, shape [N].
        last: index of the last one, shape [N].
        text: row of each step's instruction in the text table, shape [N].
        imitated: whether each step's actions are learnt, shape [N], bool.
        text_embedding: shape [I + 1, Lt, Ct]; row 0 is the empty instruction, which a dropped caption becomes.
        text_mask: shape [I + 1, Lt], bool.
    """

    latents: LatentStore
    states: NDArray[np.float32]
    actions: NDArray[np.float32]
    values: NDArray[np.float32]
    first: IndexArray
    last: IndexArray
    text: IndexArray
    imitated: NDArray[np.bool_]
    text_embedding: Tensor
    text_mask: Tensor

    def __len__(self) -> int:
        return len(self.states)


@dataclass(frozen=True)
class Batch:
    """B observations with their futures; normalised unless said otherwise.

    Attributes:
        memory_latents: shape [B, V, F_mem, L, C].
        future_latents: shape [B, V, F_fut, L, C].
        text: row of the instruction in the text table, shape [B], int64.
        state_token: A zeros, then the normalised state, shape [B, 1, A + S].
        actions: shape [B, H, A + S].
        values: shape [B, T, C].
        state: measured state, shape [B, S].
        targets: commands, shape [B, H, A].
        action_known, value_known: 1 for steps within the episode, 0 beyond its end, shape [B, H] and [B, T].
        imitated: 1 where the actions are learnt, 0 where only what they lead to, shape [B].
    """

    memory_latents: Tensor
    future_latents: Tensor
    text: Tensor
    state_token: Tensor
    actions: Tensor
    values: Tensor
    state: Tensor
    targets: Tensor
    action_known: Tensor
    value_known: Tensor
    imitated: Tensor

    def __len__(self) -> int:
        return len(self.state)

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device, see `to_device`."""
        return Batch(**{f.name: to_device(getattr(self, f.name), device) for f in fields(self)})

    def pinned(self) -> Batch:
        """The same batch in memory that a GPU reads by itself."""
        return Batch(**{f.name: getattr(self, f.name).pin_memory() for f in fields(self)})


class Batches:
    """Draws batches from episodes."""

    def __init__(
        self,
        episodes: Episodes,
        normalization: Normalization,
        horizon: HorizonConfig,
        steps: IndexArray,
        weights: NDArray[np.float64] | None = None,
    ) -> None:
        """Args:
        steps: the steps t that may be drawn, indices into `episodes`.
        weights: how often each is drawn, relative to the others, shape of `steps`; all alike when None.
        """
        self.episodes, self.normalization, self.horizon, self.steps = episodes, normalization, horizon, steps
        self._shares = None if weights is None else np.cumsum(weights) / np.sum(weights)

    def draw(self, size: int, streams: RngStreams) -> Batch:
        """`size` observations of the allowed steps, in any of the encodings."""
        if self._shares is None:
            places = streams.numpy.integers(len(self.steps), size=size)
        else:
            places = np.searchsorted(self._shares, streams.numpy.random(size), side="right")
            places = np.minimum(places, len(self.steps) - 1)
        return self.at(self.steps[places], streams.numpy.integers(len(self.episodes.latents.images), size=size))

    def at(self, steps: IndexArray, encodings: IndexArray | None = None) -> Batch:
        """The observations at these steps; what lies beyond an episode's ends repeats its first or last step.

        Args:
            encodings: of the pictures, as `steps`; the plain one when None.
        """
        data, horizon, normalization = self.episodes, self.horizon, self.normalization
        chunk = np.arange(horizon.action_horizon)
        state = data.states[steps].astype(np.float64)
        targets = data.actions[self._clamped(steps, chunk)].astype(np.float64)
        reached = data.states[self._clamped(steps, chunk + 1)].astype(np.float64)
        later = np.arange(1, horizon.value_horizon + 1)
        values = data.values[self._clamped(steps, later)]
        left = (data.last[steps] - steps)[:, None]
        remembered = memory_rows(steps, horizon, first=data.first[steps])
        imagined = self._clamped(steps, np.array(horizon.future_offsets))
        return Batch(
            memory_latents=_tensor(data.latents.memory(remembered, encodings)),
            future_latents=_tensor(data.latents.future(steps, imagined, encodings)),
            text=torch.from_numpy(data.text[steps]),
            state_token=_tensor(normalization.state_token(state)),
            actions=_tensor(normalization.encode_actions(targets, reached, state)),
            values=_tensor(normalization.encode_values(values)),
            state=_tensor(state),
            targets=_tensor(targets),
            action_known=_tensor((chunk <= left).astype(np.float32)),
            value_known=_tensor((later <= left).astype(np.float32)),
            imitated=_tensor(data.imitated[steps].astype(np.float32)),
        )

    def _clamped(self, steps: IndexArray, offsets: IndexArray) -> IndexArray:
        """Indices [B, len(offsets)] of steps + offsets, kept inside each step's episode."""
        return np.clip(steps[:, None] + offsets, self.episodes.first[steps, None], self.episodes.last[steps, None])


def still_steps(episodes: Episodes, horizon: HorizonConfig, robot: Embodiment) -> NDArray[np.bool_]:
    """Steps in whose chunk nothing is asked to move, shape [N].

    A demonstrator who has given up, or pauses, looks like one who is about to begin; a model that learns both from the
    same images stands still where it should begin, and then sees itself stand still.
    """
    steps = np.arange(len(episodes))
    still = np.ones(len(episodes), dtype=np.bool_)
    tolerance = np.array([STILL[channel.unit] for channel in robot.actions])
    moving = [column for column, c in enumerate(robot.actions) if robot.relative_to_state or not c.gripper]
    for offset in range(horizon.action_horizon):
        targets = episodes.actions[np.minimum(steps + offset, episodes.last)]
        motion = np.abs(targets - episodes.states if robot.relative_to_state else targets)
        still &= (motion < tolerance)[:, moving].all(axis=1)
    return still


def fit_normalization(
    episodes: Episodes, horizon: HorizonConfig, steps: IndexArray, robot: Embodiment
) -> Normalization:
    """Statistics of the samples at `steps` (the training episodes)."""
    chunk = np.arange(horizon.action_horizon)
    first, last = episodes.first[steps, None], episodes.last[steps, None]
    state = episodes.states[steps].astype(np.float64)
    targets = episodes.actions[np.clip(steps[:, None] + chunk, first, last)]
    reached = episodes.states[np.clip(steps[:, None] + chunk + 1, first, last)]
    moved = targets - state[:, None] if robot.relative_to_state else targets.astype(np.float64)
    return Normalization.fit(state, moved, reached - state[:, None], episodes.values[steps].astype(np.float64), robot)


def _tensor(array: NDArray[np.floating]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
