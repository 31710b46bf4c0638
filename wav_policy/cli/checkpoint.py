"""`wav checkpoint copy`: checkpoints from and to other directories and the Hugging Face Hub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from wav_models.command_line import parsed
from wav_models.progress import progress


@dataclass(frozen=True)
class CopyArguments:
    """Copy a checkpoint; every file is compared with SHA256SUMS before it leaves and after it has arrived."""

    source: Annotated[str, tyro.conf.Positional]
    """A directory, hub:OWNER/NAME or hub:OWNER/NAME@REVISION."""
    target: Annotated[str, tyro.conf.Positional]
    """A directory that is not there yet, or hub:OWNER/NAME (made as a private repository where there is none)."""


def copy(argv: list[str]) -> None:
    """Entry point of `wav checkpoint copy`."""
    arguments = parsed(CopyArguments, "wav checkpoint copy", argv)
    from wav_models.checkpoint_copy import copy_checkpoint

    with progress("copying"):
        copy_checkpoint(arguments.source, arguments.target)
    print(f"{arguments.target}: all files are as in {arguments.source}")
