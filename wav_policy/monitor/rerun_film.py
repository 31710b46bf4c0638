"""A film for the Rerun viewer (.rrd): what the page shows, on a time line that can be scrubbed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from wav_policy.monitor.snapshot import Snapshot, state_lines
from wav_policy.robot.cameras import VIEWS
from wav_policy.robot.joints import JOINT_NAMES

_TIME: Final = "time"
_JPEG_QUALITY: Final = 90


class RerunFilm:
    """Adds snapshots at a steady rate to a recording of Rerun. Pictures and texts are written when they have changed.

    Args:
        file: .rrd.
        fps: of the snapshots [Hz].

    Raises:
        ImportError: the package rerun-sdk is not there.
    """

    def __init__(self, file: Path, fps: int) -> None:
        import rerun
        from rerun import blueprint

        self._rerun: Any = rerun
        self._fps, self._count = fps, 0
        self._last: dict[str, object] = {}
        self._stream = rerun.RecordingStream("wav_policy")
        self._stream.save(file)
        rows = [
            blueprint.Horizontal(*(blueprint.Spatial2DView(origin=f"{row}/{view}") for view in VIEWS))
            for row in ("camera", "imagined")
        ]
        below = blueprint.Horizontal(
            blueprint.TimeSeriesView(origin="joints"),
            blueprint.Spatial2DView(origin="futures"),
            blueprint.BarChartView(origin="value"),
            blueprint.TextLogView(origin="log"),
        )
        self._stream.send_blueprint(blueprint.Blueprint(blueprint.Vertical(*rows, below)))
        self._stream.log("joints", rerun.SeriesLines(names=list(JOINT_NAMES)), static=True)

    def add(self, snapshot: Snapshot, caption: str) -> None:
        """The next moment; the caption goes to the log."""
        self._stream.set_time(_TIME, duration=self._count / self._fps)
        self._count += 1
        for row, images in (("camera", snapshot.real), ("imagined", snapshot.imagined)):
            for view, image in images.items():
                self._log_new(f"{row}/{view}", image, self._picture)
        self._log_new("futures", snapshot.futures, self._picture)
        self._log_new("value", snapshot.values, self._rerun.BarChart)
        self._log_new("joints", snapshot.joints, self._rerun.Scalars)
        self._log_new("log/caption", caption or None, self._rerun.TextLog)
        for line in state_lines(snapshot):
            self._log_new(f"log/{line.name}", line.text, self._rerun.TextLog)

    def close(self) -> None:
        """Finish the file."""
        self._stream.flush()
        self._stream.disconnect()

    def _log_new(self, place: str, value: Any, archetype: Any) -> None:
        known = self._last.get(place)
        if value is None or value is known or (isinstance(value, str) and value == known):
            return
        self._last[place] = value
        self._stream.log(place, archetype(value))

    def _picture(self, rgb: Any) -> Any:
        return self._rerun.Image(rgb).compress(jpeg_quality=_JPEG_QUALITY)
