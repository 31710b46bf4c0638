"""Numbers in sentences."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun, as in "1 episode" or "3 episodes".

    Args:
        number: of them.
        noun: one of them.
        plural: several of them, where that is not the noun with an s.
    """
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"
