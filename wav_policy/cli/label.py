"""`wav label`: the rewards of Table 2 and the discounted return for every frame of a dataset."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from wav_models.command_line import parsed
from wav_models.configuration import AtLeastOne, NotNegative, Range
from wav_models.progress import progress
from wav_models.words import counted


@dataclass(frozen=True)
class LabelArguments:
    """Add the column `state_value` (16 reward terms and the return); run again after recording more."""

    directory: Annotated[Path, tyro.conf.Positional]
    """Dataset to label."""
    discount: Annotated[float, Range(0.0, 1.0)] = 0.98
    """Discount of the return per recorded frame."""
    image_size: tuple[AtLeastOne, AtLeastOne] = (64, 64)
    """Height and width at which images are compared [px]."""
    failure_penalty: NotNegative = 0.5
    """Taken off the reward that goes on after an episode recorded as failed."""
    workers: AtLeastOne = 2
    """How many processes share the work."""


def main(argv: list[str]) -> None:
    """Entry point of `wav label`."""
    arguments = parsed(LabelArguments, "wav label", argv)
    from wav_models.rewards.label import count_unmarked, label_dataset
    from wav_models.rewards.label_config import LabelConfig

    config = LabelConfig(arguments.discount, arguments.image_size, arguments.failure_penalty)
    with progress("labelling") as tell:
        written = label_dataset(arguments.directory, config, num_workers=arguments.workers, on_progress=tell)
    print(f"{counted(written, 'file')} labelled in {arguments.directory}")
    unmarked, total = count_unmarked(arguments.directory)
    if unmarked:
        print(
            f"wav label: neither success nor failure is marked in {unmarked} of {counted(total, 'episode')}; "
            "these count as successes. If some failed, mark them (episode_success = 0 in their frames) and label again",
            file=sys.stderr,
        )
