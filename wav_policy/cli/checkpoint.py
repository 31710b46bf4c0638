"""`wav checkpoint copy`: checkpoints from and to other directories and the Hugging Face Hub."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

PROG = "wav checkpoint"


@dataclass(frozen=True)
class CheckpointArguments:
    """Copy a checkpoint; every file is compared with SHA256SUMS before it leaves and after it has arrived."""

    verb: Annotated[Literal["copy"], tyro.conf.Positional]
    source: Annotated[str, tyro.conf.Positional]
    """A directory, hub:OWNER/NAME or hub:OWNER/NAME@REVISION."""
    target: Annotated[str, tyro.conf.Positional]
    """A directory that is not there yet, or hub:OWNER/NAME (made as a private repository where there is none)."""


def main(argv: list[str]) -> int:
    """Entry point of `wav checkpoint`."""
    arguments = tyro.cli(CheckpointArguments, prog=PROG, args=argv)
    from wav_models.checkpoint_copy import copy_checkpoint
    from wav_models.checkpoint_files import CheckpointError

    try:
        copy_checkpoint(arguments.source, arguments.target)
    except (CheckpointError, OSError) as error:
        print(f"{PROG} {arguments.verb}: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.target}: all files are as in {arguments.source}")
    return 0
