"""What computes beside the tests of clocks makes way for them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ASIDE = [sys.executable, "-m", "tests.aside"]


def test_the_session_of_the_command_is_nice() -> None:
    tell = (
        "import os, pathlib as p; f = p.Path('/proc/self/autogroup'); print(os.nice(0), f.exists() and f.read_text())"
    )
    told = subprocess.run(
        [*ASIDE, sys.executable, "-c", "import time; time.sleep(0.5); " + tell],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    own, group = told.stdout.split(maxsplit=1)
    assert own == "19"
    if Path("/proc/self/autogroup").exists():
        assert group.strip().endswith("nice 19")


@pytest.mark.parametrize("code", [0, 3])
def test_the_exit_code_is_the_commands(code: int) -> None:
    assert subprocess.run([*ASIDE, sys.executable, "-c", f"exit({code})"], check=False, timeout=60).returncode == code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_what_the_command_started(number: signal.Signals) -> None:
    program = f"""
import signal, subprocess
sleeper = subprocess.Popen(["sleep", "60"])
signal.signal({number.value}, lambda *_: None)
print("ready", flush=True)
exit(0 if sleeper.wait() == -{number.value} else 1)"""
    command = [*ASIDE, sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.wait(30) == 0


def test_a_killed_command_is_told_as_a_shell_tells_it() -> None:
    command = [*ASIDE, "bash", "-c", "kill -9 $$"]
    assert subprocess.run(command, check=False, timeout=60).returncode == 128 + signal.SIGKILL
