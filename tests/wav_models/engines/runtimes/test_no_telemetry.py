"""A robot's computer tells nobody what it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

IMPORTS = "import wav_models, onnxruntime; onnxruntime.get_available_providers()"


def test_onnxruntime_keeps_no_records_to_send(tmp_path: Path) -> None:
    """It would make an identifier and a database of events in the user's cache as soon as it is imported."""
    unset = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in unset} | {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", IMPORTS], env=environment, check=True)
    assert list(tmp_path.rglob("*Microsoft*")) == []
