"""Run a command that makes way for all others: `python -m tests.aside COMMAND ...`.

`nice` counts among the processes of one session only, where the kernel shares time out to sessions (sched(7), "The
autogroup feature"). The nodes of a system under test are sessions of their own, and tests that compute took half of
both cores from them. So the command becomes a session, and the session makes way.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

NICENESS = 19


def main(command: Sequence[str]) -> int:
    """Its exit code, as a shell would give it; signals that ask it to end are passed on to all that it started."""
    child = subprocess.Popen(command, start_new_session=True, close_fds=False)

    def pass_on(number: int, frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    with suppress(OSError):  # a kernel without autogroups, or a command that has ended
        Path(f"/proc/{child.pid}/autogroup").write_text(str(NICENESS), encoding="ascii")
    with suppress(ProcessLookupError):
        os.setpriority(os.PRIO_PGRP, child.pid, NICENESS)
    code = child.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
