"""Any function as the robot's policy, over openpi's protocol: python examples/other_policy.py [PORT]

then, in another terminal: wav up sim:=true policy:=ws://localhost:8000 policy_mapping:=config/remote_openpi.yaml

`act` is the place of your own policy. Whatever it answers goes through the same executor and safety filter.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from wav_policy.policy.remote.wire import pack, unpack

RATE, ROWS = 50.0, 50
"""As in config/remote_openpi.yaml: rows per second [Hz], rows of a chunk."""
MAX_QUESTION = 4_000_000
"""[bytes]"""
WAVE = 0.3
"""[rad]"""


def act(question: dict[str, Any]) -> np.ndarray:
    """Absolute joint positions [ROWS, 14], radians, grippers 0..1; here the left gripper turns to and fro.

    Args:
        question: `images` (three views, uint8 [3, 224, 224]), `state` (measured joints [14]), `prompt` (the command).
    """
    rows = np.tile(np.asarray(question["state"], np.float64), (ROWS, 1))
    rows[:, 5] += WAVE * np.sin(np.pi * np.arange(1, ROWS + 1) / ROWS)
    return rows


def attend(connection: ServerConnection) -> None:
    """Metadata first, then a chunk for every observation."""
    connection.send(pack({"name": "wave"}))
    with contextlib.suppress(ConnectionClosed):
        for data in connection:
            assert isinstance(data, bytes)
            connection.send(pack({"actions": act(unpack(data, MAX_QUESTION))}))
    print("the robot has left", flush=True)


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    with serve(attend, "127.0.0.1", port, compression=None, max_size=MAX_QUESTION) as server:
        print(f"waves at ws://localhost:{server.socket.getsockname()[1]}", flush=True)
        server.serve_forever()
