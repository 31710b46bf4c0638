"""Several datasets trained on as one: other tasks, other days, other operators."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from wav_models.data.check import check_dataset
from wav_models.data.dataset import Dataset, DatasetError, Episode, EpisodeInfo
from wav_models.data.label_settings import label_conflict
from wav_models.embodiment import Embodiment

NUM_SHOWN = 5


class DatasetGroup:
    """The episodes of several datasets, one after the other, numbered through.

    Appending a dataset changes no episode's number, and so none that is held out.

    Attributes:
        datasets: in the order given.
        fps: their common rate [Hz].
        episodes: lines of their episode tables; `EpisodeInfo.index` counts within the dataset.
    """

    def __init__(self, roots: Sequence[Path], robot: Embodiment) -> None:
        """Open all datasets.

        Args:
            roots: dataset directories.
            robot: of the model that is to be trained.

        Raises:
            DatasetError: one cannot be used, is given twice, has the name of another, or differs from the first in rate
                or image sizes.
        """
        if not roots:
            raise DatasetError("no dataset was given")
        for position, root in enumerate(roots):
            for other in roots[:position]:
                _require_distinct(root, other)
        self.datasets = [Dataset(root, robot=robot) for root in roots]
        self.fps = self.datasets[0].fps
        for dataset in self.datasets[1:]:
            self._require_equal(dataset)
        self.episodes: list[EpisodeInfo] = [episode for dataset in self.datasets for episode in dataset.episodes]
        self._place = [(dataset, episode.index) for dataset in self.datasets for episode in dataset.episodes]

    def __len__(self) -> int:
        return len(self.episodes)

    def __iter__(self) -> Iterator[Episode]:
        return (self.read_episode(number) for number in range(len(self)))

    def read_episode(self, number: int) -> Episode:
        """Frames of the episode of that number."""
        dataset, index = self._place[number]
        return dataset.read_episode(index)

    def where(self, number: int) -> str:
        """An episode's dataset and index, for messages."""
        dataset, index = self._place[number]
        return f"{dataset.root}: episode {index}"

    def check(self) -> None:
        """Look for everything that training would trip over.

        Raises:
            DatasetError: naming the first problems and how many there are.
        """
        for dataset in self.datasets:
            problems = [
                problem for problem in check_dataset(dataset.root, robot=dataset.robot) if problem.severity == "error"
            ]
            if problems:
                shown = "; ".join(f"{problem.where}: {problem.message}" for problem in problems[:NUM_SHOWN])
                raise DatasetError(f"{dataset.root}: {len(problems)} problems, see `wav dataset check`. {shown}")
        self.check_labels()

    def check_labels(self) -> None:
        """All values must be of one kind.

        Raises:
            DatasetError: naming two files labelled with different settings.
        """
        conflict = label_conflict(self.datasets)
        if conflict is not None:
            raise DatasetError(f"{conflict}: run `wav label` on all datasets with the same settings")

    def _require_equal(self, other: Dataset) -> None:
        first = self.datasets[0]
        for name in ("fps", "image_sizes"):
            expected, found = getattr(first, name), getattr(other, name)
            if expected != found:
                raise DatasetError(f"{other.root}: {name} is {found}, that of {first.root} is {expected}")


def _require_distinct(root: Path, other: Path) -> None:
    if root.resolve() == other.resolve():
        raise DatasetError(f"{root}: given twice")
    if root.name == other.name:
        raise DatasetError(f"{root} and {other} have one name, by which their episodes are told apart; rename one")
