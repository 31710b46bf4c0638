"""Run by `test_lerobot.py` inside an environment with LeRobot: prints what its loader reads of a dataset, as JSON.

Everything of LeRobot runs unmodified. Where torchvision is missing, a stand-in takes its place: its transforms are only
imported, and its VideoReader is a thin layer over PyAV, as is the one here.
"""

from __future__ import annotations

import json
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


def main(root: str) -> None:
    import datasets  # noqa: F401  (looks for the real torchvision, so before any stand-in)

    try:
        import torchvision  # noqa: F401
    except ImportError:
        stand_in_for_torchvision()
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    dataset = LeRobotDataset("local/test", root=root, video_backend="pyav")
    rows = []
    for index in range(len(dataset)):
        item = dataset[index]
        rows.append(
            {
                "state": item["observation.state"].tolist(),
                "action": item["action"].tolist(),
                "task": item["task"],
                "episode": int(item["episode_index"]),
                "frame": int(item["frame_index"]),
                "timestamp": float(item["timestamp"]),
                "source_times": item["source_times"].tolist() if "source_times" in item else None,
                "effort": item["observation.effort"].tolist() if "observation.effort" in item else None,
                "images": {key: item[key].mean(dim=(1, 2)).tolist() for key in dataset.meta.video_keys},
                "shapes": {key: list(item[key].shape) for key in dataset.meta.video_keys},
            }
        )
    json.dump({"episodes": dataset.num_episodes, "fps": dataset.fps, "rows": rows}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
