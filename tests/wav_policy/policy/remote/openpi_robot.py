"""Run by `test_server.py` where openpi's own client is installed: asks a server, says on standard output what came.

Arguments: host, port, API key or "", shape of a picture (height, width), number of questions.
"""

from __future__ import annotations

import json
import sys

import numpy as np
from openpi_client import websocket_client_policy

host, port, key, height, width, count = sys.argv[1:]
client = websocket_client_policy.WebsocketClientPolicy(host, int(port), key or None)
metadata = client.get_server_metadata()
picture = np.random.default_rng(0).integers(0, 256, (int(height), int(width), 3), dtype=np.uint8)
state = np.linspace(0.01, 0.14, 14)
observation = {
    "images": dict.fromkeys(("head", "left_wrist", "right_wrist"), picture),
    "state": state,
    "prompt": "put the bowl on the plate",
}
answers = [client.infer(observation) for _ in range(int(count))]
try:
    client.infer({**observation, "state": state[:7]})
    refused = ""
except RuntimeError as error:
    refused = str(error)
again = client.infer(observation)
print(
    json.dumps(
        {
            "step_hz": metadata["wav"]["step_hz"],
            "shapes": [list(answer["actions"].shape) for answer in [*answers, again]],
            "finite": bool(np.isfinite(again["actions"]).all()),
            "first": again["actions"][0].tolist(),
            "infer_ms": again["server_timing"]["infer_ms"],
            "refused": refused,
        }
    )
)
