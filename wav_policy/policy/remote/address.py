"""What is an address of a policy server. Launch files read this: the standard library only."""

from __future__ import annotations

from urllib.parse import urlsplit

SCHEMES = ("ws", "wss")


def check_address(address: str) -> str:
    """The address of a policy server, if it is one.

    Raises:
        ValueError: it is not; says what fits.
    """
    if address.startswith("lerobot://"):
        raise ValueError(
            f"{address}: LeRobot's asynchronous inference sends pickles, which run whatever code they hold; put the "
            "policy behind a server of openpi's protocol and give ws://HOST:PORT (docs/remote.md)"
        )
    parts = urlsplit(address)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in SCHEMES or not parts.hostname or port == -1 or parts.username:
        raise ValueError(f"{address!r} is no address of a policy server; ws://HOST:PORT or wss://HOST:PORT fits")
    return address
