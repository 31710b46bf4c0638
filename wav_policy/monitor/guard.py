"""Who may see and steer the robot: the check that every HTTP request and websocket has to pass. Pure.

On the loopback address the machine's users are trusted, but not the web pages they visit: requests under a foreign
host name (DNS rebinding) or from a foreign origin (a page that opens a websocket to localhost) are refused. On any
other address a token is needed as well, handed over once in the address and kept in a cookie.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qs, urlsplit

_LOOPBACK_HOST: Final = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?")
COOKIE: Final = "wav_monitor"
MIN_TOKEN_LENGTH: Final = 16

NOT_IN_A_FRAME: Final = {"X-Frame-Options": "DENY", "Content-Security-Policy": "frame-ancestors 'none'"}
"""Headers of every answer: a page that shows ours in a frame could put its own buttons over Start."""

_HARDENING: Final = {"Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
_ASK: Final = """<!doctype html><title>WAV monitor</title>
<body style="font-family: sans-serif; margin: 4em"><h3>WAV monitor</h3>
<form><label>Token <input name="token" type="password" autofocus></label> <button>Enter</button></form>
<p>The token is printed where the monitor was started.</p>"""


@dataclass(frozen=True)
class PageReply:
    """What a request gets instead of the page."""

    status: HTTPStatus
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Guard:
    """The rules of one server.

    Args:
        token: what a browser must know; None on the loopback address only.
    """

    token: str | None = None

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token) < MIN_TOKEN_LENGTH:
            raise ValueError(f"the monitor's token has {len(self.token)} characters; {MIN_TOKEN_LENGTH} or more fit")

    def judge(self, path: str, headers: Mapping[str, str]) -> PageReply | None:
        """None lets the request through.

        Args:
            path: with the query, as in the request line.
            headers: names in any case.
        """
        names = {name.lower(): value for name, value in headers.items()}
        host, origin = names.get("host", ""), names.get("origin")
        if self.token is None and not _LOOPBACK_HOST.fullmatch(host):
            return _refusal(HTTPStatus.FORBIDDEN, f"This monitor answers to localhost only, not to {host!r}.")
        if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            return _refusal(HTTPStatus.FORBIDDEN, "Pages of other sites may not use this monitor.")
        return None if self.token is None else self._judge_token(path, names, self.token)

    def _judge_token(self, path: str, headers: Mapping[str, str], token: str) -> PageReply | None:
        if _same(_cookie(headers.get("cookie", "")), token):
            return None
        given = parse_qs(urlsplit(path).query).get("token", [""])[0]
        if "upgrade" not in headers and _same(given, token):
            cookie = f"{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict"
            return PageReply(HTTPStatus.SEE_OTHER, headers={**_HARDENING, "Location": "/", "Set-Cookie": cookie})
        return _refusal(HTTPStatus.UNAUTHORIZED, _ASK)


def in_our_frame(host: str) -> Mapping[str, str]:
    """Headers in place of `NOT_IN_A_FRAME` for what our own page shows in a frame, perhaps under another loopback name.

    Args:
        host: of the request, as the guard let it through.
    """
    own = _LOOPBACK_HOST.fullmatch(host)
    names = [f"http://{name}{own[2] or ''}" for name in ("localhost", "127.0.0.1")] if own else []
    return {"Content-Security-Policy": " ".join(["frame-ancestors 'self'", *names])}


def _refusal(status: HTTPStatus, body: str) -> PageReply:
    return PageReply(status, body, {**_HARDENING, "Content-Type": "text/html; charset=utf-8"})


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), token.encode())


def _cookie(header: str) -> str:
    try:
        morsel = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel is not None else ""
