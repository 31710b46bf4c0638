"""A process with a terminal of its own, which can be closed as an ssh session that breaks off closes it."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from wav_models.signals import END_SIGNALS


class Terminal:
    """Runs a command in the foreground of a pseudo-terminal.

    Args:
        command: to run.
        directory: where.
        ignored: signals that the process begins with ignored, as `nohup` and a shell's `&` do it.
    """

    def __init__(self, command: Sequence[str], directory: Path, ignored: Sequence[signal.Signals] = ()) -> None:
        self._master, slave = os.openpty()

        def prepare() -> None:
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
            for number in END_SIGNALS:
                signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)

        self.process = subprocess.Popen(
            command, cwd=directory, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, preexec_fn=prepare
        )
        os.close(slave)
        self._text = b""
        self._closing = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def text(self) -> str:
        """What has been printed."""
        return self._text.decode(errors="replace").replace("\r\n", "\n")

    def await_text(self, text: str, timeout: float = 60.0) -> None:
        self.wait_until(lambda: text in self.text, timeout)

    def wait_until(self, condition: Callable[[], bool], timeout: float = 60.0) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.text}"
            assert time.monotonic() < deadline, f"timed out: {self.text}"
            time.sleep(0.02)

    def close(self) -> None:
        """The window is closed: the kernel sends SIGHUP, and nothing can be written any more."""
        self._closing = True
        self._reader.join(2.0)
        os.close(self._master)

    def kill(self) -> None:
        """End what still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if not self._closing:
            self.close()

    def _read(self) -> None:
        os.set_blocking(self._master, False)
        while not self._closing:
            try:
                self._text += os.read(self._master, 65536)
            except BlockingIOError:
                time.sleep(0.01)
            except OSError:  # nobody has it open any more
                time.sleep(0.05)
