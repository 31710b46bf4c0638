"""Off-screen cameras on the CPU or GPU, whichever OpenGL the machine has."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

from wav_models.types import ImageArray
from wav_policy.robot.cameras import IMAGE_SIZES

if TYPE_CHECKING:
    import mujoco


class RenderingError(RuntimeError):
    """No off-screen OpenGL works here, or a camera is used from the wrong thread."""


class Cameras:
    """Renders the three views of a simulation state. Belongs to the thread that made it.

    Raises:
        RenderingError: OpenGL cannot be started.
    """

    def __init__(self, model: mujoco.MjModel):
        from wav_policy.robot.physics import mujoco

        self._model = model
        self._thread = threading.get_ident()
        try:
            self._renderers = {
                size: mujoco.Renderer(model, height=size[0], width=size[1]) for size in set(IMAGE_SIZES.values())
            }
        except Exception as error:  # every backend raises its own type
            backend = os.environ.get("MUJOCO_GL", "(unset)")
            raise RenderingError(
                f"the simulated cameras need off-screen OpenGL, and MUJOCO_GL={backend} does not start: {error}. "
                "Install the Debian/Ubuntu packages libegl1, libgl1 and libgl1-mesa-dri, or libosmesa6, and select one "
                "with MUJOCO_GL=egl or MUJOCO_GL=osmesa"
            ) from error
        # Also runs before the interpreter shuts down, after which OSMesa could no longer be freed.
        self._finalizer = weakref.finalize(self, _close_all, tuple(self._renderers.values()), self._thread)

    def render(self, view: str, data: mujoco.MjData) -> ImageArray:
        """Image of one view (a name in `VIEWS`), uint8 RGB, shape [H, W, 3] with the sizes of `IMAGE_SIZES`.

        Raises:
            KeyError: unknown view.
            RenderingError: called from another thread than the one that made this object.
        """
        if threading.get_ident() != self._thread:
            raise RenderingError("these cameras belong to another thread; make one Cameras per rendering thread")
        if view not in IMAGE_SIZES:
            raise KeyError(f"unknown view {view!r}; choose from {', '.join(IMAGE_SIZES)}")
        renderer = self._renderers[IMAGE_SIZES[view]]
        renderer.update_scene(data, camera=view)
        return renderer.render()

    def close(self) -> None:
        """Free the OpenGL contexts; to be called by the owning thread."""
        self._finalizer()
        self._renderers = {}


def _close_all(renderers: Sequence[mujoco.Renderer], owner: int) -> None:
    """Close the renderers if this is their thread; OpenGL lets no other do it."""
    if threading.get_ident() == owner:
        for renderer in renderers:
            renderer.close()
