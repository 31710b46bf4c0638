"""Where commands come from: the chunk in force, or a motion that somebody waits for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from wav_models.types import ActionChunk, FloatArray
from wav_policy.control.calm_motion import Motion
from wav_policy.control.chunk_executor import ChunkError, ChunkExecutor, ChunkingConfig
from wav_policy.control.loop_phases import Phase
from wav_policy.control.loop_statistics import LoopStatistics


class CommandSource:
    """Chunks lead the arms unless a motion has them. For the loop's thread; any may read.

    Args:
        chunking: how chunks are followed.
        clock: monotonic [s].
        statistics: of the chunks that are followed.

    Attributes:
        motion: what has the arms; None: chunks lead them.
        rejected_chunk: why the newest chunk is not followed; "" where it is.
    """

    def __init__(self, chunking: ChunkingConfig | None, clock: Callable[[], float], statistics: LoopStatistics) -> None:
        self.motion: Motion | None = None
        self.rejected_chunk = ""
        self._executor = ChunkExecutor(chunking)
        self._clock = clock
        self._statistics = statistics
        self._valid_from = -np.inf

    @property
    def stamp(self) -> float | None:
        """Of the chunk in force; None without one."""
        return self._executor.stamp

    def name(self, phase: Phase) -> str:
        """Whoever has the arms; "" where nobody has."""
        motion = self.motion
        if motion is not None:
            return motion.name
        return "action_chunk" if phase is Phase.FOLLOWING and self.stamp is not None else ""

    def accept(self, chunk: ActionChunk, target: FloatArray | None) -> None:
        """Follow a chunk from the newest target on, shape [14]; or say in `rejected_chunk` why not."""
        if self.motion is not None:
            self.rejected_chunk = f"{self.motion.name} has the arms"
            return
        if chunk.stamp < self._valid_from:
            self.rejected_chunk = "planned before the arms were enabled, homed, held or back"
            return
        now = self._clock()
        try:
            accepted = self._executor.accept(chunk, now, target)
        except ChunkError as error:
            self.reject(str(error))
            return
        if accepted:
            self._statistics.took_over(chunk.stamp, now)
        expired = chunk.times[-1] <= now
        self.rejected_chunk = "" if accepted else "came too late" if expired else "older than the one in force"

    def reject(self, reason: str) -> None:
        """Follow no chunk until a good one comes."""
        self._executor.clear()
        self.rejected_chunk = reason

    def drop_plans(self) -> None:
        """Follow no chunk that was planned before now."""
        self._valid_from = self._clock()
        self._executor.clear()

    def end_motion(self, why: str) -> None:
        """Chunks lead again; whoever waits for the motion is told that it is over, if nobody has told it before."""
        if self.motion is not None:
            self.motion.end(False, why)
            self.motion = None

    def command(
        self, phase: Phase, now: float, elapsed: float
    ) -> tuple[FloatArray | None, float | None, FloatArray | None]:
        """What to do, the time it stems from (None: made for this tick), how fast at most (None: as the limits allow).

        Args:
            phase: of the loop.
            now: of this tick [s].
            elapsed: since the last one; a period where it is late [s].
        """
        if phase is Phase.MOVING and self.motion is not None:
            return self.motion.advance(elapsed), None, self.motion.velocity
        if phase is not Phase.FOLLOWING:
            return None, None, None
        command, stamp = self._executor.sample(now), self.stamp
        if command is not None and stamp is not None:
            self._statistics.chunk_age(now - stamp)
        return command, stamp, None
