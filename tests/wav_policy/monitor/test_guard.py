"""Nobody gets past the guard: neither the page nor its websocket, neither from elsewhere nor from a foreign page."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from wav_policy.monitor.guard import Guard
from wav_policy.monitor.operator_bar import OperatorBar
from wav_policy.monitor.page import STREAM_PATH, MonitorPage
from wav_policy.monitor.server import Address, PageServer, ServerError

TOKEN = "a-token-of-decent-length"
LOCAL = {"Host": "localhost:8080"}


class Nobody:
    """Commands are not what is tested here."""

    def obey(self, command: str, text: str = "") -> str:
        raise AssertionError(command)


@pytest.fixture(scope="module")
def open_port() -> Iterator[int]:
    """A page on the loopback address."""
    server = PageServer(Address("127.0.0.1", 0), MonitorPage(Nobody()))
    yield server.port
    server.close()


@pytest.fixture(scope="module")
def steering_port() -> Iterator[int]:
    """A page with the operator's bar, on the loopback address."""
    bar = OperatorBar(Nobody(), {}.get)
    server = PageServer(Address("127.0.0.1", 0), MonitorPage(Nobody()), bar)
    yield server.port
    server.close()
    bar.close()


@pytest.fixture(scope="module")
def guarded_port() -> Iterator[int]:
    """A page with the operator's bar on all addresses, with a token."""
    bar = OperatorBar(Nobody(), {}.get)
    server = PageServer(Address("0.0.0.0", 0, TOKEN), MonitorPage(Nobody()), bar)
    assert server.url.endswith(f"?token={TOKEN}")
    yield server.port
    server.close()
    bar.close()


def get(port: int, path: str = "/", **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path, headers=headers)
    return connection.getresponse()


def open_websocket(port: int, path: str = STREAM_PATH, **headers: str) -> None:
    with connect(f"ws://127.0.0.1:{port}{path}", additional_headers=headers) as socket:
        assert socket.ping().wait(20)


def refused_with(port: int, path: str = STREAM_PATH, **headers: str) -> int:
    with pytest.raises(InvalidStatus) as caught:
        open_websocket(port, path, **headers)
    return int(caught.value.response.status_code)


def test_this_host_gets_page_and_websocket(open_port: int) -> None:
    assert b"<html" in get(open_port).read().lower()
    open_websocket(open_port)
    open_websocket(open_port, Origin=f"http://127.0.0.1:{open_port}")


def test_no_page_can_show_ours_in_a_frame(open_port: int, guarded_port: int) -> None:
    """Clickjacking: a visited page could lay its own button over Start."""
    answers = (get(open_port), get(open_port, "/no/such/file"), get(open_port, Host="evil.example"), get(guarded_port))
    assert [answer.status for answer in answers] == [200, 404, 403, 401]
    for answer in (*answers, get(guarded_port, f"/?token={TOKEN}")):
        assert answer.headers.get_all("X-Frame-Options") == ["DENY"]
        assert answer.headers.get_all("Content-Security-Policy") == ["frame-ancestors 'none'"]


def test_only_our_page_shows_the_view_in_a_frame(steering_port: int, guarded_port: int) -> None:
    """Under either name of this host; browsers that tell where they show it get none without the bar."""
    assert b"EMERGENCY STOP" in get(steering_port).read()
    host = f"localhost:{steering_port}"
    own = f"frame-ancestors 'self' http://localhost:{steering_port} http://127.0.0.1:{steering_port}"
    answer = get(steering_port, "/view", Host=host)
    assert answer.status == 200
    assert answer.headers.get_all("Content-Security-Policy") == [own]
    assert answer.headers.get_all("X-Frame-Options") is None
    cookie = {"Cookie": f"wav_monitor={TOKEN}", "Host": "robot:8080"}
    assert get(guarded_port, "/view", **cookie).headers["Content-Security-Policy"] == "frame-ancestors 'self'"
    for path in ("/", "/viewer", "/operator", "/stream", "/index.html", "/view/"):
        assert get(steering_port, path).headers.get_all("X-Frame-Options") == ["DENY"], path
    for path in ("/view", "/view?a", "/view/", "//view", "/index.html", "//", "/./"):
        alone = get(steering_port, path, **{"Sec-Fetch-Dest": "document"})
        assert alone.status != 200, path
        assert b"<html" not in alone.read(), path


def test_only_a_server_without_token_is_asked_under_two_names(steering_port: int, guarded_port: int) -> None:
    """A cookie belongs to one of them."""
    assert b'data-isolate="yes"' in get(steering_port).read()
    assert b'data-isolate=""' in get(guarded_port, Cookie=f"wav_monitor={TOKEN}").read()


@pytest.mark.parametrize("path", ["/stream", "/operator", "/stream?x", "/operator?x"])
def test_every_websocket_is_guarded(steering_port: int, guarded_port: int, path: str) -> None:
    open_websocket(steering_port, path, Origin=f"http://127.0.0.1:{steering_port}")
    assert refused_with(steering_port, path, Origin="https://evil.example") == 403
    assert refused_with(steering_port, path, Host="evil.example") == 403
    assert refused_with(guarded_port, path) == 401
    open_websocket(guarded_port, path, Cookie=f"wav_monitor={TOKEN}")


def test_foreign_pages_do_not_reach_localhost(open_port: int) -> None:
    """Cross-site websockets and DNS rebinding."""
    assert refused_with(open_port, Origin="https://evil.example") == 403
    assert get(open_port, Host="evil.example").status == 403
    assert refused_with(open_port, Origin="null") == 403


def test_without_the_token_there_is_nothing(guarded_port: int) -> None:
    page = get(guarded_port)
    assert page.status == 401
    assert b"Token" in page.read()
    assert get(guarded_port, "/assets/index.js").status == 401
    assert get(guarded_port, "/?token=wrong-but-quite-long-enough").status == 401
    assert get(guarded_port, Cookie="wav_monitor=wrong-but-quite-long-enough").status == 401
    assert refused_with(guarded_port) == 401
    assert refused_with(guarded_port, Cookie="wav_monitor=wrong") == 401


def test_the_token_in_the_address_becomes_a_cookie_that_opens_both(guarded_port: int) -> None:
    answer = get(guarded_port, f"/?token={TOKEN}")
    assert (answer.status, answer.getheader("Location")) == (303, "/")
    set_cookie = str(answer.getheader("Set-Cookie"))
    assert "HttpOnly" in set_cookie
    assert "SameSite=Strict" in set_cookie
    cookie = set_cookie.partition(";")[0]
    assert get(guarded_port, Cookie=cookie).status == 200
    open_websocket(guarded_port, Cookie=cookie)
    assert refused_with(guarded_port, Cookie=cookie, Origin="https://evil.example") == 403


def test_rules_that_need_no_server() -> None:
    assert Guard().judge("/", {"Host": "[::1]:8080"}) is None
    assert Guard().judge("/", {}) is not None
    for host in (
        "localhost@evil.example",
        "x@localhost",
        "localhost:80a",
        "localhost.",
        "[::1",
        "localhost:8080:1",
        " localhost",
    ):
        assert Guard().judge("/", {"Host": host}) is not None, host
    for origin in (
        "http://x@localhost:8080",
        "http://localhost:8080/",
        "ftp://localhost:8080",
        "http://localhost:80801",
        "",
    ):
        assert Guard().judge("/", {**LOCAL, "Origin": origin}) is not None, origin
    assert Guard(TOKEN).judge("/", {**LOCAL, "Cookie": "=;;\x01"}) is not None
    assert Guard(TOKEN).judge("/?token=\udcff", LOCAL) is not None
    assert Guard(TOKEN).judge(f"/?token={TOKEN}", {**LOCAL, "Upgrade": "websocket"}) is not None
    with pytest.raises(ValueError, match="16 or more"):
        Guard("short")


def test_beyond_this_host_a_token_is_made_or_read(tmp_path: Path) -> None:
    assert Address.choose("127.0.0.1", 1).token is None
    first, second = (Address.choose("0.0.0.0", 1).token for _ in range(2))
    assert first != second
    assert first is not None
    assert len(first) >= 32
    with pytest.raises(ServerError, match="a token is needed"):
        PageServer(Address("0.0.0.0", 0), MonitorPage(Nobody()))
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    with pytest.raises(ServerError, match="chmod 600"):
        Address.choose("0.0.0.0", 1, file)
    file.chmod(0o600)
    assert Address.choose("0.0.0.0", 1, file).token == TOKEN


def test_a_taken_port_is_named_with_the_remedy() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ServerError, match="cannot listen.*monitor_port:=N"),
    ):
        PageServer(Address("127.0.0.1", taken.getsockname()[1]), MonitorPage(Nobody()))


def test_there_is_no_websocket_anywhere_else(open_port: int, steering_port: int) -> None:
    for port, path in ((open_port, "/operator"), (open_port, "/"), (steering_port, "/"), (steering_port, "/view")):
        with pytest.raises(InvalidStatus):
            open_websocket(port, path)
