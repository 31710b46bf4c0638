"""One HTML page of all figures that data files exist for."""

from __future__ import annotations

import base64
import html
import zipfile
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from wav_models.configuration import parse_json
from wav_models.experiments.figures import FIGURES

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>World-Value-Action: report</title><style>
body {{ font: 15px/1.45 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; color: #1c1f24 }}
figure {{ margin: 2.2rem 0; padding: 0 }} img {{ max-width: 100% }}
figcaption {{ font-weight: 600 }} code {{ font-size: 12px; color: #555; overflow-wrap: anywhere }}
small {{ display: block; color: #555 }}
</style></head><body><h1>World-Value-Action: report</h1>
<p>Of {checkpoints}. Drawn on {today} by wav-policy {version} (<code>wav report</code>) from the data files beside this
page. Under every figure: what it was measured on, and the command that did it.</p>
{figures}
</body></html>
"""

PACKAGE: Final = "wav-policy"
_HASH: Final = 12
"""Characters of a checkpoint's SHA-256 that tell it from others."""


class ReportError(ValueError):
    """A data file that cannot be drawn; the message names it."""


def draw_report(directory: Path) -> list[str]:
    """Draw every figure whose data is in `directory` (NAME.json, or NAME.npz), and write index.html.

    Returns:
        The names of the figures.

    Raises:
        ReportError: a damaged data file, or none at all.
    """
    drawn: list[str] = []
    parts: list[str] = []
    checkpoints: dict[str, list[str]] = {}
    for name, (draw, caption) in FIGURES.items():
        data = _load(directory, name)
        if data is None:
            continue
        picture = directory / f"{name}.png"
        try:
            draw(data).savefig(picture)
            parts.append(_part(picture, caption, _origin(data), str(data["command"])))
        except (KeyError, TypeError, IndexError) as error:
            raise ReportError(
                f"{directory / name}: not the data of this figure ({error!r}); measure it again"
            ) from error
        drawn.append(name)
        checkpoints.setdefault(_checkpoint(data), []).append(name)
    if not drawn:
        raise ReportError(f"{directory}: no data; `wav report --measure ...` writes {', '.join(FIGURES)}")
    page = PAGE.format(
        checkpoints=html.escape(_listed(checkpoints)),
        today=date.today().isoformat(),
        version=version(PACKAGE),
        figures="\n".join(parts),
    )
    (directory / "index.html").write_text(page, encoding="utf-8")
    return drawn


def measured_now() -> dict[str, str]:
    """What every data file says of when and with what it was made."""
    return {"measured": date.today().isoformat(), "version": version(PACKAGE)}


def _load(directory: Path, name: str) -> dict[str, Any] | None:
    text, arrays = directory / f"{name}.json", directory / f"{name}.npz"
    try:
        if text.is_file():
            return dict(parse_json(text.read_text(encoding="utf-8")))
        if arrays.is_file():
            with np.load(arrays, allow_pickle=False) as file:
                return {key: file[key] for key in file.files}
    except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ReportError(f"{text if text.is_file() else arrays}: damaged ({error})") from error
    return None


def _checkpoint(data: dict[str, Any]) -> str:
    """Name and beginning of the hash, as far as the data tells them."""
    if "checkpoint" not in data:
        return "a checkpoint that is not named"
    known = f" (SHA-256 {str(data['checkpoint_sha256'])[:_HASH]})" if "checkpoint_sha256" in data else ""
    return f"checkpoint {data['checkpoint']}{known}"


def _listed(checkpoints: dict[str, list[str]]) -> str:
    """The one checkpoint of all figures, or each with its own."""
    if len(checkpoints) == 1:
        return next(iter(checkpoints))
    return "; ".join(f"{checkpoint}: {', '.join(names)}" for checkpoint, names in checkpoints.items())


def _origin(data: dict[str, Any]) -> str:
    """What was measured, on which data and what training had done with it, when and by which version."""
    parts = [_checkpoint(data)]
    if "data" in data:
        parts.append(f"dataset {data['data']}")
    if "episodes_were" in data:
        parts.append(f"recorded episodes: {data['episodes_were']}")
    if "measured" in data:
        parts.append(f"measured on {data['measured']} by {PACKAGE} {data['version']}")
    return ", ".join(parts)


def _part(picture: Path, caption: str, origin: str, command: str) -> str:
    image = base64.b64encode(picture.read_bytes()).decode()
    return (
        f'<figure><figcaption>{html.escape(caption)}</figcaption><img alt="{html.escape(caption)}" '
        f'src="data:image/png;base64,{image}"><small>{html.escape(origin)}</small>'
        f"<code>{html.escape(command)}</code></figure>"
    )
