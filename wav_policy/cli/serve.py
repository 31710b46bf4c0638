"""`wav serve`: the policy for clients of openpi's websocket protocol."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from wav_models.command_line import Port, parsed
from wav_models.configuration import AtLeastOne
from wav_policy.bringup.arguments import DEFAULT_CHECKPOINT
from wav_policy.cli.options import checkpoint_to_load


@dataclass(frozen=True)
class ServeArguments:
    """Plan for clients elsewhere: openpi's websocket protocol, msgpack with NumPy arrays (docs/remote.md)."""

    checkpoint: Path = Path(DEFAULT_CHECKPOINT)
    """Checkpoint directory."""
    host: str = "127.0.0.1"
    """Address to listen on; beyond this host clients need the API key that is printed."""
    port: Port = 8000
    """Port to listen on."""
    token_file: Path | None = None
    """File (mode 0600) with the API key, in place of a new one."""
    engine: str = "auto"
    """auto, torch, onnxruntime or tensorrt."""
    dtype: str = "auto"
    """Number format of the networks."""
    threads: AtLeastOne = 1
    """Of the networks."""
    pretrained: Path | None = None
    """Local LTX-Video directory, for checkpoints that use it."""


def main(argv: list[str]) -> None:
    """Entry point of `wav serve`."""
    arguments = parsed(ServeArguments, "wav serve", argv)
    checkpoint = checkpoint_to_load(arguments.checkpoint, arguments.engine, arguments.dtype)
    from wav_policy.monitor.server import Address
    from wav_policy.policy.remote.server import PolicyServer
    from wav_policy.policy.wav_policy import WAVPolicy

    address = Address.choose(arguments.host, arguments.port, arguments.token_file)
    policy = WAVPolicy.load(
        checkpoint,
        engine=arguments.engine,
        dtype=arguments.dtype,
        num_threads=arguments.threads,
        pretrained=arguments.pretrained,
    )
    seconds = policy.warm_up().total
    server = PolicyServer(policy, address.host, address.port, address.token, lambda text: print(text, flush=True))
    try:
        print(f"{policy.config.name} at ws://{address.host}:{server.port}; a plan takes {1e3 * seconds:.0f} ms")
        if address.token:
            print(f"API key: {address.token}")
        sys.stdout.flush()
        threading.Event().wait()
    finally:
        server.close()
