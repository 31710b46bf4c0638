from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from wav_policy.cli import doctor
from wav_policy.cli.doctor import Level


def test_what_a_check_raises_is_a_finding() -> None:
    def check():  # type: ignore[no-untyped-def]
        yield doctor.Finding("thing", Level.OK, "begins well")
        raise RuntimeError("ends badly")

    first, second = doctor.examine("thing", check)
    assert first.level is Level.OK
    assert (second.subject, second.level) == ("thing", Level.FAIL)
    assert "ends badly" in second.text


def test_can_interfaces_are_told_from_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, kind, state in (("eth0", "1", "up"), ("can_left", "280", "down")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "type").write_text(kind + "\n")
        (tmp_path / name / "operstate").write_text(state + "\n")
    monkeypatch.setattr(doctor, "_NETWORK", tmp_path)
    (finding,) = doctor.check_can()
    assert "can_left is down" in finding.text
    assert "ip link set can_left up type can bitrate 1000000" in finding.text


@pytest.mark.parametrize(("code", "level", "text"), [(0, Level.OK, "may run before"), (1, Level.NOTE, "- rtprio 50")])
def test_who_may_not_take_priority_is_told_how_to(
    code: int, level: Level, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, code))
    (finding,) = doctor.check_priority()
    assert finding.level is level
    assert text in finding.text


def test_a_missing_checkpoint_makes_the_exit_code_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    only_checkpoint = [("checkpoint", lambda: doctor.check_checkpoint(tmp_path / "none"))]
    monkeypatch.setattr(doctor, "checks", lambda arguments: only_checkpoint)
    assert doctor.main([]) == 1
    assert "wav train" in capsys.readouterr().out


@pytest.mark.ros
@pytest.mark.sim
def test_this_machine_can_run_the_demo(random_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exit_code = doctor.main(["--checkpoint", str(random_checkpoint)])
    output = capsys.readouterr().out
    assert exit_code == 0, output
    for subject in ("python", "rendering", "ros 2", "can", "priority", "checkpoint", "engines"):
        assert subject in output
