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
SETTLING = 4.0
"""For pictures and charts to come [s]."""


def main(url: str, file: str, text: str = "") -> None:
    """Wait for six pictures and the text, then take the picture."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        running_browser(Path(profile)) as browser,
        browser.open(url) as tab,
    ):
        tab.wait_for("document.querySelectorAll('img').length >= 6")
        tab.wait_for(f"document.body.innerText.includes({json.dumps(text)})")
        time.sleep(SETTLING)
        tab.evaluate(_CLOSE_NOTES)
        time.sleep(1.0)
        tab.screenshot(Path(file))


if __name__ == "__main__":
    main(*sys.argv[1:])
