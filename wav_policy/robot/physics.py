"""MuJoCo, imported after an off-screen OpenGL has been chosen for it: it reads MUJOCO_GL when it is imported.

Everything takes it from here, and only where it is needed: `from wav_policy.robot.physics import mujoco`.
"""

from __future__ import annotations

import ctypes.util
import os

__all__ = ["mujoco"]


def _choose_backend() -> None:
    """Point MUJOCO_GL to an off-screen backend that works here, unless the user chose one.

    Where none is installed physics works, and `Cameras` will not. Mesa's software renderer (llvmpipe) gets one thread
    beside ours: small pictures are not ready earlier with more, and they cost a quarter more.
    """
    os.environ.setdefault("LP_NUM_THREADS", "1")
    if "MUJOCO_GL" not in os.environ:
        if _has_egl_device():
            os.environ["MUJOCO_GL"] = "egl"
        elif ctypes.util.find_library("OSMesa"):
            os.environ["MUJOCO_GL"] = "osmesa"


def _has_egl_device() -> bool:
    """Whether EGL is installed and finds a device (Mesa's software renderer counts); libegl1 alone has none.

    PyOpenGL needs libGL beside it.
    """
    name = ctypes.util.find_library("EGL")
    if name is None or ctypes.util.find_library("GL") is None:
        return False
    egl = ctypes.CDLL(name)
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    address = egl.eglGetProcAddress(b"eglQueryDevicesEXT")
    if not address:
        return False
    prototype = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int))
    count = ctypes.c_int(0)
    return bool(prototype(address)(0, None, ctypes.byref(count))) and count.value > 0


_choose_backend()
import mujoco  # noqa: E402
