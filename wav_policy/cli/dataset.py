"""`wav dataset`: check one, take over a recording or one of another lab, look at an episode."""

from __future__ import annotations

import importlib
import sys

from wav_models.configuration import did_you_mean

COMMANDS = {
    "check": "What is wrong with a dataset; exit code 1 when there are errors.",
    "convert": "Take over a rosbag2 recording, as an episode, or another lab's dataset.",
    "show": "Draw an episode: cameras, joints with their limits, rewards.",
}


def main(argv: list[str]) -> int:
    """Entry point of `wav dataset`."""
    if not argv or argv[0] in ("-h", "--help"):
        lines = (f"  {name:<8}  {summary}" for name, summary in COMMANDS.items())
        print("usage: wav dataset COMMAND ...\n\n" + "\n".join(lines))
        return 0 if argv else 2
    name, *rest = argv
    if name not in COMMANDS:
        print(f"wav dataset: unknown command {name!r}{did_you_mean(name, COMMANDS)}", file=sys.stderr)
        return 2
    return int(importlib.import_module(f"wav_policy.cli.dataset_{name}").main(rest))
