"""The demo's networks, compiled for this processor the first time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

_EXPORT = (sys.executable, "-m", "wav_policy.cli", "export")


def compile_networks(checkpoint: Path) -> None:
    """Make the graphs that engine "auto" looks for, unless there are some newer than the checkpoint; half a minute.

    Where that fails the demo runs on torch, more slowly; why is printed.
    """
    if _newest(checkpoint.glob("engines/*/manifest.json")) >= _newest(checkpoint.glob("*.safetensors")):
        return
    print("compiling the networks for this processor, once ...", flush=True)
    done = subprocess.run(
        [*_EXPORT, str(checkpoint), "--precision", "int8"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        print(f"the demo runs on torch: {done.stderr.strip()}", file=sys.stderr)


def _newest(files: Iterable[Path]) -> float:
    """When the last of them was written [s]; 0 without any."""
    return max((file.stat().st_mtime for file in files), default=0.0)
