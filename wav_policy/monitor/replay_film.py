"""A replayed recording as a film."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np

from wav_models.progress import progress
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
        say: is told where it is.

    Raises:
        ReplayError: imagining failed; says where and why.
    """
    with progress("imagining futures") as tell:
        while (ready := replay.num_imagined) < replay.num_plans:
            report = replay.snapshot(0).reports[PLANNING]
            if report.level != OK:
                raise ReplayError(report.message)
            tell(ready, replay.num_plans)
            time.sleep(0.1)
    pictures = np.arange(0.0, len(recording), recording.fps / FPS).astype(int).tolist()
    with progress("filming") as tell, closing(open_film(file)) as film:
        for number, index in enumerate(pictures):
            tell(number, len(pictures))
            snapshot = replay.snapshot(index)
            film.add(snapshot, f"{snapshot.title}: {recording.instruction}")
    say(f"film in {file}")
