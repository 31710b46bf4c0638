"""The loop of an environment process: one request, one answer, until the other side is gone."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn, Protocol

import numpy as np
from wire import SuiteWireError, read_message, write_message  # type: ignore[import-not-found]

Reply = tuple[dict[str, Any], Sequence[np.ndarray]]


class ServedSuite(Protocol):
    """One environment; every method is a request of that name, its arguments are the request's."""

    def make(self, suite: str, task: int) -> Reply: ...

    def reset(self, state: int | None, seed: int) -> Reply: ...

    def step(self, action: np.ndarray) -> Reply: ...

    def render(self, size: int) -> Reply: ...

    def operate(self, seed: int, quality: str, hold: int) -> Reply: ...

    def demonstrate(self) -> Reply: ...


REQUESTS = ("make", "reset", "step", "render", "operate", "demonstrate")


def serve(suite: ServedSuite) -> NoReturn:
    """Answer requests on standard input; what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            header, arrays = read_message(sys.stdin.buffer.read)
        except SuiteWireError:
            os._exit(0)  # without the graphics libraries' last words
        request = header.pop("request")
        try:
            if request not in REQUESTS:
                raise ValueError(f"unknown request {request!r}; valid: {', '.join(REQUESTS)}")
            reply, out = getattr(suite, request)(*arrays, **header)
        except Exception as error:
            traceback.print_exc()
            reply, out = {"error": f"{type(error).__name__}: {error}"}, ()
        write_message(answers, reply, out)
