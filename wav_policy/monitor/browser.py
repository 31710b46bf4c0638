"""One browser that is told what is new, and asks for things meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection

OUTDATED: Final = 1.0
"""What was pressed so long before it could begin was meant for another moment [s]."""

_MOST_AT_ONCE: Final = 64
"""A browser that asks for more before it is answered is disconnected: no hand presses so often."""


async def serve(
    connection: ServerConnection,
    tell: Coroutine[Any, Any, None],
    carry_out: Callable[[str | bytes], Coroutine[Any, Any, None]],
) -> None:
    """Serve one browser until it goes; a command that is under way then goes on.

    Args:
        connection: to it.
        tell: sends what is new, for ever.
        carry_out: does what a message asks for, and answers.
    """
    tasks = {asyncio.create_task(tell)}
    try:
        async for text in connection:
            if len(tasks) > _MOST_AT_ONCE:
                await connection.close(1008, "too many commands at once")
                return
            task = asyncio.create_task(carry_out(text))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    finally:
        for task in tuple(tasks):
            task.cancel()
