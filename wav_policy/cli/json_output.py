"""What `--json` means to every command: a file for the result, or standard output where none is named."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, Final

from wav_models.configuration import ConfigurationError

STANDARD_OUTPUT: Final = Path("-")


def with_json_target(argv: list[str]) -> list[str]:
    """The arguments, with "-" as the file of a `--json` that names none.

    Raises:
        ConfigurationError: nothing can be written there, which is better known before the work than after it.
    """
    followers = [*argv, "--"][1:]
    for word, next_word in zip(argv, followers, strict=True):
        if word == "--json" and not next_word.startswith("-"):
            require_writable("--json", Path(next_word))
        elif word.startswith("--json="):
            require_writable("--json", Path(word.removeprefix("--json=")))
    return [
        f"{word}={STANDARD_OUTPUT}" if word == "--json" and next_word.startswith("--") else word
        for word, next_word in zip(argv, followers, strict=True)
    ]


def require_writable(option: str, file: Path) -> None:
    """ConfigurationError where a file, or a directory on the way to it, cannot be made or written."""
    nearest = next(path for path in (file, *file.absolute().parents) if os.path.exists(path))
    if file.is_dir() or not os.access(nearest, os.W_OK) or (nearest != file and not nearest.is_dir()):
        raise ConfigurationError(f"{option} {file}: cannot be written; name another file")


def say_result(result: Any, text: str, path: Path | None) -> None:
    """The text for people, and the result as JSON where it is wanted; on standard output there is nothing else then."""
    print(text, file=sys.stderr if path == STANDARD_OUTPUT else None)
    if path is not None:
        write_result(result, path)


def write_result(result: Any, path: Path) -> None:
    """The result as JSON, in a file or on standard output."""
    data = json.dumps(result, indent=1) + "\n"
    if path == STANDARD_OUTPUT:
        sys.stdout.write(data)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(data, encoding="utf-8")


def trials_file(result: Path | None, resume: bool) -> Path | None:
    """Where finished trials are kept: beside the file of the result; None where there is none.

    Raises:
        ConfigurationError: those of an evaluation before are wanted, and there is no file.
    """
    if result is not None and result != STANDARD_OUTPUT:
        return result.with_name(result.name + ".trials.jsonl")
    if resume:
        raise ConfigurationError("--resume needs the --json FILE that the ended evaluation was given")
    return None
