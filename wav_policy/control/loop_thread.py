"""A thread that ticks at a fixed rate, and in between does what other threads ask for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from wav_policy.control.loop_statistics import LoopStatistics
from wav_policy.control.mailbox import Mailbox, Post
from wav_policy.piper.errors import PiperError

_ANSWER_TIMEOUT: Final = 2.0
"""A tick takes milliseconds [s]."""

_URGENT_TIMEOUT: Final = 0.02
"""A stop goes to the arms whether or not the loop answers [s]."""

T = TypeVar("T")


class LoopStalledError(PiperError):
    """The control loop does not answer: what was asked for is not done."""


class LoopFailedError(PiperError):
    """What was asked for ended with an error, in the control loop's thread."""


class LoopThread:
    """Acts on what is posted, in the order of posting, at once. Before the start and after the end there is no thread:
    whoever asks acts itself then.

    Args:
        name: of the thread.
        period: from tick to tick [s]; what a late tick takes is not made up for.
        tick: called in the thread; must not raise.
        on_error: called in the thread with an error of what was posted.
        statistics: of the ticks.
    """

    def __init__(
        self,
        name: str,
        period: float,
        tick: Callable[[], None],
        on_error: Callable[[Exception], None],
        statistics: LoopStatistics,
    ) -> None:
        self._period = period
        self._tick = tick
        self._on_error = on_error
        self._statistics = statistics
        self._mailbox = Mailbox()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to tick."""
        self._thread.start()

    def close(self) -> None:
        """End the thread; what was posted is done."""
        self._closing.set()
        self._mailbox.wake()
        if self._thread.ident is not None:  # it was started
            self._thread.join()
        self._serve()

    @property
    def is_running(self) -> bool:
        """Whether somebody ticks."""
        return self._thread.is_alive()

    @property
    def must_hurry(self) -> bool:
        """Whether something urgent was posted: the thread is not to do anything else before."""
        return self._mailbox.is_urgent

    def ask(self, act: Callable[[], T]) -> T:
        """Have the thread act, and wait for its answer.

        Raises:
            LoopStalledError: no answer in time; what was not begun is not done later either.
            LoopFailedError: it ended with an error, which `on_error` was told.
        """
        if self._acts_here():
            return act()
        post = Post(act)
        self._mailbox.put(post)
        if not post.wait(_ANSWER_TIMEOUT):
            is_begun = not self._mailbox.withdraw(post)
            if not is_begun or not post.wait(_ANSWER_TIMEOUT):
                raise LoopStalledError(
                    f"the control loop has not answered for {_ANSWER_TIMEOUT:g} s: is the computer overloaded, or a "
                    "bus stuck? If the arms move, use their power switch"
                )
        if post.error is not None:
            raise LoopFailedError(f"not done: {type(post.error).__name__}: {post.error}") from post.error
        answer: T = post.answer
        return answer

    def urge(self, act: Callable[[], Any]) -> None:
        """Have the thread act before anything else; a thread that does not answer still will not do anything else."""
        if self._acts_here():
            act()
        else:
            post = Post(act, is_urgent=True)
            self._mailbox.put(post)
            post.wait(_URGENT_TIMEOUT)

    def offer(self, act: Callable[[], Any]) -> None:
        """Have the thread act, and wait for nothing; of too many offers the oldest are dropped."""
        if self._acts_here():
            act()
        else:
            self._mailbox.put(Post(act, is_offer=True))

    def _acts_here(self) -> bool:
        return not self._thread.is_alive() or threading.current_thread() is self._thread

    def _run(self) -> None:
        due, overrun = time.monotonic(), 0.0
        while not self._closing.is_set():
            began = time.monotonic()
            self._statistics.tick(began, began - due + overrun)
            self._tick()
            due += self._period
            overrun = max(time.monotonic() - due, 0.0)
            due += overrun
            self._serve()
            while not self._closing.is_set() and (left := due - time.monotonic()) > 0.0:
                self._mailbox.wait(left)
                self._serve()

    def _serve(self) -> None:
        while (post := self._mailbox.take()) is not None:
            try:
                post.do()
            except Exception as error:  # whatever it is, the thread goes on
                self._on_error(error)
