"""A replayed recording as a film."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np

from wav_policy.monitor.film import FPS, open_film
from wav_policy.monitor.recording import Recording, ReplayError
from wav_policy.monitor.replay import Replay
from wav_policy.monitor.snapshot import OK, PLANNING


def film_replay(replay: Replay, recording: Recording, file: Path, say: Callable[[str], None]) -> None:
    """Wait until everything is imagined, then write the film.

    Args:
        replay: of the recording.
        recording: what is replayed.
        file: .mp4, .gif, .rrd or .mcap.
        say: is told how far it is.

    Raises:
        ReplayError: imagining failed; says where and why.
    """
    told = -1
    while (ready := replay.num_imagined) < replay.num_plans:
        report = replay.snapshot(0).reports[PLANNING]
        if report.level != OK:
            raise ReplayError(report.message)
        if ready != told:
            say(report.message)
            told = ready
        time.sleep(0.1)
    with closing(open_film(file)) as film:
        for index in np.arange(0.0, len(recording), recording.fps / FPS).astype(int).tolist():
            snapshot = replay.snapshot(index)
            film.add(snapshot, f"{snapshot.title}: {recording.instruction}")
    say(f"film in {file}")
