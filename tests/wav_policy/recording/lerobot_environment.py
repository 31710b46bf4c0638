"""Imported first by what `test_lerobot.py` runs inside an environment with LeRobot: makes LeRobot importable there.

Everything of LeRobot runs unmodified. Where torchvision is missing, a stand-in takes its place: its transforms are only
imported. Newer ones have no VideoReader, which LeRobot 0.4's back-end "pyav" takes; the one here is a thin layer over
PyAV, as theirs was.
"""

from __future__ import annotations

import sys
from types import ModuleType


class VideoReader:
    """What LeRobot's "pyav" back-end uses of torchvision.io.VideoReader."""

    def __init__(self, path: str, stream: str) -> None:
        import av

        self.container = av.open(path)

    def seek(self, time: float, keyframes_only: bool) -> None:
        stream = self.container.streams.video[0]
        self.container.seek(int(time / stream.time_base), stream=stream, any_frame=not keyframes_only, backward=True)

    def __iter__(self):  # type: ignore[no-untyped-def]
        import torch

        for frame in self.container.decode(video=0):
            yield {"data": torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1), "pts": frame.time}


def stand_in_for_torchvision() -> None:
    class Transform:
        pass

    class Submodule(ModuleType):
        """Imports of names nobody calls here."""

        def __getattr__(self, name: str) -> object:
            if name.startswith("__"):
                raise AttributeError(name)
            return Transform

    names = ("transforms", "transforms.v2", "transforms.v2.functional", "io")
    modules = {name: Submodule(f"torchvision.{name}") for name in names}
    torchvision = ModuleType("torchvision")
    torchvision.set_video_backend = lambda backend: None  # type: ignore[attr-defined]
    torchvision.transforms, torchvision.io = modules["transforms"], modules["io"]  # type: ignore[attr-defined]
    modules["transforms"].v2 = modules["transforms.v2"]
    modules["transforms.v2"].functional = modules["transforms.v2.functional"]
    modules["io"].VideoReader = VideoReader
    sys.modules["torchvision"] = torchvision
    for name, module in modules.items():
        sys.modules[f"torchvision.{name}"] = module


def prepare() -> None:
    """Before the first import of LeRobot."""
    import datasets  # noqa: F401  (looks for the real torchvision, so before any stand-in)

    try:
        import torchvision.io
    except ImportError:
        stand_in_for_torchvision()
    else:
        if not hasattr(torchvision.io, "VideoReader"):
            torchvision.io.VideoReader = VideoReader


prepare()
