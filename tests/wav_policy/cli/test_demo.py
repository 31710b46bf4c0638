from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from wav_policy.cli.demo_report import DemoReport, EpisodeResult
from wav_policy.cli.main import main

KEYS = ["episodes", "success", "plans", "plan_ms_p50", "plan_ms_p99", "control_hz", "chunk_age_ms_p99"]


def test_the_documented_keys_come_first() -> None:
    report = DemoReport("bowl", "checkpoint", planned_episodes=3)
    report.episodes += [EpisodeResult(0, True, 8.2), EpisodeResult(1, False, 25.0)]
    written = report.as_json()
    assert list(written)[: len(KEYS)] == KEYS
    assert (written["episodes"], written["success"]) == (2, 1)
    assert written["plan_ms_p50"] is None  # nothing was measured, nothing is claimed


def test_wrong_arguments_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--checkpoint", "/nowhere"]) == 2
    assert "/nowhere does not exist" in capsys.readouterr().err
    assert main(["demo", "--task", "juggle"]) == 2
    assert "Valid: " in capsys.readouterr().err


@pytest.mark.ros
@pytest.mark.sim
@pytest.mark.timeout(600)
def test_ctrl_c_ends_with_zero_and_leaves_nothing(
    random_checkpoint: Path, repository: Path, tmp_path: Path, start_system: Any
) -> None:
    """Interrupted after its first episode: the finished one is in the file, processes and links are gone."""
    output = tmp_path / "out.json"
    arguments = ["--headless", "--episodes", "99", "--time-limit", "4", "--seed", "3", "--json", str(output)]
    arguments += ["--checkpoint", str(random_checkpoint), "--engine", "torch"]  # nothing is compiled
    command = [sys.executable, "-m", "wav_policy.cli", "demo", *arguments]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with start_system(command, cwd=repository, env=environment, **pipes) as process:
        lines: list[str] = []
        while not any("episode 1, seed 3" in line for line in lines) and process.poll() is None:
            lines.append(process.stdout.readline())
        assert process.poll() is None, "".join(lines) + process.stdout.read()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
        assert process.returncode == 0, "".join(lines) + rest
    written = json.loads(output.read_text())
    assert written["episodes"] >= 1
    assert written["results"][0]["seed"] == 3
    assert written["control_hz"] > 0
    assert written["command"].startswith("wav demo --headless --episodes 99")
    assert len(written["checkpoint_sha256"]) == 64
    assert written["policy"]["continuation"] == "rtc"
    assert len(children) == 5
    assert not [child for child in children if Path(f"/proc/{child}").exists()]
    assert not [path for path in tmp_path.rglob("*") if path.is_symlink()]
