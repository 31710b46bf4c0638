"""What is shown below the operator's bar: arms in 3-D, cameras beside what was imagined of them, charts, state, buttons
that move no arm."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from wav_models.types import ImageArray
from wav_policy.monitor import commands
from wav_policy.monitor.charts import RoundsChart, ValueChart
from wav_policy.monitor.commands import Commander, CommandError
from wav_policy.monitor.robot_scene import RobotScene, add_shape
from wav_policy.monitor.snapshot import Snapshot, numbers_text, state_html
from wav_policy.policy.imagined_motion import ImaginedMotion, gripper_paths, value_colours, values_along
from wav_policy.robot.cameras import VIEWS
from wav_policy.robot.description import table_shapes

if TYPE_CHECKING:
    import viser

TITLE: Final = "WAV monitor"

_PICTURE_HEIGHT: Final = 144
_BLANK: Final = np.full((_PICTURE_HEIGHT, round(_PICTURE_HEIGHT * 4 / 3), 3), 40, np.uint8)
_JPEG_QUALITY: Final = 70
_PANEL_WIDTH: Final = 250
_CONTROLS_WIDTH: Final = 330
_GHOST_COLOUR: Final = (70, 130, 230)
_GHOST_SHARES: Final = (0.5, 1.0)
"""Where in the chunk the ghosts stand."""
_RECORDER_BUTTONS: Final = (
    (commands.RECORD_START, "Record", "recorder/start"),
    (commands.RECORD_STOP, "Save episode", "recorder/stop"),
    (commands.RECORD_DISCARD, "Discard episode", "recorder/discard"),
)


class MonitorPage:
    """Elements of the page and their last contents; only what has changed is sent.

    Args:
        server: an empty viser server.
        commander: obeys the buttons; None for a recording, which has none.
    """

    def __init__(self, server: viser.ViserServer, commander: Commander | None) -> None:
        self._server = server
        self._shown: dict[str, Any] = {}
        self._sizes: dict[str, tuple[int, int]] = {}
        self._buttons: dict[str, viser.GuiButtonHandle] = {}
        self._lay_out_scene()
        server.gui.configure_theme(show_share_button=False, show_logo=False)
        with self._add_panel("Imagined"):
            self._imagined = self._add_pictures("Imagined")
            self._futures = server.gui.add_image(
                _BLANK, label="All futures, best first; green: acted on", format="jpeg", jpeg_quality=_JPEG_QUALITY
            )
            self._score_chart = RoundsChart(server.gui, "Score per planning round")
            self._mean_chart = RoundsChart(server.gui, "Mean value per planning round")
        with self._add_panel("Cameras"):
            self._cameras = self._add_pictures("Cameras")
            self._numbers = server.gui.add_markdown("")
        server.gui.main_panel.dock_right()
        server.gui.main_panel.set_width(_CONTROLS_WIDTH)
        if commander is not None:
            self._add_controls(commander)
        self._state = server.gui.add_html("")
        self._value_chart = ValueChart(server.gui)

    @property
    def watched(self) -> bool:
        """Whether a browser is connected."""
        return bool(self._server.get_clients())

    def show(self, snapshot: Snapshot) -> None:
        """Bring the page up to date, all at once: browsers are woken up a single time."""
        with self._server.atomic():
            self._show(snapshot)

    def _show(self, snapshot: Snapshot) -> None:
        self._show_motion(snapshot)
        self._show_pictures(snapshot)
        if snapshot.values is not None and snapshot.value_times is not None and self._is_new("values", snapshot.values):
            self._value_chart.show(snapshot.value_times, snapshot.values)
        if self._is_new("futures", snapshot.futures):
            self._futures.image = _BLANK if snapshot.futures is None else snapshot.futures
        if self._is_new("scores", snapshot.scores):
            self._score_chart.show(snapshot.scores)
        if self._is_new("mean values", snapshot.mean_values):
            self._mean_chart.show(snapshot.mean_values)
        for element, text in ((self._state, state_html(snapshot)), (self._numbers, numbers_text(snapshot))):
            if element.content != text:
                element.content = text
        for name, button in self._buttons.items():
            disabled = name not in snapshot.available
            if button.disabled != disabled:
                button.disabled = disabled

    def _show_pictures(self, snapshot: Snapshot) -> None:
        """What has gone becomes blank. The model sees squares; here they get the camera's shape back."""
        self._sizes |= {view: page_size(image) for view, image in snapshot.real.items()}
        for kind, images, handles in (
            ("real", snapshot.real, self._cameras),
            ("imagined", snapshot.imagined, self._imagined),
        ):
            for view in VIEWS:
                image = images.get(view)
                if self._is_new(f"{kind} {view}", image):
                    handles[view].image = _BLANK if image is None else self._fitted(view, image)

    def _fitted(self, view: str, image: ImageArray) -> ImageArray:
        return scaled(image, self._sizes.get(view, page_size(image)))

    def _is_new(self, key: str, value: object) -> bool:
        """Whether this object is not the one shown under `key`; remembers it."""
        if self._shown.get(key) is value:
            return False
        self._shown[key] = value
        return True

    def _lay_out_scene(self) -> None:
        server = self._server
        server.initial_camera.position = (0.8, 0.0, 0.6)
        server.initial_camera.look_at = (0.12, 0.0, 0.16)
        for number, shape in enumerate(table_shapes()):
            add_shape(server, f"/table/{number}", shape)
        self._robot = RobotScene(server, "/robot")
        self._ghosts = [RobotScene(server, f"/ghost{i}", 0.18, _GHOST_COLOUR) for i in range(len(_GHOST_SHARES))]
        for arms in (self._robot, *self._ghosts):
            arms.visible = False  # nobody has measured or planned a pose yet

    def _show_motion(self, snapshot: Snapshot) -> None:
        self._robot.visible = snapshot.joints is not None
        if snapshot.joints is not None:
            self._robot.pose(snapshot.joints)
        chunk = snapshot.chunk
        for share, ghost in zip(_GHOST_SHARES, self._ghosts, strict=True):
            ghost.visible = chunk is not None
            if chunk is not None:
                ghost.pose(chunk.positions[round(share * (len(chunk.positions) - 1))])
        if chunk is not None and self._is_new("chunk", chunk):
            values = snapshot.values if snapshot.values is not None else np.zeros(len(chunk.positions))
            self._show_paths(ImaginedMotion(chunk, values))

    def _show_paths(self, motion: ImaginedMotion) -> None:
        """Lines along which the planned motion takes the grippers, coloured by value."""
        values = values_along(motion)
        colours = value_colours(values, (float(values.min()), float(values.max())))
        paths = gripper_paths(motion.chunk.positions)
        segments = np.stack([paths[:, :-1], paths[:, 1:]], axis=2).reshape(-1, 2, 3)
        pairs = np.tile(np.stack([colours[:-1], colours[1:]], axis=1), (len(paths), 1, 1))
        self._server.scene.add_line_segments(
            "/paths", segments.astype(np.float32), (255 * pairs).astype(np.uint8), thickness=0.004
        )

    def _add_panel(self, title: str) -> viser.GuiTabHandle:
        """A panel at the left edge, inside the ones that are there."""
        panel = self._server.gui.add_panel()
        panel.dock_left()
        panel.set_width(_PANEL_WIDTH)
        return panel.add_tab(title)

    def _add_pictures(self, kind: str) -> dict[str, viser.GuiImageHandle]:
        add = self._server.gui.add_image
        return {view: add(_BLANK, label=f"{kind}: {view}", format="jpeg", jpeg_quality=_JPEG_QUALITY) for view in VIEWS}

    def _add_controls(self, commander: Commander) -> None:
        gui = self._server.gui
        self._add_button(commander, commands.RESET_TASK, "New layout (simulation)", "sim/reset")
        with gui.add_form(None) as form:
            text = gui.add_text("Instruction", "", hint="what the robot shall do, in words")
            send = gui.add_button("Send instruction")
        self._buttons[commands.INSTRUCT] = send
        for on_event in (form.on_submit, send.on_click):
            on_event(lambda event: self._obey(commander, commands.INSTRUCT, event.client, text.value))
        with gui.add_folder("Recorder", expand_by_default=False):
            for name, label, hint in _RECORDER_BUTTONS:
                self._add_button(commander, name, label, hint)

    def _add_button(self, commander: Commander, name: str, label: str, hint: str) -> None:
        button = self._server.gui.add_button(label, hint=hint)
        button.on_click(self._handler(commander, name))
        self._buttons[name] = button

    def _handler(self, commander: Commander, name: str) -> Callable[[Any], None]:
        return lambda event: self._obey(commander, name, event.client)

    @staticmethod
    def _obey(commander: Commander, name: str, client: viser.ClientHandle | None, text: str = "") -> None:
        """Called in viser's thread pool; tells the browser that asked how it went."""
        try:
            done = commander.obey(name, text)
        except CommandError as error:
            if client is not None:
                client.add_notification("Not done", commands.in_words(str(error)), auto_close_seconds=15.0, color="red")
            return
        if client is not None:
            client.add_notification("Done", commands.in_words(done), auto_close_seconds=5.0, color="green")


def page_size(image: ImageArray) -> tuple[int, int]:
    """Width and height on the page of a camera's picture [px]."""
    height, width, _ = image.shape
    return round(width * _PICTURE_HEIGHT / height), _PICTURE_HEIGHT


def scaled(image: ImageArray, size: tuple[int, int]) -> ImageArray:
    """An RGB picture at (width, height)."""
    how = cv2.INTER_AREA if image.shape[0] > size[1] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size, interpolation=how), dtype=np.uint8)
