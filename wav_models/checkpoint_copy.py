"""Checkpoints to and from elsewhere: another directory, or the Hugging Face Hub where the user names it.

What is copied is what `SHA256SUMS` lists; it is compared with that before it leaves and after it has arrived.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from wav_models.checkpoint_files import SUMS, CheckpointError, CheckpointFiles
from wav_models.configuration import ConfigurationError

HUB: Final = "hub:"


def copy_checkpoint(source: str, target: str) -> None:
    """Copy a checkpoint.

    Args:
        source: a directory, or "hub:OWNER/NAME", with "@REVISION" behind it for another than the newest.
        target: a directory that is not there yet, or "hub:OWNER/NAME", made as a private repository where it is none.

    Raises:
        CheckpointError: the source is no whole checkpoint, or the Hub refuses.
        ConfigurationError: the target is there already.
    """
    if target.startswith(HUB):
        with _local(source) as directory:
            _upload(directory, _listed(directory), target)
        return
    there = Path(target)
    if there.exists():
        raise ConfigurationError(f"{there}: is there already; name a directory that is not, or remove it")
    there.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=f".{there.name}.", dir=there.parent) as scratch,
        _local(source) as directory,
    ):
        arriving = Path(scratch) / there.name
        arriving.mkdir()
        for name in (SUMS, *_listed(directory)):
            shutil.copyfile(directory / name, arriving / name)
        _listed(arriving)
        os.rename(arriving, there)


def _listed(directory: Path) -> list[str]:
    """Names of a checkpoint's files, all of which are as they were saved."""
    files = CheckpointFiles(directory)
    if not files.saved:
        raise CheckpointError(
            f"{directory / SUMS}: lists no files, so nobody knows what the checkpoint is; write it "
            f"(cd {directory} && sha256sum *.json *.safetensors > {SUMS})"
        )
    if elsewhere := [name for name in files.saved if Path(name).name != name]:
        raise CheckpointError(f"{directory / SUMS}: lists {elsewhere[0]!r}, which is no name of a file beside it")
    files.verify()
    return sorted(files.saved)


@contextmanager
def _local(source: str) -> Iterator[Path]:
    """The source as a directory, for the duration of the block."""
    if not source.startswith(HUB):
        yield Path(source)
        return
    import huggingface_hub

    repository, _, revision = source.removeprefix(HUB).partition("@")
    with tempfile.TemporaryDirectory() as directory:
        with _refusals_named(source):
            huggingface_hub.snapshot_download(
                repository,
                revision=revision or None,
                local_dir=directory,
                allow_patterns=[SUMS, "*.json", "*.safetensors"],
            )
        yield Path(directory)


def _upload(directory: Path, files: list[str], target: str) -> None:
    import huggingface_hub

    repository, at, _ = target.removeprefix(HUB).partition("@")
    if at:
        raise CheckpointError(f"{target}: a revision is for reading; {HUB}{repository} fits")
    with _refusals_named(target):
        huggingface_hub.create_repo(repository, private=True, exist_ok=True)
        huggingface_hub.upload_folder(
            repo_id=repository, folder_path=directory, allow_patterns=[SUMS, *files], commit_message="Upload checkpoint"
        )


@contextmanager
def _refusals_named(place: str) -> Iterator[None]:
    """What the Hub or the way to it says, as a CheckpointError."""
    from huggingface_hub.errors import HTTPError

    try:
        yield
    except (HTTPError, OSError, ValueError) as error:
        said = str(error).strip().splitlines()[0]
        raise CheckpointError(f"{place}: {said}; `hf auth login` gives access to private repositories") from error
