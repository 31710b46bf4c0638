"""A headless Chromium, driven through its DevTools protocol."""

from __future__ import annotations

import base64
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 120.0
"""For machines that are busy with other things [s]."""

_ANSWER_TIMEOUT = 15.0
"""[s]"""

_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
    "--window-size=1500,950",
)
_CLICK = """(() => {
  const hit = [...document.querySelectorAll("button, label, .mantine-Accordion-control, div, p")]
    .filter(e => e.textContent.trim() === TEXT && e.offsetParent !== null).pop();
  if (!hit) return false;
  hit.click();
  return true;
})()"""
_IMAGES = """[...document.querySelectorAll("figure canvas")].filter(i => i.width > 20).map(i => {
  const c = document.createElement("canvas"); c.width = 32; c.height = 32;
  const g = c.getContext("2d"); g.drawImage(i, 0, 0, 32, 32);
  return [...g.getImageData(0, 0, 32, 32).data].reduce((a, b, n) => (a * 31 + b * (n % 7 + 1)) % 1000003, 7);
})"""


class Tab:
    """One page."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._count = 0

    def call(self, method: str, *, timeout: float = PATIENCE, **parameters: Any) -> dict[str, Any]:
        """One DevTools command; its result."""
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=timeout))
            if message.get("id") == self._count:
                assert "error" not in message, message
                return dict(message["result"])

    def evaluate(self, expression: str, timeout: float = PATIENCE) -> Any:
        """Value of a JavaScript expression."""
        options = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        result = self.call("Runtime.evaluate", timeout=timeout, **options)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, expression: str, timeout: float = PATIENCE) -> Any:
        """The expression's value as soon as it is true."""
        deadline = time.monotonic() + timeout
        value: Any = None
        failure: BaseException | None = None
        while not value:
            assert time.monotonic() < deadline, f"{expression} stayed {value!r}; {failure!r}"
            try:
                value = self.evaluate(expression, _ANSWER_TIMEOUT)
            except (TimeoutError, AssertionError) as error:  # a navigation swallows what is asked meanwhile
                failure = error
                continue
            time.sleep(0.2)
        return value

    def press(self, key: str, code: str) -> None:
        """Press and release a key where the focus is."""
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=code)

    def resize(self, width: int, height: int, is_phone: bool = False) -> None:
        """Be as large as a window or a phone's screen [px]."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1}
        self.call("Emulation.setDeviceMetricsOverride", mobile=is_phone, **size)

    def text(self) -> str:
        """All visible text."""
        return str(self.evaluate("document.body.innerText"))

    def click(self, text: str) -> None:
        """Click on what bears exactly this text."""
        self.wait_for(_CLICK.replace("TEXT", json.dumps(text)))

    def type(self, selector: str, text: str) -> None:
        """Type into an input."""
        self.wait_for(f"(e => e && (e.focus(), e.select(), true))(document.querySelector({json.dumps(selector)}))")
        self.call("Input.insertText", text=text)

    def images(self) -> list[int]:
        """One fingerprint per picture on the page."""
        return list(self.evaluate(_IMAGES))

    def screenshot(self, file: Path, **options: Any) -> None:
        """Save what is to be seen as PNG."""
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", **options)["data"]))


class Browser:
    """A running Chromium."""

    def __init__(self, port: int) -> None:
        self._port = port

    @contextmanager
    def open(self, url: str) -> Iterator[Tab]:
        """A new tab at this address."""
        base = f"ws://127.0.0.1:{self._port}"
        with connect(f"{base}{self._browser_path}", max_size=None) as control:
            target = Tab(control).call("Target.createTarget", url="about:blank")["targetId"]
            with connect(f"{base}/devtools/page/{target}", max_size=None) as socket:
                tab = Tab(socket)
                tab.call("Page.navigate", url=url)
                yield tab
            Tab(control).call("Target.closeTarget", targetId=target)

    @contextmanager
    def view(self) -> Iterator[Tab]:
        """What the one open page shows in its frame, which is another process of the browser."""
        base = f"ws://127.0.0.1:{self._port}"
        with connect(f"{base}{self._browser_path}", max_size=None) as control:
            deadline = time.monotonic() + PATIENCE
            while not (found := [t for t in _targets(control) if t["type"] == "iframe" and t["url"].endswith("/view")]):
                assert time.monotonic() < deadline, "no frame"
                time.sleep(0.2)
        with connect(f"{base}/devtools/page/{found[0]['targetId']}", max_size=None) as socket:
            yield Tab(socket)

    _browser_path: str = ""


def _targets(control: ClientConnection) -> list[dict[str, Any]]:
    return list(Tab(control).call("Target.getTargets", filter=[{}])["targetInfos"])


@contextmanager
def running_browser(profile: Path) -> Iterator[Browser]:
    """Chromium with a fresh profile; ends with the block."""
    assert CHROMIUM is not None
    process = subprocess.Popen(
        [CHROMIUM, *_OPTIONS, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        file = profile / "DevToolsActivePort"
        deadline = time.monotonic() + PATIENCE
        while not (file.exists() and len(file.read_text().splitlines()) == 2):
            assert process.poll() is None, "Chromium did not start"
            assert time.monotonic() < deadline, "Chromium opened no DevTools port"
            time.sleep(0.1)
        port, path = file.read_text().splitlines()
        browser = Browser(int(port))
        browser._browser_path = path
        yield browser
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
