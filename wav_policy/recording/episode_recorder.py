"""One episode while it is being recorded, in a directory of its own outside the dataset."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from wav_models.data.durable import write_json, write_parquet
from wav_models.data.layout import ACTION_KEY, CAPTURE_TIME_KEY, EFFORT_KEY, SOURCE_TIME_KEY, STATE_KEY
from wav_models.data.statistics import FeatureStats, ImageSampler
from wav_models.embodiment import Embodiment
from wav_policy.recording.video_encoder import VideoEncoder
from wav_policy.robot.joints import ROBOT

FRAMES_FILE: Final = "frames.parquet"
EPISODE_FILE: Final = "episode.json"
"""Written last: a staged episode is complete when this file and its videos exist."""


@dataclass(frozen=True)
class StagedEpisode:
    """A finished recording that waits to be committed to a dataset.

    Attributes:
        directory: holds one MP4 per view, the frames and this description.
        fps: nominal rate [Hz].
        instruction: the language command.
        extra: what else is known: seed, success, noise or anything JSON can hold.
        length: number of frames.
        image_sizes: (height, width) [px] per view.
        image_stats: statistics per view.
    """

    directory: Path
    fps: int
    instruction: str
    extra: dict[str, Any]
    length: int
    image_sizes: dict[str, tuple[int, int]]
    image_stats: dict[str, FeatureStats]

    @classmethod
    def load(cls, directory: Path) -> StagedEpisode | None:
        """The staged episode in a directory; None where it was never finished or is partly committed."""
        path = directory / EPISODE_FILE
        if not path.is_file():
            return None
        data = json.loads(path.read_text(encoding="utf-8"))
        data["image_sizes"] = {view: tuple(size) for view, size in data["image_sizes"].items()}
        episode = cls(directory=directory, **data)
        complete = all(episode.video_path(view).is_file() for view in episode.image_sizes)
        return episode if complete else None

    def video_path(self, view: str) -> Path:
        return self.directory / f"{view}.mp4"

    def frames(self) -> pa.Table:
        """Columns observation.state, action, capture_time and, recorded from the robot, source_times and, where it
        tells them, observation.effort."""
        return pq.read_table(self.directory / FRAMES_FILE)

    def remove(self) -> None:
        shutil.rmtree(self.directory)


class EpisodeRecorder:
    """Takes the frames of one episode; video is encoded as it comes."""

    def __init__(
        self,
        directory: Path,
        *,
        fps: int,
        image_sizes: dict[str, tuple[int, int]],
        instruction: str,
        extra: dict[str, Any] | None = None,
        source_times: bool = False,
        efforts: bool = False,
        robot: Embodiment = ROBOT,
    ) -> None:
        """Start an episode in `directory`, which is emptied.

        Args:
            directory: outside the dataset's own folders, on the same file system.
            fps: nominal rate [Hz].
            image_sizes: (height, width) [px] per view.
            instruction: the language command.
            extra: JSON data.
            source_times: every frame comes with the capture time of each of the robot's `sources`.
            efforts: every frame comes with the measured efforts.
            robot: whose episode.
        """
        if not instruction.strip():
            raise ValueError("the instruction is empty; an episode needs a language command")
        for view in image_sizes:
            if view not in robot.view_names:
                raise ValueError(f"unknown view {view!r}; valid: {', '.join(robot.view_names)}")
        json.dumps(extra)
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        self.directory = directory
        self.fps, self.robot = fps, robot
        self.instruction = instruction
        self.extra = dict(extra or {})
        self.image_sizes = dict(image_sizes)
        self._encoders = {
            view: VideoEncoder(directory / f"{view}.mp4", size, fps) for view, size in image_sizes.items()
        }
        self._samplers = {view: ImageSampler(frame_stride=max(1, fps // 2)) for view in image_sizes}
        optional = {SOURCE_TIME_KEY: source_times, EFFORT_KEY: efforts}
        keys = (STATE_KEY, ACTION_KEY, CAPTURE_TIME_KEY, *(key for key, wanted in optional.items() if wanted))
        self._columns: dict[str, list[Any]] = {key: [] for key in keys}

    def __len__(self) -> int:
        return len(self._columns[CAPTURE_TIME_KEY])

    def add_frame(
        self,
        images: dict[str, NDArray[np.uint8]],
        state: ArrayLike,
        action: ArrayLike,
        capture_time: float,
        source_times: ArrayLike | None = None,
        effort: ArrayLike | None = None,
    ) -> None:
        """Append one moment; nothing is written when any part of it is invalid.

        Args:
            images: uint8 RGB [H, W, 3] per view, of exactly the sizes of the dataset.
            state: measured [S], in the robot's units; kept as float32.
            action: commanded [A], in the robot's units; kept as float32.
            capture_time: the moment of the frame [s]; must increase.
            source_times: when each of the robot's `sources` was captured [s]; exactly where the recorder was made for
                them.
            effort: measured [S], N m; exactly where the recorder was made for them; kept as float32.

        Raises:
            ValueError: a wrong shape, dtype or non-finite value; names view or joint, and frame.
            OSError: the video cannot be written: the disk is full.
        """
        where = f"frame {len(self)}"
        self._check_images(images, where)
        if not np.isfinite(capture_time):
            raise ValueError(f"{where}: capture_time is {capture_time}")
        times = self._columns[CAPTURE_TIME_KEY]
        if times and capture_time <= times[-1]:
            raise ValueError(f"{where}: capture_time {capture_time} is not after the last, {times[-1]}")
        row: dict[str, Any] = {
            STATE_KEY: _row(state, self.robot.state_names, STATE_KEY, where),
            ACTION_KEY: _row(action, self.robot.action_names, ACTION_KEY, where),
            CAPTURE_TIME_KEY: float(capture_time),
        }
        if source_times is not None:
            row[SOURCE_TIME_KEY] = _row(source_times, self.robot.sources, SOURCE_TIME_KEY, where, np.float64)
        if effort is not None:
            row[EFFORT_KEY] = _row(effort, self.robot.state_names, EFFORT_KEY, where)
        for key in row.keys() ^ self._columns.keys():
            wanted = "needs" if key in self._columns else "was not made for"
            raise ValueError(f"{where}: the recording {wanted} {key}")
        for view, encoder in self._encoders.items():
            encoder.add(images[view])
            self._samplers[view].add(images[view])
        for key, value in row.items():
            self._columns[key].append(value)

    def finish(self) -> StagedEpisode:
        """Close the videos and make the staged episode durable; ValueError when it has no frame."""
        if not len(self):
            self.discard()
            raise ValueError("the episode has no frames; it was discarded")
        for encoder in self._encoders.values():
            encoder.close()
        columns = {
            key: pa.array(rows) if key == CAPTURE_TIME_KEY else vector_column(np.stack(rows))
            for key, rows in self._columns.items()
        }
        write_parquet(self.directory / FRAMES_FILE, pa.table(columns))
        description = {
            "fps": self.fps,
            "instruction": self.instruction,
            "extra": self.extra,
            "length": len(self),
            "image_sizes": self.image_sizes,
            "image_stats": {view: sampler.stats() for view, sampler in self._samplers.items()},
        }
        write_json(self.directory / EPISODE_FILE, description)
        staged = StagedEpisode.load(self.directory)
        assert staged is not None
        return staged

    def discard(self) -> None:
        """Forget the episode and its files, also after an error."""
        for encoder in self._encoders.values():
            encoder.abandon()
        shutil.rmtree(self.directory, ignore_errors=True)  # the next episode and the next opening clear it too

    def _check_images(self, images: dict[str, NDArray[np.uint8]], where: str) -> None:
        if set(images) != set(self.image_sizes):
            raise ValueError(f"{where}: views {sorted(images)}, expected {sorted(self.image_sizes)}")
        for view, size in self.image_sizes.items():
            image = images[view]
            if image.dtype != np.uint8 or image.shape != (*size, 3):
                raise ValueError(
                    f"{where}: {view} image is {image.dtype} {list(image.shape)}, expected uint8 {[*size, 3]}"
                )


def vector_column(rows: NDArray[Any]) -> pa.Array:
    """Rows [T, D] as a fixed-size-list column."""
    flat = pa.array(np.ascontiguousarray(rows).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])


def _row(
    values: ArrayLike, names: tuple[str, ...], name: str, where: str, dtype: type[np.floating[Any]] = np.float32
) -> NDArray[Any]:
    """A copy of one number per name; ValueError for another shape, or where one is not finite."""
    row = np.array(values, dtype=dtype)
    if row.shape != (len(names),):
        raise ValueError(f"{where}: {name} has shape {list(row.shape)}, expected [{len(names)}]")
    if not np.isfinite(row).all():
        culprits = [f"{names[i]}={row[i]}" for i in np.flatnonzero(~np.isfinite(row))]
        raise ValueError(f"{where}: {name} is not finite: {', '.join(culprits)}")
    return row
