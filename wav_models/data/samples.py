"""Which frames of an episode make up one training sample.

A sample at step t (steps of `1 / step_hz`) pairs the memory frames with what followed:

    memory images    t + memory_offsets          (the last offset is 0: now)
    future latents   t + future_offsets (`ModelConfig.future_image_offsets`: the images they cover)
    actions          t + 1 .. t + H              the last command before each: action[f] was commanded upon seeing
                                                 frame f and is due at the next frame, f + 1 (see `step_actions`)
    future states    t + 1 .. t + H              the state measured after each of these actions
    values           t + 1 .. t + T

so row i of an `ActionChunk` planned at t is due at t + 1 + i. Steps outside the episode are clamped to its ends: before
the start the first frame is repeated, after the end the robot stays where it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wav_models.alignment import memory_rows
from wav_models.embodiment import Embodiment
from wav_models.presets import HorizonConfig
from wav_models.types import FloatArray, IndexArray
from wav_models.words import counted


@dataclass(frozen=True)
class Window:
    """Frame indices of one sample, all within [0, length).

    Attributes:
        now: step of the observation.
        memory: shape [F_mem].
        future: of the last image of every latent, shape [F_fut].
        actions: rows of the action column, shape [H].
        states: rows of the state column, shape [H].
        values: rows of the value column, shape [T].
    """

    now: int
    memory: IndexArray
    future: IndexArray
    actions: IndexArray
    states: IndexArray
    values: IndexArray


def window(length: int, t: int, horizon: HorizonConfig, stride: int = 1) -> Window:
    """Indices of the sample at frame t of an episode of `length` frames.

    Args:
        length: number of frames.
        t: frame of the observation, 0 <= t < length.
        horizon: what is remembered, imagined and acted on, in steps.
        stride: frames per step, see `frames_per_step`.
    """
    if not 0 <= t < length:
        raise IndexError(f"frame {t} of an episode of {counted(length, 'frame')}")

    def frames(steps: IndexArray) -> IndexArray:
        return np.clip(t + stride * steps, 0, length - 1)

    action_steps = np.arange(horizon.action_horizon, dtype=np.int64)
    return Window(
        now=t,
        memory=memory_rows(t, horizon, stride=stride),
        future=frames(np.asarray(horizon.future_offsets, dtype=np.int64)),
        actions=np.clip(t + stride * (action_steps + 1) - 1, 0, length - 1),
        states=frames(action_steps + 1),
        values=frames(np.arange(1, horizon.value_horizon + 1, dtype=np.int64)),
    )


def due_rows(length: int, stride: int) -> IndexArray:
    """Of every step of an episode of `length` frames, the row of the action column that is due one step later."""
    return np.minimum(np.arange(0, length, stride) + stride - 1, length - 1)


def step_actions(actions: FloatArray, stride: int, robot: Embodiment) -> FloatArray:
    """Command of every step of an episode, which is held for that step.

    Joint targets are those that are due at its end. Motions are the mean of its own: held, it moves as far as they did;
    grippers get the last.

    Args:
        actions: of every frame, shape [T, A].
        stride: frames per step.

    Returns:
        Shape [N, A].
    """
    due = actions[due_rows(len(actions), stride)]
    if robot.relative_to_state:
        return due
    starts = np.arange(0, len(actions), stride)
    counts = np.diff(starts, append=len(actions))
    motions = np.add.reduceat(actions, starts, axis=0) / counts[:, None]
    return np.where([channel.gripper for channel in robot.actions], due, motions)


def frames_per_step(fps: float, step_hz: float) -> int:
    """Recorded frames per model step; ValueError when the rates do not divide."""
    stride = round(fps / step_hz)
    if stride < 1 or abs(stride * step_hz - fps) > 1e-6 * fps:
        raise ValueError(f"data at {fps} Hz cannot be stepped at {step_hz} Hz; the rate must be a multiple of it")
    return stride
