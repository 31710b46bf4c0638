"""Where a training's numbers go beside the printed lines: TensorBoard and Weights & Biases, through accelerate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Track = Callable[[dict[str, float], int], None]
"""Takes numbers by name, and the optimiser step that they are of."""


@contextmanager
def tracking(names: Sequence[str], run: Path, stage: str, config: dict[str, Any]) -> Iterator[Track]:
    """What passes numbers of a stage on to these trackers, which are closed afterwards.

    Args:
        names: "tensorboard", "wandb"; their packages are imported here and nowhere else.
        run: TensorBoard's files lie in `run / "tensorboard" / stage`; the run's name groups stages in Weights & Biases.
        config: shown with the numbers, where the tracker can.

    Raises:
        ValueError: a tracker's package is not installed.
    """
    trackers = [_open(name, run, stage, config) for name in names]

    def track(values: dict[str, float], step: int) -> None:
        for tracker in trackers:
            tracker.log({f"{stage}/{name}": value for name, value in values.items()}, step=step)

    try:
        yield track
    finally:
        for tracker in trackers:
            tracker.finish()


def _open(name: str, run: Path, stage: str, config: dict[str, Any]) -> Any:
    from accelerate.tracking import TensorBoardTracker, WandBTracker

    if name == "tensorboard":
        tracker: Any = TensorBoardTracker(stage, run / "tensorboard")
    else:
        options = {"group": run.name, "name": f"{run.name} {stage}", "dir": str(run), "config": config}
        tracker = WandBTracker("wav-policy", **options)
    try:
        tracker.start()
    except ImportError as error:
        raise ValueError(f"tracker {name} is not installed ({error}); pip install {name}") from error
    return tracker
