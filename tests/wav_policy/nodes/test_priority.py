from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wav_policy.nodes.runtime.priority import take_priority

TAKE = """
import json, os, subprocess, sys, threading
from wav_policy.nodes.runtime.priority import be_ordinary, take_priority

ended = threading.Event()
threading.Thread(target=ended.wait).start()
told = take_priority(7)
later = threading.Thread(target=ended.wait)
later.start()
threads = [os.sched_getscheduler(int(thread)) for thread in os.listdir("/proc/self/task")]
show = "import os; print(os.sched_getscheduler(0))"
child = subprocess.run([sys.executable, "-c", show], preexec_fn=be_ordinary, capture_output=True, text=True)
print(json.dumps([told, threads, int(child.stdout)]))
ended.set()
"""


def is_permitted() -> bool:
    """Whether this user may take a real-time priority, found without the code under test."""
    take = "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))"
    return subprocess.run([sys.executable, "-c", take], stderr=subprocess.DEVNULL).returncode == 0


def test_all_threads_take_it_those_to_come_too_and_children_do_not(repository: Path) -> None:
    answer = subprocess.run([sys.executable, "-c", TAKE], cwd=repository, capture_output=True, text=True, check=True)
    told, threads, child = json.loads(answer.stdout)
    expected = os.SCHED_FIFO if is_permitted() else os.SCHED_OTHER
    assert threads == [expected] * 3
    assert child == os.SCHED_OTHER
    assert told == "SCHED_FIFO 7" if is_permitted() else told.startswith("ordinary, not permitted")


def test_who_may_not_is_told_so_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    assert take_priority(50).startswith("ordinary, not permitted: this user may not take rtprio 50")
    assert take_priority(0) == "ordinary"
