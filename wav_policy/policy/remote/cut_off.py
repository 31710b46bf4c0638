"""What the websockets library leaves open: it waits without end for a peer that does not read, and logs tracebacks."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator


class NotTakenError(Exception):
    """The other side did not take what it was sent."""


@contextlib.contextmanager
def cut_off_after(seconds: float, end: socket.socket) -> Iterator[None]:
    """Cut a connection off where what is sent within the context is not taken in time [s].

    Raises:
        NotTakenError: it was cut off.
    """
    is_late = threading.Event()

    def cut_off() -> None:
        is_late.set()
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut_off)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:
        if is_late.is_set():
            raise NotTakenError(f"not taken within {seconds:g} s") from error
        raise
    finally:
        timer.cancel()
        timer.join()


def sentences(report: Callable[[str], None]) -> logging.Logger:
    """A logger for the library: one sentence for an error, no tracebacks."""
    logger = logging.Logger("websockets", logging.ERROR)
    logger.addHandler(_Sentences(report))
    return logger


class _Sentences(logging.Handler):
    def __init__(self, report: Callable[[str], None]) -> None:
        super().__init__()
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self._report(record.getMessage() + (f": {str(error) or type(error).__name__}" if error else ""))
