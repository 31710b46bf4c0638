"""Several datasets trained on as one: other tasks, other days, other operators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from wav_models.data.check import check_dataset, check_mapped
from wav_models.data.dataset import Dataset, DatasetError, Episode, EpisodeInfo, whole_path
from wav_models.data.episode_filter import EpisodeFilter
from wav_models.data.label_settings import label_conflict
from wav_models.data.mapped_dataset import MappedDataset
from wav_models.data.mapping import DataMapping
from wav_models.embodiment import Embodiment
from wav_models.progress import progress
from wav_models.words import counted

NUM_SHOWN = 5


class DatasetGroup:
    """The episodes of several datasets, one after the other, numbered through.

    Appending a dataset changes no episode's number, and so none that is held out.

    Attributes:
        datasets: in the order given.
        fps: their common rate [Hz].
        episodes: lines of their episode tables; `EpisodeInfo.index` counts within the dataset.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        robot: Embodiment,
        mappings: Mapping[str, DataMapping] | None = None,
        episodes: Mapping[str, str] | None = None,
    ) -> None:
        """Open all datasets.

        Args:
            roots: dataset directories.
            robot: of the model that is to be trained.
            mappings: of those of another layout, by the name of their directory.
            episodes: which ones are used, see `EpisodeFilter`, by the name of their directory; all by default.

        Raises:
            DatasetError: one cannot be used, is given twice, has the name of another, differs from the first in rate,
                or has no episode that is used.
        """
        if not roots:
            raise DatasetError("no dataset was given")
        for position, root in enumerate(roots):
            for other in roots[:position]:
                _require_distinct(root, other)
        mappings, filters = mappings or {}, {name: EpisodeFilter(text) for name, text in (episodes or {}).items()}
        self.datasets = [
            _open(root, robot, mappings.get(name), filters.get(name))
            for root in roots
            for name in [whole_path(root).name]
        ]
        self.fps = self.datasets[0].fps
        for dataset in self.datasets[1:]:
            self._require_equal(dataset)
        used = [
            (dataset, episode)
            for dataset in self.datasets
            for keep in [filters.get(dataset.root.name, lambda _: True)]
            for episode in dataset.episodes
            if keep(episode)
        ]
        self.episodes: list[EpisodeInfo] = [episode for _, episode in used]
        self._place = [(dataset, episode.index) for dataset, episode in used]
        for dataset in self.datasets:
            if len(dataset) and not any(dataset is other for other, _ in used):
                raise DatasetError(f"{dataset.root}: none of {counted(len(dataset), 'episode')} is meant by `episodes`")

    def __len__(self) -> int:
        return len(self.episodes)

    def __iter__(self) -> Iterator[Episode]:
        return (self.read_episode(number) for number in range(len(self)))

    def read_episode(self, number: int) -> Episode:
        """Frames of the episode of that number."""
        dataset, index = self._place[number]
        return dataset.read_episode(index)

    def place(self, number: int) -> tuple[str, int]:
        """The name of an episode's dataset, and its index there."""
        dataset, index = self._place[number]
        return dataset.root.name, index

    def is_mapped(self, number: int) -> bool:
        """Whether an episode is read through a mapping; there are no labels then."""
        return isinstance(self._place[number][0], MappedDataset)

    def where(self, number: int) -> str:
        """An episode's dataset and index, for messages."""
        dataset, index = self._place[number]
        return f"{dataset.root}: episode {index}"

    def check(self, workers: int = 1) -> None:
        """Look for everything that training would trip over.

        Args:
            workers: processes that go through the videos.

        Raises:
            ChildProcessError: a worker died.
            DatasetError: naming the first problems and how many there are.
        """
        for dataset in self.datasets:
            option = " --mapping FILE" if isinstance(dataset, MappedDataset) else ""
            with progress(f"checking {dataset.root.name}") as tell:
                if isinstance(dataset, MappedDataset):
                    found = check_mapped(dataset, on_progress=tell)
                else:
                    found = check_dataset(dataset.root, robot=dataset.robot, workers=workers, on_progress=tell)
                problems = [problem for problem in found if problem.severity == "error"]
            if problems:
                shown = "; ".join(f"{problem.where}: {problem.message}" for problem in problems[:NUM_SHOWN])
                raise DatasetError(
                    f"{dataset.root}: {counted(len(problems), 'problem')}, see `wav dataset check{option}`. {shown}"
                )
        self.check_labels()

    def check_labels(self) -> None:
        """All values must be of one kind.

        Raises:
            DatasetError: naming two files labelled with different settings.
        """
        conflict = label_conflict([dataset for dataset in self.datasets if not isinstance(dataset, MappedDataset)])
        if conflict is not None:
            raise DatasetError(f"{conflict}: run `wav label` on all datasets with the same settings")

    def _require_equal(self, other: Dataset) -> None:
        first = self.datasets[0]
        if other.fps != first.fps:
            raise DatasetError(
                f"{other.root}: {other.fps} Hz, but {first.root} has {first.fps} Hz; `fps` in its mapping, or `wav "
                "dataset convert`, gives it another rate"
            )


def _open(root: Path, robot: Embodiment, mapping: DataMapping | None, episodes: EpisodeFilter | None) -> Dataset:
    return Dataset(root, robot=robot) if mapping is None else MappedDataset(root, mapping, robot, episodes)


def _require_distinct(root: Path, other: Path) -> None:
    if root.resolve() == other.resolve():
        raise DatasetError(f"{root}: given twice")
    if whole_path(root).name == whole_path(other).name:
        raise DatasetError(f"{root} and {other} have one name, by which their episodes are told apart; rename one")
