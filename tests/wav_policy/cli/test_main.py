from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from wav_policy.cli.main import COMMANDS, main

WAV = (sys.executable, "-m", "wav_policy.cli")


def test_help_lists_every_command_without_heavy_imports(repository: Path) -> None:
    script = (
        "import sys; from wav_policy.cli.main import main; main(['--help'])\n"
        "print(sorted({'torch', 'mujoco', 'rclpy', 'numpy'} & set(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", script], cwd=repository, capture_output=True, text=True, check=True)
    for name, command in COMMANDS.items():
        assert f"{name} " in output.stdout
        assert command.summary in output.stdout
    assert output.stdout.rstrip().endswith("[]")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main([*name.split(), "--help"])
    except SystemExit as end:  # tyro's own
        code = end.code or 0  # type: ignore[assignment]
    assert code == 0
    assert f"usage: wav {name}" in capsys.readouterr().out


def test_an_unknown_command_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evalute"]) == 2
    assert "did you mean 'evaluate'" in capsys.readouterr().err
    assert main(["dataset", "chek"]) == 2
    assert "did you mean 'dataset check'" in capsys.readouterr().err


@pytest.mark.parametrize("group", sorted({name.split()[0] for name in COMMANDS if " " in name}))
def test_a_group_says_what_is_in_it(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([group]) == 2
    said = capsys.readouterr().out
    assert all(name in said for name in COMMANDS if name.startswith(f"{group} "))
    assert main([group, "--help"]) == 0
    assert capsys.readouterr().out == said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["simm:=true"], "did you mean 'sim'"),
        (["--sim"], "write sim:=true"),
        (["--monitor-port=8081"], "write monitor_port:=8081"),
        (["--checkpoint", "my-dir"], "write checkpoint:=VALUE"),
        (["drawer"], "write it like sim:=true"),
        (["sim:=true", "checkpoint:=/nowhere"], "/nowhere does not exist"),
    ],
)
def test_up_refuses_wrong_arguments_before_starting_anything(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["up", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.ros
def test_without_the_arms_there_is_one_clear_message(tmp_path: Path, repository: Path) -> None:
    """sim:=false on a machine without SocketCAN interfaces: names the interface, stops everything, exit code 1."""
    (tmp_path / "config.json").write_text("{}")
    command = [*WAV, "up", f"checkpoint:={tmp_path}", "can_left:=no_can_l", "can_right:=no_can_r"]
    result = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    assert "no_can_l" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    assert "piper_node did not configure" in result.stdout


def test_parameters_that_a_node_would_refuse_are_wrong_use_before_any_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("wav_policy.cli.up.Supervisor", None)
    (tmp_path / "config.json").write_text("{}")
    file = tmp_path / "mine.yaml"
    file.write_text("piper_node: {ros__parameters: {safety: {max_setp: 0.1}}}\n")
    assert main(["up", f"checkpoint:={tmp_path}", f"params_file:={file}"]) == 2
    name = "piper_node: unknown parameter 'safety.max_setp'; did you mean 'safety.max_step'?"
    assert capsys.readouterr().err == f"wav up: {name} ({file})\n"


def test_a_port_of_the_page_that_is_taken_is_said_before_any_node_is_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("wav_policy.cli.up.Supervisor", None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["up", "sim:=true", "monitor:=true", f"monitor_port:={taken.getsockname()[1]}"]) == 1
    assert "Choose another port" in capsys.readouterr().err


@pytest.mark.ros
def test_what_a_node_finds_itself_ends_all_with_its_code(tmp_path: Path, repository: Path) -> None:
    """Such as that its dataset is none."""
    (tmp_path / "config.json").write_text("{}")
    command = [*WAV, "up", f"checkpoint:={tmp_path}", "record:=true", f"dataset:={tmp_path}/config.json"]
    result = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2, result.stdout
    assert "recorder_node ended with exit code 2" in result.stderr
    assert "Traceback" not in result.stdout + result.stderr


@pytest.mark.ros
def test_nothing_outlives_a_killed_supervisor(tmp_path: Path, repository: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    marker = f"marker-{os.getpid()}"
    command = [*WAV, "up", f"checkpoint:={tmp_path}", f"can_left:={marker}"]
    process = subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    assert process.stdout.readline()
    children = _children(process.pid)
    assert children
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [child for child in children if Path(f"/proc/{child}").exists()]


def _children(process: int) -> list[int]:
    found = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(child) for child in found.split()]


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"wav {version('wav-policy')}\n"
