"""Picture of a page that is served, once TEXT can be read on it.

    python -m tests.wav_policy.monitor.take_screenshot URL FILE.png [TEXT]

docs/monitor.png is made with it while `wav demo` runs, and TEXT "following the chunk".
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from tests.wav_policy.monitor.browser import running_browser

_CLOSE_NOTES = "document.querySelectorAll('.mantine-Notification-closeButton').forEach(b => b.click())"
SIZE = (1500, 950)
SETTLING = 4.0
"""For pictures and charts to come [s]."""


def main(url: str, file: str, text: str = "") -> None:
    """Wait for six pictures, the text and a bar that is not red, then take the picture."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        running_browser(Path(profile)) as browser,
        browser.open(url) as tab,
        browser.view() as view,
    ):
        tab.resize(*SIZE)
        view.wait_for("document.querySelectorAll('img').length >= 6")
        time.sleep(SETTLING)
        view.evaluate(_CLOSE_NOTES)
        time.sleep(1.0)
        view.wait_for(f"document.body.innerText.includes({json.dumps(text)})")
        tab.wait_for("!document.body.classList.contains('silent')")
        tab.screenshot(Path(file))


if __name__ == "__main__":
    main(*sys.argv[1:])
