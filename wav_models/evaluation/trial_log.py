"""Finished trials on disk, a line each: an evaluation of hours that was ended goes on where it was."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain, count
from pathlib import Path
from typing import Any, BinaryIO

from wav_models.configuration import from_dict, parse_json
from wav_models.evaluation.closed_loop import TrialResult


def fingerprint(settings: Mapping[str, Any]) -> str:
    """What tells trials of one checkpoint, planner and environment from those of others."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()


class TrialLog:
    """Trials that were run under certain settings.

    Lines of other settings are left alone; a last line that was cut is dropped.

    Args:
        path: JSON lines; created when trials begin. None: nothing is kept.
        resume: read what is there; False: begin anew, the log that was there is kept as PATH.old (.old2, ...).

    Raises:
        ValueError: a line is damaged, or another evaluation keeps its trials there now.
    """

    def __init__(self, path: Path | None, *, resume: bool) -> None:
        self.path = path
        self._known: dict[tuple[str, int], TrialResult] = {}
        if path is None or not path.is_file():
            return
        with path.open("rb") as file:
            _lock(file, path)
        if not resume:
            path.replace(_free_name(path))
            return
        lines = path.read_bytes().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            os.truncate(path, sum(map(len, lines[:-1])))
            del lines[-1]
        for number, line in enumerate(lines, start=1):
            try:
                row = parse_json(line)
                trial = from_dict(TrialResult, row["trial"])
                self._known[row["settings"], trial.seed] = trial
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path}: line {number} is damaged ({error}); remove that line to go on") from error

    @contextmanager
    def kept_by_us(self) -> Iterator[None]:
        """Nobody else may begin to keep trials there meanwhile; ValueError where somebody does."""
        if self.path is None:
            yield
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            _lock(file, self.path)
            yield

    def of(self, settings: str, seeds: Iterable[int]) -> dict[int, TrialResult]:
        """Trials of these seeds, by seed, that were run under the settings of that fingerprint."""
        return {seed: self._known[settings, seed] for seed in seeds if (settings, seed) in self._known}

    def add(self, settings: str, trial: TrialResult) -> None:
        """Keep a finished trial; it survives this process from then on."""
        self._known[settings, trial.seed] = trial
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"settings": settings, "trial": asdict(trial)}) + "\n")


def _free_name(path: Path) -> Path:
    """PATH.old, or PATH.old2 and so on: no log that was put aside before is lost."""
    names = (path.with_name(f"{path.name}.old{number}") for number in chain([""], count(2)))
    return next(name for name in names if not name.exists())


def _lock(file: BinaryIO, path: Path) -> None:
    """Until the file is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ValueError(f"{path}: another evaluation keeps its trials there now; name another --json FILE") from None
