"""`wav serve`: the policy for clients of openpi's websocket protocol."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from wav_models.command_line import Port, parsed
from wav_models.configuration import AtLeastOne, NotNegative
from wav_models.progress import progress
from wav_policy.bringup.arguments import DEFAULT_CHECKPOINT
from wav_policy.cli.options import checkpoint_to_load

if TYPE_CHECKING:
    from wav_policy.policy.wav_policy import WAVPolicy


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
    """What runs the networks: auto, torch, onnxruntime or tensorrt; auto makes graphs for this processor where there
    are none, in a minute."""
    dtype: str = "auto"
    """Number format of the networks; auto: the fastest."""
    threads: AtLeastOne = 1
    """Threads of the networks."""
    deadline: NotNegative = 0.0
    """Time a plan may take [s]; 0: the checkpoint's."""
    pretrained: Path | None = None
    """Local LTX-Video directory, for checkpoints that use it."""


def main(argv: list[str]) -> None:
    """Entry point of `wav serve`."""
    arguments = parsed(ServeArguments, "wav serve", argv)
    from wav_policy.monitor.server import Address

    address = Address.choose(arguments.host, arguments.port, arguments.token_file).require_free()
    checkpoint = checkpoint_to_load(arguments.checkpoint, arguments.engine, arguments.dtype)
    from wav_policy.policy.remote.server import PolicyServer

    with progress("loading the policy"):
        policy = load_policy(arguments, checkpoint)
        cost = policy.warm_up()
    server = PolicyServer(policy, address.host, address.port, address.token, lambda text: print(text, flush=True))
    try:
        print(f"{policy.config.name} at ws://{address.host}:{server.port}; a plan takes {1e3 * cost.total:.0f} ms")
        print(f"engine: {policy.description}")
        if (shortage := cost.shortage(policy.planner, policy.description)) is not None:
            print(shortage)
        if address.token:
            print(f"API key: {address.token}")
        sys.stdout.flush()
        threading.Event().wait()
    finally:
        server.close()


def load_policy(arguments: ServeArguments, checkpoint: Path) -> WAVPolicy:
    """The checkpoint's policy, as `policy_node` loads it.

    Raises:
        CheckpointError, EngineError: see `WAVPolicy.load`.
    """
    from wav_models.checkpoint import load_planner_config
    from wav_policy.policy.wav_policy import WAVPolicy

    planner = load_planner_config(checkpoint)
    return WAVPolicy.load(
        checkpoint,
        engine=arguments.engine,
        dtype=arguments.dtype,
        num_threads=arguments.threads,
        pretrained=arguments.pretrained,
        planner=replace(planner, deadline=arguments.deadline) if arguments.deadline > 0.0 else planner,
        prepare=lambda text: print(text, file=sys.stderr, flush=True),
    )
