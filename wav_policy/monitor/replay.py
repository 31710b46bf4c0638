"""A recorded episode on the page, with what the policy would have imagined computed beside it."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np

from wav_models.data.samples import window
from wav_models.types import FloatArray, ImageArray, Observation, Plan
from wav_models.words import counted
from wav_policy.monitor.recording import Recording
from wav_policy.monitor.snapshot import ERROR, OK, PLANNING, Snapshot, StatusReport
from wav_policy.policy.imagined_futures import contact_sheet
from wav_policy.policy.wav_policy import WAVPolicy
from wav_policy.robot.cameras import VIEWS


@dataclass(frozen=True)
class _Imagined:
    """A plan made at one frame as the page shows it: the page sends anew what is not the same object."""

    plan: Plan
    frames: tuple[dict[str, ImageArray], ...]
    value_times: FloatArray
    scores: FloatArray | None
    futures: ImageArray | None
    recorded_values: FloatArray | None
    recorded_actions: FloatArray

    @classmethod
    def of(cls, plan: Plan, policy: WAVPolicy, recording: Recording, index: int) -> _Imagined:
        """Imagine what a plan of this policy at a frame leads to, and all that it was chosen from; beside it what was
        recorded of the same steps: row i of the chunk is due, and value i predicted for, frame index + 1 + i."""
        future, views, all_futures = policy.imagine(plan), policy.config.embodiment.view_names, policy.futures(plan)
        frames = tuple(dict(zip(views, future[:, number], strict=True)) for number in range(future.shape[1]))
        times = plan.chunk.step * np.arange(1, len(plan.values) + 1, dtype=np.float64)
        return cls(
            plan,
            frames,
            times,
            scores=np.array([entry.video_score for entry in plan.rounds]) if plan.rounds else None,
            futures=None if all_futures is None else contact_sheet(all_futures),
            recorded_values=None if recording.values is None else recording.values[index + 1 :][: len(plan.values)],
            recorded_actions=recording.actions[index:-1][: len(plan.chunk.positions)],
        )


class Replay:
    """Snapshots of a recording; a thread plans at every `num_execute_steps` frames, from where one looks onwards.

    Args:
        recording: frames at the model's step rate.
        policy: imagines.
        seed: of all plans.

    Attributes:
        recording: the same.
    """

    def __init__(self, recording: Recording, policy: WAVPolicy, seed: int = 0) -> None:
        self.recording = recording
        self._policy = policy
        self._seed = seed
        self._pictures = [{view: recording.pictures[view][i] for view in VIEWS} for i in range(len(recording))]
        self._fault = ""
        self._stride = policy.config.horizon.num_execute_steps
        self._known: dict[int, _Imagined] = {}
        self._condition = threading.Condition()
        self._looking_at = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="replay", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; waits for a plan that is being made."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.join()

    def instead(self, recording: Recording) -> Replay:
        """Of another recording by the same policy, once this one has ended."""
        self.close()
        return Replay(recording, self._policy, self._seed)

    @property
    def num_imagined(self) -> int:
        """Plans that are ready."""
        return len(self._known)

    @property
    def num_plans(self) -> int:
        """Plans there will be."""
        return -(-len(self.recording) // self._stride)

    def snapshot(self, index: int) -> Snapshot:
        """What the page shows at a frame."""
        recording = self.recording
        with self._condition:
            self._looking_at = index
            self._condition.notify()
        current = self._known.get(index // self._stride * self._stride)
        plan = None if current is None else current.plan
        return Snapshot(
            joints=recording.states[index],
            real=self._pictures[index],
            imagined=self._imagined_for(index),
            chunk=None if plan is None else plan.chunk,
            value_times=None if current is None else current.value_times,
            values=None if plan is None else plan.values,
            recorded_values=None if current is None else current.recorded_values,
            recorded_actions=None if current is None else current.recorded_actions,
            scores=None if current is None else current.scores,
            taken=None if plan is None else plan.chosen,
            futures=None if current is None else current.futures,
            instruction=recording.instruction,
            reports={PLANNING: self._report()},
            title=f"{recording.title}, {index / recording.fps:.1f} s",
        )

    def _report(self) -> StatusReport:
        done = f"{self.num_imagined} of {counted(self.num_plans, 'future')} imagined"
        if self._fault:
            return StatusReport(ERROR, f"{self._fault}; {done}", {})
        return StatusReport(OK, done, {})

    def _imagined_for(self, index: int) -> dict[str, ImageArray]:
        """Per view the newest imagined frame whose time has come at `index`."""
        best = (-1, -1)  # time it imagines, frame it was planned at
        images: dict[str, ImageArray] = {}
        for planned, imagined in list(self._known.items()):
            for number, ahead in enumerate(self._policy.config.future_image_offsets):
                due = planned + ahead
                if due <= index and (due, planned) >= best:
                    best, images = (due, planned), imagined.frames[number]
        return images

    def _run(self) -> None:
        while (index := self._await_work()) is not None:
            try:
                plan = self._policy.plan(self._observation(index), seed=self._seed)
                imagined = _Imagined.of(plan, self._policy, self.recording, index)
            except Exception as error:  # whatever it is, the page must say that nothing more will be imagined
                self._fault = f"imagining stopped at {index / self.recording.fps:.1f} s: {error!r}"
                return
            with self._condition:
                self._known[index] = imagined

    def _await_work(self) -> int | None:
        """The next frame to plan at: the first open one from two strides before where one looks; None when closed."""
        with self._condition:
            while not self._closed:
                frames = range(0, len(self.recording), self._stride)
                missing = [index for index in frames if index not in self._known]
                if missing:
                    start = self._looking_at - 2 * self._stride
                    return next((index for index in missing if index >= start), missing[0])
                self._condition.wait()
        return None

    def _observation(self, index: int) -> Observation:
        recording = self.recording
        memory = window(len(recording), index, self._policy.config.horizon).memory
        views = self._policy.config.embodiment.view_names
        images = np.stack([recording.model_images[view][memory] for view in views])
        return Observation(images, recording.states[index], recording.instruction, index / recording.fps)
