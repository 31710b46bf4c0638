"""Where a training's numbers go beside the printed lines: TensorBoard and Weights & Biases, through accelerate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

Track = Callable[[dict[str, float], int], None]
"""Takes numbers by name, and the optimiser step that they are of."""


def require_installed(names: Iterable[str]) -> None:
    """ValueError where the package of one of these trackers is not there."""
    for name in names:
        if find_spec(name) is None:
            raise ValueError(f"tracker {name}: its package is not installed; pip install {name}")


@contextmanager
def tracking(names: Sequence[str], run: Path, stage: str, config: dict[str, Any]) -> Iterator[Track]:
    """What passes numbers of a stage on to these trackers, which are closed afterwards.

    Args:
        names: "tensorboard", "wandb"; their packages are imported here and nowhere else.
        run: TensorBoard's files lie in `run / "tensorboard" / stage`; the run's name groups stages in Weights & Biases.
        config: shown with the numbers, where the tracker can.

    Raises:
        ValueError: Weights & Biases does not begin a run, as where nobody has logged in.
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
        tensorboard = TensorBoardTracker(stage, run / "tensorboard")
        tensorboard.start()
        return tensorboard

    import wandb

    options = {"group": run.name, "name": f"{run.name} {stage}", "dir": str(run), "config": config}
    tracker = WandBTracker("wav-policy", **options)
    try:
        tracker.start()
    except wandb.Error as error:
        raise ValueError(f"tracker wandb: {error} WANDB_MODE=offline keeps the numbers on the disk") from error
    return tracker
