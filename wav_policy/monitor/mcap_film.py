"""A film for Foxglove (.mcap): what the page shows, as the messages that `ros2 bag record` would have kept of it.

Topics and types are those of `config/bag_topics.yaml`; `config/foxglove_layout.json` shows them. Stamps count from one
second after 1970: a film knows when a moment was within it, not what time it was.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import simplejpeg

from wav_models.types import ActionChunk, FloatArray
from wav_policy.monitor.snapshot import Snapshot, StatusReport
from wav_policy.robot.description import arm_bodies, camera_frame, cameras, joint_values, local_pose
from wav_policy.robot.joints import JOINT_NAMES
from wav_policy.robot.urdf import robot_urdf

_START: Final = 1.0
"""Stamp of the first moment: one of 0 means in ROS that there is none [s]."""
_JPEG_QUALITY: Final = 90
_INFO: Final = 20
"""Level of rcl_interfaces/msg/Log."""


class McapFilm:
    """Adds snapshots at a steady rate to an MCAP file. What the system said is written when it has changed.

    Args:
        file: .mcap.
        fps: of the snapshots [Hz].

    Raises:
        ImportError: the package rosbags is not there.
    """

    def __init__(self, file: Path, fps: int) -> None:
        from rosbags.rosbag2 import StoragePlugin, Writer
        from rosbags.typesys import Stores, get_typestore

        self._store: Any = get_typestore(Stores.ROS2_JAZZY)
        self._file, self._fps, self._count = file, fps, 0
        self._last: dict[str, object] = {}
        self._connections: dict[str, Any] = {}
        self._folder = tempfile.TemporaryDirectory(dir=file.parent, prefix=f".{file.stem}.")
        self._bag = Path(self._folder.name) / file.stem
        self._writer: Any = Writer(self._bag, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.open()
        self._write("/robot_description", "std_msgs/msg/String", robot_urdf())

    def add(self, snapshot: Snapshot, caption: str) -> None:
        """The next moment; the caption goes to /rosout."""
        for view, rgb in snapshot.real.items():
            jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(rgb), quality=_JPEG_QUALITY)
            picture = (self._header(camera_frame(view)), "rgb8; jpeg compressed bgr8", np.frombuffer(jpeg, np.uint8))
            self._write(f"/{view}/image_raw/compressed", "sensor_msgs/msg/CompressedImage", *picture)
        if snapshot.joints is not None:
            state = (self._header(), list(JOINT_NAMES), snapshot.joints, np.zeros(0), np.zeros(0))
            self._write("/joint_states", "sensor_msgs/msg/JointState", *state)
            self._write("/tf", "tf2_msgs/msg/TFMessage", self._transforms(snapshot.joints))
        pictures = {f"/imagined/{view}/image_raw": rgb for view, rgb in snapshot.imagined.items()}
        if snapshot.futures is not None:
            pictures["/imagined/futures"] = snapshot.futures
        for topic, rgb in pictures.items():
            if self._is_new(topic, rgb):
                height, width, _ = rgb.shape
                image = (self._header(), height, width, "rgb8", 0, 3 * width, np.ascontiguousarray(rgb).ravel())
                self._write(topic, "sensor_msgs/msg/Image", *image)
        if snapshot.chunk is not None and self._is_new("chunk", snapshot.chunk):
            self._write("/action_chunk", "trajectory_msgs/msg/JointTrajectory", *self._trajectory(snapshot.chunk))
        if self._is_other("instruction", snapshot.instruction):
            self._write("/instruction", "std_msgs/msg/String", snapshot.instruction)
        if self._is_other("caption", caption):
            line = (self._time("Time", self._now), _INFO, "film", caption, "", "", 0)
            self._write("/rosout", "rcl_interfaces/msg/Log", *line)
        said = [report for name, report in snapshot.reports.items() if self._is_new(f"report {name}", report)]
        if said:
            entries = [self._status(name, report) for name, report in snapshot.reports.items()]
            self._write("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", self._header(), entries)
        self._count += 1

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()
        (recorded,) = self._bag.glob("*.mcap")
        recorded.replace(self._file)
        self._folder.cleanup()

    def _is_new(self, name: str, value: object) -> bool:
        """Whether it is another object than last time."""
        known, self._last[name] = self._last.get(name), value
        return value is not known

    def _is_other(self, name: str, text: str) -> bool:
        """Whether it says something else than last time."""
        known, self._last[name] = self._last.get(name, ""), text
        return text != known

    def _write(self, topic: str, kind: str, *fields: Any) -> None:
        """A message of the present moment, of its type's fields in order."""
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, kind, typestore=self._store)
        data = self._store.serialize_cdr(self._new(kind, *fields), kind)
        self._writer.write(self._connections[topic], round(1e9 * self._now), data)

    def _new(self, kind: str, *fields: Any) -> Any:
        return self._store.types[kind](*fields)

    @property
    def _now(self) -> float:
        return _START + self._count / self._fps

    def _time(self, kind: str, seconds: float) -> Any:
        whole, rest = divmod(round(1e9 * seconds), 1_000_000_000)
        return self._new(f"builtin_interfaces/msg/{kind}", whole, rest)

    def _header(self, frame: str = "") -> Any:
        return self._new("std_msgs/msg/Header", self._time("Time", self._now), frame)

    def _transforms(self, joints: FloatArray) -> list[Any]:
        """Of the bodies at joint positions [14], and of the cameras."""
        values = joint_values(joints)
        poses = [(body.parent, body.name, *local_pose(body, values)) for body in arm_bodies()]
        poses += [(camera.parent, camera.frame, camera.position, camera.quaternion) for camera in cameras()]
        return [
            self._new(
                "geometry_msgs/msg/TransformStamped",
                self._header(parent),
                child,
                self._new(
                    "geometry_msgs/msg/Transform",
                    self._new("geometry_msgs/msg/Vector3", *position.tolist()),
                    self._new("geometry_msgs/msg/Quaternion", *quaternion[[1, 2, 3, 0]].tolist()),
                ),
            )
            for parent, child, position, quaternion in poses
        ]

    def _trajectory(self, chunk: ActionChunk) -> tuple[Any, ...]:
        none = np.zeros(0)
        times = [self._time("Duration", (row + 1) * chunk.step) for row in range(len(chunk.positions))]
        points = [
            self._new("trajectory_msgs/msg/JointTrajectoryPoint", row, none, none, none, time)
            for row, time in zip(chunk.positions, times, strict=True)
        ]
        return self._header(), list(JOINT_NAMES), points

    def _status(self, name: str, report: StatusReport) -> Any:
        values = [self._new("diagnostic_msgs/msg/KeyValue", key, value) for key, value in report.values.items()]
        return self._new("diagnostic_msgs/msg/DiagnosticStatus", report.level, name, report.message, "", values)
