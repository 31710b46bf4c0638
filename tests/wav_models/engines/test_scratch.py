"""Where an export is made: nothing stays behind, and nobody takes away what another still needs."""

from __future__ import annotations

import errno
import fcntl
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wav_models.engines.scratch import scratch_beside

MAKER = """
import sys, time
from pathlib import Path
from wav_models.engines.scratch import scratch_beside
with scratch_beside(Path(sys.argv[1])) as scratch:
    (scratch / "weights.bin").write_bytes(b"half")
    print(scratch, flush=True)
    time.sleep(60)
"""


def test_it_is_gone_at_the_end_however_that_comes(tmp_path: Path) -> None:
    def interrupted() -> None:
        with scratch_beside(tmp_path / "export") as scratch:
            (scratch / "weights.bin").write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with scratch_beside(tmp_path / "export") as scratch:
        scratch.rename(tmp_path / "export")
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


def test_what_a_killed_maker_left_goes_and_what_another_needs_stays(tmp_path: Path) -> None:
    other, foreign = tmp_path / "export-fp32", tmp_path / ".exported"
    foreign.mkdir()
    makers = [
        subprocess.Popen([sys.executable, "-c", MAKER, str(directory)], stdout=subprocess.PIPE, text=True)
        for directory in (tmp_path / "export", tmp_path / "export", other)
    ]
    try:
        killed, alive, of_other = (Path(maker.stdout.readline().strip()) for maker in makers if maker.stdout)
        makers[0].send_signal(signal.SIGKILL)
        makers[0].wait()
        assert (killed / "weights.bin").exists()
        with scratch_beside(tmp_path / "export") as scratch:
            assert {path.name for path in tmp_path.iterdir()} == {
                path.name for path in (foreign, alive, of_other, scratch)
            }
    finally:
        for maker in makers:
            maker.kill()
            maker.wait()
            if maker.stdout:
                maker.stdout.close()


def test_where_there_are_no_locks_it_works_and_removes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, how: int) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", refuse)
    left = tmp_path / ".export.left"
    left.mkdir()
    with scratch_beside(tmp_path / "export") as scratch:
        assert scratch.is_dir()
    assert list(tmp_path.iterdir()) == [left]
