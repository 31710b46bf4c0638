"""What may be an instruction."""

from __future__ import annotations

from typing import Final

MAX_TEXT: Final = 1000
"""Characters of an instruction, and of every text in a log or on /diagnostics."""


def instruction_fault(text: str) -> str | None:
    """Why a text is no instruction; None where it is one."""
    if len(text) > MAX_TEXT:
        return f"instruction of {len(text)} characters refused: at most {MAX_TEXT} fit"
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        return "instruction refused: it holds half of a character (a lone surrogate), which cannot be sent"
    return None
