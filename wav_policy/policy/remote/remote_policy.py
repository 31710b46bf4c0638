"""A policy server in the place of the checkpoint: same observations, same chunk executor, same safety filter."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from wav_models.configuration import ConfigurationError, from_dict, load
from wav_models.planner.config import PlannerConfig
from wav_models.presets import WAV_TINY, LatentConfig, ModelConfig
from wav_models.types import ActionChunk, FloatArray, ImageArray, Observation, Plan
from wav_policy.policy.chunk_continuation import MAX_DEVIATION, CommittedMotion
from wav_policy.policy.imagined_futures import ImaginedFutures
from wav_policy.policy.imagined_motion import ImaginedMotion
from wav_policy.policy.planning_effort import PlanCost
from wav_policy.policy.remote.connection import RemoteConnection, RemoteError
from wav_policy.policy.remote.mapping import MappingError, RemoteMapping
from wav_policy.robot.cameras import VIEWS
from wav_policy.robot.joints import GRIPPERS, JOINT_DIM, REVOLUTE

WAV_METADATA: Final = "wav"
"""Key of a server's metadata under which `wav serve` says how it wants to be asked."""
POSITIONS, WEIGHT, STAMP = "committed_positions", "committed_weight", "observation_stamp"
"""What such a server is told besides: real-time chunking, and the moment, which it repeats in its answer."""


_WARM_UP_TIMEOUT: Final = 3.0
"""For a first answer: the services of who asks wait meanwhile [s]."""
_MIN_RAMP: Final = 0.4
"""From one chunk to the next [s]."""
_RAMP_ACCELERATION: Final = 1.5
"""What the step from one chunk to another adds to the motion of either; the safety filter allows 5
[rad/s^2]."""
_FADE_TIME: Final = 0.3  # s
_AGE: Final = 0.08
"""For the time before the question, since the observation, and after the answer [s]."""


class RemotePolicy:
    """A `Policy` of `planning_worker` that asks a server of openpi's protocol.

    A server that knows no real-time chunking answers as if the arms stood still meanwhile; `blend` joins its rows to
    the motion under way.

    Args:
        address: ws://HOST:PORT.
        mapping: views, joints and rates; None: the server says them itself (`wav serve` does).
        clock: for durations [s].

    Raises:
        RemoteError: there is no mapping, and the server cannot be asked for one.
    """

    def __init__(
        self, address: str, mapping: RemoteMapping | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._told = mapping is None
        self._commanded: FloatArray | None = None
        self._connection = RemoteConnection(address, RemoteMapping.timeout if mapping is None else mapping.timeout)
        if mapping is None:
            self._connection.open()
            try:
                mapping = _mapping_of(address, self._connection.metadata)
            except RemoteError:
                self._connection.close()
                raise
            self._connection.timeout = mapping.timeout
        self.mapping = mapping
        self.config: ModelConfig = replace(
            WAV_TINY, name=address, latent=LatentConfig(image_size=mapping.image_size), horizon=mapping.horizon
        )
        self.planner = PlannerConfig(num_iterations=0)

    @classmethod
    def open(cls, address: str, mapping_file: Path | None = None) -> RemotePolicy:
        """With the mapping of a YAML file.

        Raises:
            ConfigurationError: the file does not fit.
            RemoteError: see `RemotePolicy`.
        """
        return cls(address, None if mapping_file is None else load(RemoteMapping, mapping_file))

    @property
    def description(self) -> str:
        """Where it runs, and whether it knows real-time chunking."""
        chunking = "continues chunks itself" if self._is_wav else "its chunks are blended here"
        return f"remote policy at {self._connection.address}; {chunking}"

    @property
    def _is_wav(self) -> bool:
        return isinstance(self._connection.metadata.get(WAV_METADATA), Mapping)

    def plan(
        self,
        observation: Observation,
        *,
        seed: int = 0,
        deadline: float | None = None,
        committed: CommittedMotion | None = None,
    ) -> Plan:
        """Ask for a chunk; seed and deadline are the server's own.

        Raises:
            RemoteError: no answer, or one that cannot be executed; says which server and why.
        """
        began = self._clock()
        self._connection.open()
        if self._told:
            self._require_same(_mapping_of(self._connection.address, self._connection.metadata))
        question = self.mapping.request(observation)
        if self._is_wav:
            question[STAMP] = observation.stamp
            if committed is not None:
                question |= {POSITIONS: self.mapping.to_remote(committed.positions), WEIGHT: committed.weight}
        answer = self._connection.ask(question)
        seconds = self._clock() - began
        rows = self._rows(answer, observation, committed, seconds)
        if committed is not None and not self._is_wav:
            rows = blend(rows, committed, seconds, self.mapping.step_hz)
        self._commanded = rows[-1]
        chunk = ActionChunk(rows, observation.stamp, 1.0 / self.mapping.step_hz)
        return Plan(chunk, np.empty(0), (), "remote", {"remote": seconds, **_server_seconds(answer)}, seed)

    def _rows(
        self, answer: Mapping[str, Any], observation: Observation, committed: CommittedMotion | None, seconds: float
    ) -> FloatArray:
        others = self._others(observation.joint_state) if committed is None else committed.positions[0]
        try:
            rows = self.mapping.chunk_rows(answer, observation.joint_state, others)
            if self._is_wav and answer.get(STAMP) != observation.stamp:
                raise MappingError("the chunk is of another observation")
        except MappingError as error:
            raise RemoteError(f"{self._connection.address}: {error}") from error
        length = len(rows) / self.mapping.step_hz
        if seconds >= length:
            raise RemoteError(
                f"{self._connection.address}: the answer took {seconds:.2f} s, and its {len(rows)} rows last "
                f"{length:.2f} s: all are past"
            )
        return rows

    def _others(self, measured: FloatArray) -> FloatArray:
        """Where joints stay that the policy does not know, shape [14]: where the chunk before told them to be.

        Not where they are: an arm that sags under its load would sag on with every chunk, and a gripper let go. A joint
        that was moved meanwhile is taken where it is.
        """
        if self._commanded is None:
            return measured
        others = self._commanded.copy()
        was_moved = np.abs(others - measured) > min(MAX_DEVIATION, self.mapping.max_start_distance)
        was_moved[GRIPPERS] = False
        others[was_moved] = measured[was_moved]
        return others

    def imagine(self, plan: Plan) -> ImageArray:
        """Never: a remote policy shows no futures."""
        raise RemoteError(f"{self._connection.address}: a remote policy imagines nothing")

    def futures(self, plan: Plan) -> ImaginedFutures | None:
        """None."""
        return None

    def alternatives(self, plan: Plan, count: int) -> Sequence[ImaginedMotion]:
        """None."""
        return ()

    def reset(self) -> None:
        """Forget where joints were told to be."""
        self._commanded = None

    def warm_up(self, instruction: str = "") -> PlanCost:
        """Ask once, with black pictures, so that the server's slow first answer is not waited for with arms enabled.

        Returns:
            Time it took [s].

        Raises:
            RemoteError: there is no answer yet. Some servers compile their networks first: they are asked again once
                plans are wanted.
        """
        mapping, began = self.mapping, self._clock()
        images = np.zeros((len(VIEWS), len(mapping.memory_offsets), *mapping.image_size, 3), np.uint8)
        self._connection.ask(
            mapping.request(Observation(images, np.zeros(JOINT_DIM), instruction or "wait")), _WARM_UP_TIMEOUT
        )
        return PlanCost(self._clock() - began)

    def fit_image(self, rgb: ImageArray, size: tuple[int, int], out: ImageArray | None = None) -> ImageArray:
        """As the mapping has it."""
        return self.mapping.fit(rgb, size, out)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def _require_same(self, mapping: RemoteMapping) -> None:
        if mapping != self.mapping:
            self._connection.close()
            raise RemoteError(
                f"{self._connection.address}: the server has another policy now; start this system again to use it"
            )


def blend(rows: FloatArray, committed: CommittedMotion, seconds: float, step_hz: float) -> FloatArray:
    """Rows [H, 14] that go on from the motion under way.

    They are that motion until the chunk can take over, and become the new one with a smooth step, the longer the more
    both differ. Where the motion under way ends before, it is taken to fade out. When the chunk can take over is known
    by now from what its answer took: no estimate of the delay has to be right, and none can run away.

    Args:
        rows: of the answer, shape [H, 14].
        committed: the motion under way.
        seconds: what the answer took [s].
        step_hz: rows per second [Hz].
    """
    num_overlap = int((committed.weight > 0.0).sum())
    num_frozen = math.ceil((seconds + _AGE) * step_hz)
    old = _faded_out(committed.positions, num_overlap, step_hz)
    difference = np.abs(rows - old)[num_frozen:, REVOLUTE].max(initial=0.0)
    ramp = max(math.sqrt(6.0 * difference / _RAMP_ACCELERATION), _MIN_RAMP) * step_hz
    s = np.clip((np.arange(len(rows)) + 1 - num_frozen) / ramp, 0.0, 1.0)[:, None]
    new = s * s * (3.0 - 2.0 * s)
    return (1.0 - new) * old + new * rows


def _faded_out(positions: FloatArray, num_rows: int, step_hz: float) -> FloatArray:
    """Positions [H, 14] of which `num_rows` are known: those after them go on with a velocity that fades."""
    if not 2 <= num_rows < len(positions):
        return positions
    last, step = positions[num_rows - 1], positions[num_rows - 1] - positions[num_rows - 2]
    fade = _FADE_TIME * step_hz
    travelled = fade * (1.0 - np.exp(-np.arange(1, len(positions) - num_rows + 1) / fade))
    return np.concatenate([positions[:num_rows], last + travelled[:, None] * step])


def _mapping_of(address: str, metadata: Mapping[str, Any]) -> RemoteMapping:
    """The mapping that a server's metadata holds; RemoteError where they hold none."""
    said = metadata.get(WAV_METADATA)
    if not isinstance(said, Mapping):
        raise RemoteError(
            f"{address}: the server does not say its views, joints and rates; give policy_mapping:=FILE "
            "(config/remote_openpi.yaml is an example)"
        )
    try:
        return from_dict(RemoteMapping, said, f"metadata of {address}")
    except ConfigurationError as error:
        raise RemoteError(str(error)) from error


def _server_seconds(answer: Mapping[str, Any]) -> dict[str, float]:
    """What the server says its inference took, under the name openpi gives it."""
    timing = answer.get("server_timing")
    milliseconds = timing.get("infer_ms") if isinstance(timing, Mapping) else None
    return (
        {"remote_inference": 1e-3 * milliseconds}
        if isinstance(milliseconds, float) and 0.0 <= milliseconds < math.inf
        else {}
    )
