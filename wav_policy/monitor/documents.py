"""The page's documents: the operator's bar, and the view that it shows in a frame below itself."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

VIEW_PATH: Final = "/view"
"""Where the bar's document expects the view."""

_HERE: Final = Path(__file__).parent
_EMERGENCY_KEYS: Final = "emergency_keys.js"


@cache
def bar_document(is_isolated: bool) -> str:
    """The operator's bar.

    Args:
        is_isolated: the server answers to both "localhost" and "127.0.0.1", and to anybody who asks there.
    """
    isolate = 'data-isolate="yes"' if is_isolated else 'data-isolate=""'
    return _assembled("operator_bar.html", _EMERGENCY_KEYS).replace('data-isolate=""', isolate)


@cache
def view_document() -> str:
    """What is shown below it, or alone where nothing is steered."""
    return _assembled("view.html", "view.css", _EMERGENCY_KEYS, "drawing.js", "view.js")


def _assembled(name: str, *parts: str) -> str:
    """A file with others in place of the comments that name them."""
    text = _read(name)
    for part in parts:
        text = text.replace(f"/* {part} */", _read(part))
    return text


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
