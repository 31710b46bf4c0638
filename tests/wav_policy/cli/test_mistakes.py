"""Mistakes that can be made with every command: one line that names the culprit, and exit code 2, at once."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from wav_models import checkpoint
from wav_models.configuration import ConfigurationError
from wav_policy.cli.json_output import require_writable
from wav_policy.cli.main import COMMANDS, main
from wav_policy.recording.episode_writer import DatasetWriter
from wav_policy.robot.cameras import VIEWS
from wav_policy.robot.model import home_positions

ABSENT = "/nowhere/at/all"
MISSING = (
    f"demo --headless --no-monitor --checkpoint {ABSENT}",
    f"up sim:=true checkpoint:={ABSENT}",
    f"serve --checkpoint {ABSENT}",
    f"export --checkpoint {ABSENT}",
    f"evaluate --checkpoint {ABSENT}",
    f"evaluate --suite=libero_goal --checkpoint {ABSENT}",
    f"report --measure cost --checkpoint {ABSENT}",
    f"bench latency --checkpoint {ABSENT}",
    f"bench splices --checkpoint {ABSENT}",
    f"doctor --faults --sim --checkpoint {ABSENT}",
    f"replay {ABSENT}",
    f"label {ABSENT}",
    f"dataset check {ABSENT}",
    f"dataset convert {ABSENT} new",
    f"checkpoint copy {ABSENT} new",
    f"dataset show {ABSENT}",
    *(f"train {stage} --data {ABSENT} --out run --minutes 1" for stage in ("autoencoder", "latents", "video")),
)
NOWHERE = "/dev/null/results"
UNWRITABLE = (
    f"demo --headless --json {NOWHERE}",
    f"evaluate --json={NOWHERE}",
    f"demo --headless --video {NOWHERE}.mp4",
)
IN_ONE_PROCESS = """
import contextlib, io, json, sys
from wav_policy.cli.main import main
found = []
for argv in json.loads(sys.argv[1]):
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        code = main(argv)
    found.append([argv, code, errors.getvalue()])
print(json.dumps([found, sorted({"torch", "mujoco", "rclpy"} & set(sys.modules))]))
"""


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_option_is_named(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main([*name.split(), "--no-such-option"])
    except SystemExit as end:  # tyro's own
        code = end.code  # type: ignore[assignment]
    said = capsys.readouterr().err
    assert code == 2
    assert "Traceback" not in said
    assert "--no-such-option" in said or "--help" in said


def test_what_is_missing_is_found_before_anything_dear_is_loaded(repository: Path) -> None:
    calls = [line.split() for line in MISSING]
    command = [sys.executable, "-c", IN_ONE_PROCESS, json.dumps(calls)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found, loaded = json.loads(done.stdout.splitlines()[-1])
    for argv, code, said in found:
        assert (code, said.count("\n")) == (2, 1), (argv, said)
        assert ABSENT in said, argv
    assert loaded == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("evaluate --conditions k9", "no condition 'k9'"),
        ("evaluate --planner num_iteration=1", "did you mean 'num_iterations'"),
        ("evaluate --engine torhc", "unknown engine 'torhc'; did you mean 'torch'"),
        ("evaluate --dtype fp3", "unknown dtype 'fp3'"),
        ("export --precision fp8 --checkpoint checkpoints/wav-tiny", "unknown precision of onnxruntime 'fp8'"),
        ("export", "give --checkpoint DIRECTORY, or --preset NAME"),
        ("export --preset wav-tiny --out x --verify", "--verify is for a --checkpoint"),
        ("serve --engine torhc", "did you mean 'torch'"),
        ("bench planner --preset wav-tny", "did you mean 'wav-tiny'"),
        ("demo --task juggle --no-monitor", "task:='juggle'. Valid: "),
        ("demo --planner num_iteration=1 --no-monitor", "did you mean 'num_iterations'"),
        ("demo --video a.avi", "--video a.avi: a film ends in one of .mp4, .gif, .rrd, .mcap"),
        ("export --checkpoint checkpoints/wav-tiny --threads 2", "without --verify has no use for --threads"),
        ("export --preset wav-tiny --out x --pretrained y", "--preset has no use for --pretrained"),
        ("evaluate --scheduler tcp://a:1 --workers 4", "which has workers of its own, has no use for --workers"),
        ("evaluate --diagnose --scheduler tcp://a:1", "--diagnose has no use for --scheduler"),
        ("demo --no-monitor --port 1", "--no-monitor has no use for --port"),
        ("demonstrate --dry-run --out x --keep-failures", "--dry-run has no use for --out, --keep-failures"),
        ("demonstrate --dry-run --scheduler tcp://a:1", "--dry-run has no use for --scheduler"),
        ("demonstrate --out x --scheduler tcp://a:1 --workers 4", "which has workers of its own, has no use for --w"),
        ("demonstrate --dry-run --noise 0 1", "--dry-run tries one level of --noise"),
        ("record --out x --seed 1", "without --unattended has no use for --seed"),
        ("report --data x", "without --measure has no use for --data"),
        ("report --measure cost --resume", "without --measure refit, search, success has no use for --resume"),
        ("bench cost --gpus 2", "without --training has no use for --gpus"),
        ("bench cost --training --plans 1 2 3", "--training has no use for --plans"),
        ("replay . --video a.avi", "--video a.avi: a film ends in one of .mp4, .gif, .rrd, .mcap"),
    ],
)
def test_a_value_that_does_not_fit_is_found_before_weights_are_loaded(
    line: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checkpoint, "_load_strictly", None)
    assert main(line.split()) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("serve --port PORT", 1, "Choose another port"),
        ("replay DATASET --port PORT", 1, "Choose another port"),
        ("replay DATASET --host 203.0.113.1", 1, "Name an address of this computer"),
        ("replay DATASET --episode 9", 2, "has 1 episode; --episode 9"),
        ("replay DATASET --topics config/bag_map.yaml", 2, "a dataset, has no use for --topics"),
        ("replay DATASET --video a.mp4 --rate 5", 2, "--video has no use for --rate"),
        (f"replay DATASET --port 0 --checkpoint {ABSENT}", 2, ABSENT),
    ],
)
def test_what_cannot_be_shown_is_said_before_anything_dear_is_loaded(
    line: str,
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with DatasetWriter(tmp_path, fps=10, image_sizes=dict.fromkeys(VIEWS, (48, 64))) as writer:
        writer.start_episode("wave")
        writer.add_frame(dict.fromkeys(VIEWS, np.zeros((48, 64, 3), np.uint8)), home_positions(), home_positions(), 0.0)
        writer.end_episode()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        line = line.replace("PORT", str(taken.getsockname()[1])).replace("DATASET", str(tmp_path))
        assert main(line.split()) == code
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1  # nothing of loading


@pytest.mark.ros
def test_ctrl_c_is_one_line_and_130(repository: Path) -> None:
    command = [sys.executable, "-m", "wav_policy.cli", "bench", "hops"]
    with subprocess.Popen(command, cwd=repository, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and "_rclpy" not in Path(f"/proc/{process.pid}/maps").read_text():
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "wav bench hops: interrupted\n")


@pytest.mark.parametrize("call", UNWRITABLE)
def test_where_nothing_can_be_written_is_said_before_the_work(call: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(call.split()) == 2
    assert f"{NOWHERE}" in capsys.readouterr().err


def test_a_result_may_replace_one_and_make_its_directory(tmp_path: Path) -> None:
    (tmp_path / "old.json").touch()
    for file in ("old.json", "new.json", "a/b/new.json"):
        require_writable("--json", tmp_path / file)
    with pytest.raises(ConfigurationError, match="cannot be written"):
        require_writable("--json", tmp_path)
