"""Off-screen cameras on the CPU or GPU, whichever OpenGL the machine has."""

from __future__ import annotations

import ctypes.util
import os
import threading
from typing import TYPE_CHECKING, Final

from wav_models.types import ImageArray
from wav_policy.sim.model import IMAGE_SIZES

if TYPE_CHECKING:
    import mujoco

_BACKENDS: Final = {"egl": "EGL", "osmesa": "OSMesa"}


class RenderingError(RuntimeError):
    """No off-screen OpenGL works here, or a camera is used from the wrong thread."""


def choose_backend() -> str | None:
    """Point MUJOCO_GL to an installed off-screen backend unless the user chose one; must precede `import mujoco`.

    Returns:
        "egl", "osmesa", or the user's choice; None when nothing is installed (physics works, `Cameras` will not).
    """
    if "MUJOCO_GL" not in os.environ:
        for backend, library in _BACKENDS.items():
            if ctypes.util.find_library(library):
                os.environ["MUJOCO_GL"] = backend
                break
    return os.environ.get("MUJOCO_GL")


class Cameras:
    """Renders the three views of a simulation state. Belongs to the thread that made it.

    Raises:
        RenderingError: OpenGL cannot be started.
    """

    def __init__(self, model: mujoco.MjModel):
        import mujoco

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
                "Install the Debian/Ubuntu packages libegl1 and libgl1-mesa-dri, or libosmesa6, and select one with "
                "MUJOCO_GL=egl or MUJOCO_GL=osmesa"
            ) from error

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
        """Free the OpenGL contexts."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers = {}
