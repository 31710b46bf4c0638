"""One HTML page of all figures that data files exist for."""

from __future__ import annotations

import base64
import html
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from wav_models.experiments.figures import FIGURES

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>World-Value-Action: report</title><style>
body {{ font: 15px/1.45 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; color: #1c1f24 }}
figure {{ margin: 2.2rem 0; padding: 0 }} img {{ max-width: 100% }}
figcaption {{ font-weight: 600 }} code {{ font-size: 12px; color: #555; overflow-wrap: anywhere }}
</style></head><body><h1>World-Value-Action: report</h1>
<p>Drawn by <code>wav report</code> from the data files beside this page; each was written by the command under it.</p>
{figures}
</body></html>
"""


class ReportError(ValueError):
    """A data file that cannot be drawn; the message names it."""


def draw_report(directory: Path) -> list[str]:
    """Draw every figure whose data is in `directory` (NAME.json, or NAME.npz), and write index.html.

    Returns:
        The names of the figures.

    Raises:
        ReportError: a damaged data file, or none at all.
    """
    drawn, parts = [], []
    for name, (draw, caption) in FIGURES.items():
        data = _load(directory, name)
        if data is None:
            continue
        picture = directory / f"{name}.png"
        try:
            draw(data).savefig(picture)
            parts.append(_part(picture, _caption(caption, data), str(data["command"])))
        except (KeyError, TypeError, IndexError) as error:
            raise ReportError(
                f"{directory / name}: not the data of this figure ({error!r}); measure it again"
            ) from error
        drawn.append(name)
    if not drawn:
        raise ReportError(f"{directory}: no data; `wav report --measure ...` writes {', '.join(FIGURES)}")
    (directory / "index.html").write_text(PAGE.format(figures="\n".join(parts)), encoding="utf-8")
    return drawn


def _load(directory: Path, name: str) -> dict[str, Any] | None:
    text, arrays = directory / f"{name}.json", directory / f"{name}.npz"
    try:
        if text.is_file():
            return dict(json.loads(text.read_text(encoding="utf-8")))
        if arrays.is_file():
            with np.load(arrays, allow_pickle=False) as file:
                return {key: file[key] for key in file.files}
    except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ReportError(f"{text if text.is_file() else arrays}: damaged ({error})") from error
    return None


def _caption(caption: str, data: dict[str, Any]) -> str:
    """With what training did with the recorded episodes that were measured on."""
    return f"{caption}. Recorded episodes: {data['episodes_were']}" if "episodes_were" in data else caption


def _part(picture: Path, caption: str, command: str) -> str:
    image = base64.b64encode(picture.read_bytes()).decode()
    return (
        f'<figure><figcaption>{html.escape(caption)}</figcaption><img alt="{html.escape(caption)}" '
        f'src="data:image/png;base64,{image}"><br><code>{html.escape(command)}</code></figure>'
    )
