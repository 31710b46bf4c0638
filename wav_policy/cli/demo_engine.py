"""The demo's networks, compiled for this processor the first time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_EXPORT = (sys.executable, "-m", "wav_policy.cli", "export")


def compile_networks(checkpoint: Path) -> None:
    """Make the graphs that engine "auto" looks for, unless there are some; half a minute.

    Where that fails the demo runs on torch, more slowly; why is printed.
    """
    if any(checkpoint.glob("engines/*/manifest.json")):
        return
    print("compiling the networks for this processor, once ...", flush=True)
    done = subprocess.run(
        [*_EXPORT, str(checkpoint), "--precision", "int8"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        print(f"the demo runs on torch: {done.stderr.strip()}", file=sys.stderr)
