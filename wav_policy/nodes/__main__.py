"""A node's process: `python -m wav_policy.nodes NODE ...`, or the executable of that name.

What a node imports takes seconds. One that is told to end in that time has nothing to end yet, and says nothing.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

from wav_models.signals import on_end


def main() -> int:
    """Exit code of the node."""
    on_end(lambda: os._exit(0))
    program = Path(sys.argv[0])
    node = sys.argv.pop(1) if program == Path(__file__) else program.name
    return int(importlib.import_module(f"{__package__}.{node}").main())


if __name__ == "__main__":
    sys.exit(main())
