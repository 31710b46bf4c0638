"""Posts for the control loop: who is dropped where too many come, and who waits for whom."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Timer
from typing import Any

import pytest

from wav_policy.control.mailbox import Mailbox, Post


def drained(mailbox: Mailbox) -> list[Any]:
    """What all posts answer, in the order in which they are taken."""
    answers = []
    while (post := mailbox.take()) is not None:
        post.do()
        answers.append(post.answer)
    return answers


def says(name: Any, **kind: bool) -> Post:
    return Post(lambda: name, **kind)


def test_too_many_offers_cost_the_oldest_of_them_and_nothing_else() -> None:
    mailbox = Mailbox()
    for number in range(6):
        mailbox.put(says(f"service {number}"))
    for number in range(6):
        mailbox.put(says(number, is_offer=True))
    mailbox.put(says("last"))
    assert drained(mailbox) == [*(f"service {n}" for n in range(6)), 2, 3, 4, 5, "last"]


def test_the_loop_does_not_sleep_beside_a_post_and_wakes_up_for_one() -> None:
    mailbox = Mailbox()
    mailbox.put(says("waiting"))
    began = time.monotonic()
    mailbox.wait(20.0)
    assert drained(mailbox) == ["waiting"]
    ends: tuple[Callable[[], None], ...] = (mailbox.wake, lambda: mailbox.put(says("new")))
    for end in ends:
        timer = Timer(0.05, end)
        timer.start()
        mailbox.wait(20.0)
        timer.join()
    assert time.monotonic() - began < 10.0
    assert drained(mailbox) == ["new"]


def test_what_is_withdrawn_is_not_done() -> None:
    mailbox, wanted, unwanted = Mailbox(), says("wanted"), says("unwanted", is_urgent=True)
    mailbox.put(wanted)
    mailbox.put(unwanted)
    assert mailbox.is_urgent
    assert mailbox.withdraw(unwanted)
    assert not mailbox.withdraw(unwanted)
    assert not mailbox.is_urgent
    assert drained(mailbox) == ["wanted"]


def test_who_waits_is_woken_up_with_the_error() -> None:
    error = ValueError("no")

    def fail() -> None:
        raise error

    post = Post(fail)
    assert not post.wait(0.0)
    with pytest.raises(ValueError, match="no"):
        post.do()
    assert post.wait(0.0)
    assert post.error is error
