"""What stands below the operator's bar: arms, cameras beside what was imagined of them, all futures of the last plan,
charts, state, and the buttons that move no arm.

Browsers draw; the server sends what has changed, in binary messages: the length of a JSON object (4 bytes, little
endian), the object, and after it the JPEGs whose lengths the object names.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import simplejpeg

from wav_models.data.images import resize_image
from wav_models.types import FloatArray, ImageArray
from wav_policy.monitor import commands
from wav_policy.monitor.arm_strokes import stroke_ends, strokes
from wav_policy.monitor.browser import OUTDATED, serve
from wav_policy.monitor.commands import Commander, CommandError
from wav_policy.monitor.snapshot import Snapshot, interventions, numbers, state_lines
from wav_policy.policy.imagined_motion import ImaginedMotion, gripper_paths, value_colours, values_along
from wav_policy.robot.cameras import IMAGE_SIZES, VIEWS

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection

STREAM_PATH: Final = "/stream"
"""Of the page's websocket."""

_PICTURE_HEIGHT: Final = 240
_PICTURE_WIDTH: Final = 1920
"""[px]"""
_JPEG_QUALITY: Final = 70
_STILL: Final = 5e-4
"""Arms that moved less are not sent again [rad or m]."""
_GHOST_SHARES: Final = (0.5, 1.0)
"""Where in the chunk the ghosts stand."""
_COMMANDS: Final = (
    *(commands.RESET_TASK, commands.INSTRUCT, commands.RECORD_START, commands.RECORD_STOP, commands.RECORD_DISCARD),
    *(commands.RECORD_SUCCESS, commands.RECORD_FAILURE),
    *(commands.PLAY, commands.SPEED, commands.SEEK, commands.EPISODE),
)
_MAX_REQUEST: Final = 4000
"""Characters."""
_NUM_THREADS: Final = 4


class MonitorPage:
    """The contents of the page; only what has changed is sent, and a browser that lags gets the newest of everything.

    Args:
        commander: obeys the buttons, in threads of the page's own.
    """

    def __init__(self, commander: Commander) -> None:
        self._commander = commander
        self._threads = ThreadPoolExecutor(_NUM_THREADS, "page")
        self._version = 0
        self._contents: dict[str, tuple[int, Any]] = {}
        self._pictures: dict[str, tuple[int, bytes]] = {}
        self._shown: dict[str, Any] = {}
        self._browsers: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        radii = [[stroke.radius, stroke.colour] for stroke in strokes()]
        self._contents["strokes"] = 0, radii
        self._contents["views"] = 0, {view: width / height for view, (height, width) in IMAGE_SIZES.items()}

    @property
    def watched(self) -> bool:
        """Whether a browser is connected."""
        return bool(self._browsers)

    def close(self) -> None:
        """Begin no command any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def show(self, snapshot: Snapshot) -> None:
        """Bring the page up to date. From one thread at a time."""
        version = self._version + 1
        for key, content in (self._described(snapshot) | self._motion(snapshot)).items():
            if key not in self._contents or self._contents[key][1] != content:
                self._contents[key] = version, content
        for key, image in _pictures(snapshot).items():
            if self._is_new(key, image):
                self._pictures[key] = version, b"" if image is None else _jpeg(image)
        self._version = version  # at last: who reads meanwhile gets some of it twice, but misses nothing
        for event, loop in list(self._browsers.items()):
            loop.call_soon_threadsafe(event.set)

    def _described(self, snapshot: Snapshot) -> dict[str, Any]:
        """What takes no time to make."""
        value = None
        if snapshot.values is not None and snapshot.value_times is not None:
            value = [_rounded(snapshot.value_times), _rounded(snapshot.values)]
        return {
            "title": snapshot.title,
            "instruction": snapshot.instruction,
            "state": [asdict(line) for line in state_lines(snapshot)],
            "numbers": numbers(snapshot),
            "interventions": interventions(snapshot),
            "available": sorted(snapshot.available),
            "playback": None if snapshot.playback is None else asdict(snapshot.playback),
            "value": value,
            "recorded_value": None if snapshot.recorded_values is None else _rounded(snapshot.recorded_values),
            "joints": _joints(snapshot),
            "scores": None if snapshot.scores is None else _rounded(snapshot.scores),
            "taken": snapshot.taken,
        }

    def _motion(self, snapshot: Snapshot) -> dict[str, Any]:
        """Arms, ghosts and paths, where they have changed."""
        motion: dict[str, Any] = {}
        joints, shown = snapshot.joints, self._shown.get("joints")
        if joints is None or shown is None or np.abs(joints - shown).max() > _STILL:
            self._shown["joints"] = joints
            motion["arms"] = None if joints is None else _millimetres(stroke_ends(joints))
        chunk = snapshot.chunk
        if not self._is_new("chunk", chunk):
            return motion
        recorded = snapshot.recorded_actions
        motion["recorded_paths"] = None if recorded is None else _millimetres(gripper_paths(recorded))
        if chunk is None:
            return motion | {"ghosts": None, "paths": None}
        rows = [round(share * (len(chunk.positions) - 1)) for share in _GHOST_SHARES]
        ghosts = [_millimetres(stroke_ends(chunk.positions[row])) for row in rows]
        values = snapshot.values if snapshot.values is not None else np.zeros(len(chunk.positions))
        along = values_along(ImaginedMotion(chunk, values))
        colours = 255 * value_colours(along, (float(along.min()), float(along.max())))
        paths = {"points": _millimetres(gripper_paths(chunk.positions)), "colours": colours.astype(int).tolist()}
        return motion | {"ghosts": ghosts, "paths": paths}

    def _is_new(self, key: str, value: object) -> bool:
        """Whether this object is not the one shown under `key`; remembers it."""
        if key in self._shown and self._shown[key] is value:
            return False
        self._shown[key] = value
        return True

    async def attend(self, connection: ServerConnection) -> None:
        """See `browser.serve`."""
        event = asyncio.Event()  # what was known before anybody watched is old: the next `show` is the first
        self._browsers[event] = asyncio.get_running_loop()
        try:
            await serve(connection, self._tell(connection, event), partial(self._carry_out, connection))
        finally:
            del self._browsers[event]

    async def _tell(self, connection: ServerConnection, event: asyncio.Event) -> None:
        told = -1
        while True:
            await event.wait()
            event.clear()
            newest = self._version
            contents = {key: content for key, (version, content) in self._contents.copy().items() if version > told}
            pictures = {key: jpeg for key, (version, jpeg) in self._pictures.copy().items() if version > told}
            if contents or pictures:
                await connection.send(_packed(contents, pictures))
            told = newest

    async def _carry_out(self, connection: ServerConnection, text: str | bytes) -> None:
        try:
            command, words = _parse(text)
        except (ValueError, RecursionError):
            await connection.close(1008, "not a command")
            return
        loop = asyncio.get_running_loop()
        try:
            answer = await loop.run_in_executor(self._threads, self._obey_in_time, time.monotonic(), command, words)
            done = True
        except Exception as error:  # whatever it is, who has pressed the button is told
            done, answer = False, str(error)
        await connection.send(json.dumps({"done": done, "text": commands.in_words(answer)}))

    def _obey_in_time(self, asked: float, command: str, words: str) -> str:
        """Unless it waited for a thread while others were busy."""
        if time.monotonic() - asked > OUTDATED:
            raise CommandError("not done, others kept it waiting; press again")
        return self._commander.obey(command, words)


def _parse(text: str | bytes) -> tuple[str, str]:
    """Command and its text; ValueError for what the page does not send."""
    if len(text) > _MAX_REQUEST:
        raise ValueError("too long")
    fields = json.loads(text)
    if not isinstance(fields, Mapping):
        raise ValueError("no object")
    command, words = fields.get("command"), fields.get("text")
    if command not in _COMMANDS or not isinstance(words, str):
        raise ValueError("not a command")
    return command, words


def _joints(snapshot: Snapshot) -> dict[str, Any] | None:
    """Of a recording, the rows of the chunk and the commands that were recorded for the same times."""
    if snapshot.chunk is None or snapshot.recorded_actions is None:
        return None
    return {"planned": _rounded(snapshot.chunk.positions), "recorded": _rounded(snapshot.recorded_actions)}


def _pictures(snapshot: Snapshot) -> dict[str, ImageArray | None]:
    """What has gone becomes empty: a frozen picture would pass for a live one."""
    kinds = {"real": snapshot.real, "imagined": snapshot.imagined}
    pictures = {f"{kind} {view}": images.get(view) for kind, images in kinds.items() for view in VIEWS}
    return {**pictures, "futures": snapshot.futures}


def _packed(contents: Mapping[str, Any], pictures: Mapping[str, bytes]) -> bytes:
    sizes = {key: len(jpeg) for key, jpeg in pictures.items()}
    header = json.dumps({"contents": contents, "pictures": sizes}, separators=(",", ":")).encode()
    return b"".join([len(header).to_bytes(4, "little"), header, *pictures.values()])


def _jpeg(image: ImageArray) -> bytes:
    """Not higher than the page shows it."""
    width, height = page_size(image)
    image = resize_image(image, (height, width))
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=_JPEG_QUALITY, colorsubsampling="420"))


def page_size(image: ImageArray) -> tuple[int, int]:
    """Width and height on the page of a camera's picture, at most [px]."""
    height, width, _ = image.shape
    scale = min(1.0, _PICTURE_HEIGHT / height, _PICTURE_WIDTH / width)
    return max(round(scale * width), 1), max(round(scale * height), 1)


def _millimetres(points: FloatArray) -> list[Any]:
    return list((1e3 * points).round().astype(int).tolist())


def _rounded(values: FloatArray) -> list[Any]:
    return list(values.round(7).tolist())
