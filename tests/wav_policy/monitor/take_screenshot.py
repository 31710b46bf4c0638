"""Picture of a page that is served, once TEXT can be read on it.

python -m tests.wav_policy.monitor.take_screenshot URL FILE.png [TEXT] [light|dark] [WIDTHxHEIGHT]
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from tests.wav_policy.monitor.browser import running_browser

SETTLING = 5.0
"""For pictures and charts to come [s]."""


def main(url: str, file: str, text: str = "", scheme: str = "light", size: str = "1440x900") -> None:
    """Wait for the pictures, the text and a bar that is not red, then take the picture."""
    width, height = map(int, size.split("x"))
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        running_browser(Path(profile)) as browser,
        browser.open(url) as tab,
        browser.view() as view,
    ):
        for page in (tab, view):
            page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        tab.resize(width, height)
        view.wait_for(
            f"innerWidth === {width} && [...document.querySelectorAll('figure canvas')].every(c => c.width > 20)"
        )
        view.wait_for(f"document.body.innerText.includes({json.dumps(text)})")
        time.sleep(SETTLING)
        tab.wait_for("!document.body.classList.contains('silent')")
        tab.screenshot(Path(file))


if __name__ == "__main__":
    main(*sys.argv[1:])
