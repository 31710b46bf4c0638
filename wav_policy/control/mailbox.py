"""How other threads talk to the control loop: they post, the loop's thread acts, they read the answer."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

_MAX_OFFERS: Final = 4
"""Chunks that may wait for the loop, which looks at them between two ticks; a newer one takes the oldest's place."""


class Post:
    """Something the loop is asked to do.

    Args:
        act: run in the loop's thread; what it returns is the answer.
        is_urgent: nothing may be sent to the arms any more before it was done.
        is_offer: nobody waits for it.

    Attributes:
        answer: of `act`; None before.
        error: that `act` ended with; None without.
    """

    def __init__(self, act: Callable[[], Any], is_urgent: bool = False, is_offer: bool = False) -> None:
        self.answer: Any = None
        self.error: Exception | None = None
        self.is_urgent = is_urgent
        self.is_offer = is_offer
        self._act = act
        self._done = threading.Event()

    def do(self) -> None:
        """Act, and wake up who waits for it; also when it raises."""
        try:
            self.answer = self._act()
        except Exception as error:
            self.error = error
            raise
        finally:
            self._done.set()

    def wait(self, timeout: float) -> bool:
        """Whether it was done within `timeout` [s]."""
        return self._done.wait(timeout)


class Mailbox:
    """Posts in the order of their coming. Any thread puts, one takes."""

    def __init__(self) -> None:
        self._posts: deque[Post] = deque()
        self._changed = threading.Condition()

    @property
    def is_urgent(self) -> bool:
        """Whether a post waits that nothing may be sent before."""
        with self._changed:
            return any(post.is_urgent for post in self._posts)

    def put(self, post: Post) -> None:
        """Post it, and wake up the loop. Too many offers: the oldest of them is dropped."""
        with self._changed:
            offers = [waiting for waiting in self._posts if waiting.is_offer] if post.is_offer else []
            if len(offers) >= _MAX_OFFERS:
                self._posts.remove(offers[0])
            self._posts.append(post)
            self._changed.notify()

    def withdraw(self, post: Post) -> bool:
        """Take back what the loop has not begun; whether it was still there."""
        with self._changed:
            if post not in self._posts:
                return False
            self._posts.remove(post)
            return True

    def wake(self) -> None:
        """End a `wait`."""
        with self._changed:
            self._changed.notify()

    def wait(self, timeout: float) -> None:
        """Until there is a post, at most `timeout` [s]."""
        with self._changed:
            if not self._posts:
                self._changed.wait(timeout)

    def take(self) -> Post | None:
        """The oldest post; None without any."""
        with self._changed:
            return self._posts.popleft() if self._posts else None
