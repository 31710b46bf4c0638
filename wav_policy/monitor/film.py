"""A film of the page: cameras above what was imagined of them, all futures of a plan, the value, captions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import cv2
import numpy as np

from wav_models.types import FloatArray, ImageArray
from wav_policy.monitor.snapshot import Snapshot
from wav_policy.robot.cameras import IMAGE_SIZES, VIEWS

if TYPE_CHECKING:
    from PIL.Image import Image

FPS: Final = 10
SUFFIXES: Final = (".mp4", ".gif", ".rrd", ".mcap")
"""Of films; the last ones are recordings, for the Rerun viewer and for Foxglove."""

_SIZES: Final = [(width, height) for height, width in IMAGE_SIZES.values()]
"""Width and height of the views [px]."""
_WIDTH: Final = sum(width for width, _ in _SIZES)
_BAR: Final = 32
"""Height of a line of captions [px]."""
_CHART: Final = 104
"""Height of the charts [px]."""
_FUTURES: Final = 106
"""Height of a row of eight futures [px]."""
_HEIGHT: Final = 2 * (_BAR + _SIZES[0][1]) + _BAR + _FUTURES + _CHART
_BACKGROUND: Final = 24
_WHITE, _GREY, _BLUE, _GREEN = (235, 235, 235), (150, 150, 150), (90, 160, 255), (90, 210, 120)
_GIF_FPS: Final = 5
_GIF_SCALE: Final = 0.5
_GIF_COLOURS: Final = 64


class Film(Protocol):
    """Takes what the page shows at `FPS`."""

    def add(self, snapshot: Snapshot, caption: str) -> None: ...

    def close(self) -> None: ...


class Pictures(Protocol):
    """Takes frames, uint8 [H, W, 3], at `FPS`."""

    def add(self, rgb: ImageArray) -> None: ...

    def close(self) -> None: ...


def open_film(file: Path) -> Film:
    """A film that ends up in an .mp4 (H.264, yuv420p), a small .gif, an .rrd for Rerun, or an .mcap for Foxglove.

    Raises:
        ValueError: another suffix.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".mp4":
        from wav_policy.recording.video_encoder import VideoEncoder

        return _Drawn(VideoEncoder(file, (_HEIGHT, _WIDTH), FPS))
    if file.suffix == ".gif":
        return _Drawn(_Gif(file))
    if file.suffix == ".rrd":
        from wav_policy.monitor.rerun_film import RerunFilm

        return RerunFilm(file, FPS)
    if file.suffix == ".mcap":
        from wav_policy.monitor.mcap_film import McapFilm

        return McapFilm(file, FPS)
    raise ValueError(f"{file}: a film ends in one of {', '.join(SUFFIXES)}")


class _Drawn:
    """A film of the page's pictures, in whatever format `pictures` writes."""

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures

    def add(self, snapshot: Snapshot, caption: str) -> None:
        """Draw one frame."""
        self._pictures.add(frame(snapshot, caption))

    def close(self) -> None:
        """Finish the file."""
        self._pictures.close()


class _Gif:
    """Half the size, half the rate, few colours: for a README."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._frames: list[Image] = []
        self._count = 0

    def add(self, rgb: ImageArray) -> None:
        """Every second frame is kept."""
        from PIL import Image

        if self._count % (FPS // _GIF_FPS) == 0:
            small = cv2.resize(rgb, None, fx=_GIF_SCALE, fy=_GIF_SCALE, interpolation=cv2.INTER_AREA)
            self._frames.append(Image.fromarray(small).quantize(_GIF_COLOURS, dither=Image.Dither.NONE))
        self._count += 1

    def close(self) -> None:
        """Write the file; nothing when there was no frame."""
        if self._frames:
            first, *rest = self._frames
            first.save(self._file, save_all=True, append_images=rest, duration=1000 // _GIF_FPS, loop=0, optimize=True)


def frame(snapshot: Snapshot, caption: str) -> ImageArray:
    """One picture of the film, uint8, shape [786, 1064, 3].

    Args:
        snapshot: what to show.
        caption: above all.
    """
    real = _row(caption, snapshot.real)
    imagined = _row("imagined for this moment", snapshot.imagined)
    futures = np.vstack([_bar("all futures of a plan, best first; acted on: green"), _fitted(snapshot.futures)])
    values = np.zeros(0) if snapshot.values is None else snapshot.values
    rounds = np.zeros(0) if snapshot.scores is None or not len(snapshot.scores) else snapshot.scores.mean(axis=1)
    charts = [
        _chart(_WIDTH // 2, "value over the horizon", values, _BLUE),
        _chart(_WIDTH - _WIDTH // 2, "score per planning round", rounds, _GREEN),
    ]
    return np.vstack([real, imagined, futures, np.hstack(charts)])


def _row(caption: str, images: Mapping[str, ImageArray]) -> ImageArray:
    pictures = [_picture(images.get(view), size) for view, size in zip(VIEWS, _SIZES, strict=True)]
    return np.vstack([_bar(caption), np.hstack(pictures)])


def _bar(caption: str) -> ImageArray:
    bar = np.full((_BAR, _WIDTH, 3), _BACKGROUND, np.uint8)
    _write(bar, caption, (8, 22), _WHITE)
    return bar


def _fitted(sheet: ImageArray | None) -> ImageArray:
    """As large as it may be without losing its shape."""
    strip = np.full((_FUTURES, _WIDTH, 3), _BACKGROUND, np.uint8)
    if sheet is not None:
        height, width = sheet.shape[:2]
        scale = min(_FUTURES / height, _WIDTH / width)
        size = int(scale * width), int(scale * height)
        strip[: size[1], : size[0]] = cv2.resize(sheet, size, interpolation=cv2.INTER_AREA)
    return strip


def _picture(image: ImageArray | None, size: tuple[int, int]) -> ImageArray:
    if image is None:
        return np.full((size[1], size[0], 3), _BACKGROUND, np.uint8)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def _chart(width: int, title: str, values: FloatArray, colour: tuple[int, int, int]) -> ImageArray:
    """A line through `values`, with its lowest and highest."""
    chart = np.full((_CHART, width, 3), _BACKGROUND, np.uint8)
    _write(chart, title, (8, 18), _GREY)
    if not len(values):
        return chart
    low, high = float(values.min()), float(values.max())
    x = np.linspace(70, width - 20, len(values))
    y = _CHART - 14 - (values - low) / max(high - low, 1e-9) * (_CHART - 50)
    points = np.stack([x, y], axis=1).round().astype(np.int32)
    cv2.polylines(chart, [points], False, colour, 2, cv2.LINE_AA)
    for column, row in zip(points[:, 0].tolist(), points[:, 1].tolist(), strict=True):
        cv2.circle(chart, (column, row), 3, colour, -1, cv2.LINE_AA)
    _write(chart, f"{high:.3g}", (8, 40), _GREY)
    _write(chart, f"{low:.3g}", (8, _CHART - 10), _GREY)
    return chart


def _write(image: ImageArray, text: str, place: tuple[int, int], colour: tuple[int, int, int]) -> None:
    cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1, cv2.LINE_AA)
