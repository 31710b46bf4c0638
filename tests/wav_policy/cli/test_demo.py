from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wav_policy.cli import demo_report
from wav_policy.cli.demo import Demo, DemoArguments, DemoError, NodeOutput
from wav_policy.cli.demo_report import DemoReport, EpisodeResult, Screen
from wav_policy.nodes.clients.system_client import Report, ServiceError

KEYS = ["episodes", "success", "plans", "plan_ms_p50", "plan_ms_p99", "control_hz", "chunk_age_ms_p99"]


def test_the_documented_keys_come_first() -> None:
    report = DemoReport("bowl", "checkpoint", planned_episodes=3)
    report.episodes += [EpisodeResult(0, True, 8.2), EpisodeResult(1, False, 25.0)]
    written = report.as_json()
    assert list(written)[: len(KEYS)] == KEYS
    assert (written["episodes"], written["success"]) == (2, 1)
    assert written["plan_ms_p50"] is None  # nothing was measured, nothing is claimed


@pytest.mark.parametrize(
    ("measured", "said", "is_failure"),
    [
        (
            {"planned": 200, "rounds_asked": 3, "rounds_mean": 2.44, "plans_without_round": 24, "plans_shed": 80},
            "2.4 of 3 rounds a plan on average, 12% of 200 plans without a round, 40% with less than was asked for",
            False,
        ),
        (
            {"planned": 100, "rounds_asked": 3, "rounds_mean": 0.4, "plans_without_round": 62, "plans_shed": 100},
            "0.4 of 3 rounds a plan on average, 62% of 100 plans without a round, 100% with less than was asked for; "
            "this computer is too busy or too slow for more",
            False,
        ),
        (
            {"planned": 200, "rounds_asked": 3, "rounds_mean": 0.0, "plans_without_round": 200, "plans_shed": 200},
            "NONE: not one of 200 plans had time for a round, 3 asked for",
            True,
        ),
        ({"planned": 200, "rounds_asked": 0, "rounds_mean": 0.0}, "not asked for (K = 0)", False),
        (
            {"why_no_plan": "not planning: head/image_raw: silent"},
            "no plan came: not planning: head/image_raw: silent",
            True,
        ),
        (
            {"why_no_plan": "not planning: head/image_raw: too old", "real_time_factor": 0.14},
            "no plan came: not planning: head/image_raw: too old; the simulation ran at 14% of real time: "
            "this computer is too busy or too slow for more",
            True,
        ),
    ],
)
def test_the_last_line_says_what_planning_could_afford(measured: dict[str, Any], said: str, is_failure: bool) -> None:
    report = DemoReport("drawer", "checkpoint", planned_episodes=3, **measured)
    assert report.rows()[-1] == ("planning", said)
    assert report.as_json()["planning"] == said
    assert report.planned_nothing == is_failure


def test_measured_is_what_the_policy_node_says_last() -> None:
    report = DemoReport("drawer", "checkpoint", planned_episodes=3)
    demo = Demo(DemoArguments(), report, SimpleNamespace(), SimpleNamespace(), None)  # type: ignore[arg-type]
    demo._measure_planning(Report("not planning: the first plan is under way", {"plans": "0"}))
    assert report.verdict == "no plan came: not planning: the first plan is under way"
    values = {"plans": "8", "rounds_mean": "1.5", "rounds_asked": "3", "plans_without_round": "2", "plans_shed": "4"}
    demo._measure_planning(Report("planning", values))
    assert report.verdict.startswith("1.5 of 3 rounds a plan on average, 25% of 8 plans without a round, 50% with")


@dataclass
class Homing:
    """A system whose arms refuse to go home a few times."""

    refusals: int
    control: str = "holding: stale_measurement"
    asked: int = 0

    def __post_init__(self) -> None:
        self.reports = {
            "lifecycle_manager: nodes": Report("", {}),
            "piper_node: control loop": Report(self.control, {}),
        }

    def trigger(self, service: str, timeout: float) -> str:
        self.asked += 1
        if self.asked <= self.refusals:
            raise ServiceError("not at home: joint measurement is 0.263 s old")
        return "at home"

    def spin_until(self, condition: Any, timeout: float) -> bool:
        return False


@pytest.mark.parametrize(("control", "asked"), [("holding: stale_measurement", 3), ("stopped: piper/stop", 1)])
def test_arms_that_are_late_once_go_home_all_the_same(control: str, asked: int) -> None:
    """A stopped robot is another matter: nobody is there to reset it."""
    client, supervisor = Homing(2, control), SimpleNamespace(poll=lambda: None)
    screen = Screen(DemoReport("drawer", "checkpoint", 1), "", headless=True)
    demo = Demo(DemoArguments(headless=True), DemoReport("drawer", "x", 1), client, supervisor, None)  # type: ignore[arg-type]
    with nullcontext() if asked == 3 else pytest.raises(ServiceError):
        demo._go_home(screen)
    assert client.asked == asked


def test_a_policy_that_is_off_already_is_no_failure() -> None:
    """What was heard last of a busy system is old: it said active, and was switched off a moment ago."""

    class Outdated(Homing):
        def deactivate(self, node: str) -> None:
            if self.asked:
                self.reports["lifecycle_manager: nodes"].values[node] = "inactive"  # heard at last
                raise ServiceError(f"{node} did not deactivate; its own message says why")

    client, supervisor = Outdated(1), SimpleNamespace(poll=lambda: None)
    client.reports["lifecycle_manager: nodes"].values["policy_node"] = "active"
    screen = Screen(DemoReport("drawer", "checkpoint", 1), "", headless=True)
    demo = Demo(DemoArguments(headless=True), DemoReport("drawer", "x", 1), client, supervisor, None)  # type: ignore[arg-type]
    demo._go_home(screen)
    assert client.asked == 2


def test_arms_that_stay_away_from_home_end_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wav_policy.cli.demo._HOME_PATIENCE", 0.0)
    client, supervisor = Homing(9), SimpleNamespace(poll=lambda: None)
    screen = Screen(DemoReport("drawer", "checkpoint", 1), "", headless=True)
    demo = Demo(DemoArguments(), DemoReport("drawer", "x", 1), client, supervisor, None)  # type: ignore[arg-type]
    with pytest.raises(ServiceError, match="measurement"):
        demo._go_home(screen)


@dataclass
class Slow(Homing):
    """A simulation that is heard about the new layout after a few seconds."""

    seconds: int = 0

    def lay_out(self, seed: int) -> Any:
        return lambda: self.seconds <= 0

    def spin_until(self, condition: Any, timeout: float) -> bool:
        self.seconds -= 1
        return bool(condition())

    def activate(self, node: str) -> None:
        self.asked = -1


@pytest.mark.parametrize(("seconds", "ended", "patience"), [(8, "", 60.0), (8, "sim_node ended", 60.0), (8, "", 0.0)])
def test_a_layout_that_is_heard_of_late_is_waited_for(
    seconds: int, ended: str, patience: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wav_policy.cli.demo._LAYOUT_PATIENCE", patience)
    client, supervisor = Slow(0, seconds=seconds), SimpleNamespace(poll=lambda: ended)
    screen = Screen(DemoReport("drawer", "checkpoint", 1), "", headless=True)
    demo = Demo(DemoArguments(), DemoReport("drawer", "x", 1), client, supervisor, None)  # type: ignore[arg-type]
    waits = not ended and patience
    with nullcontext() if waits else pytest.raises(DemoError, match=ended or "does not report the layout of seed 3"):
        demo._prepare(3, screen)
    assert client.asked == (-1 if waits else 1)


def test_nobody_waits_in_silence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(DemoReport("drawer", "checkpoint", 1), "", headless=True)
    screen.refresh("at once")
    monkeypatch.setattr(demo_report, "_SILENCE", 0.0)
    screen.refresh("later")
    assert capsys.readouterr().out == "later\n"


def test_what_the_policy_warns_of_while_it_comes_up_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    output = NodeOutput(verbose=False)
    for line in (
        "[policy_node] [INFO]: loaded",
        "[policy_node] [WARN]: acting WITHOUT planning",
        "[sim_node] [WARN]: x",
    ):
        output.write(line)
    output.starting = False
    output.write("[policy_node] [WARN]: later")
    assert capsys.readouterr().out == "[policy_node] [WARN]: acting WITHOUT planning\n"
    assert len(output.last) == 4


@pytest.mark.ros
@pytest.mark.sim
@pytest.mark.alone
def test_ctrl_c_ends_with_zero_and_leaves_nothing(
    random_checkpoint: Path, repository: Path, tmp_path: Path, start_system: Any
) -> None:
    """Interrupted after its first episode: the finished one is in the file, processes and links are gone."""
    output = tmp_path / "out.json"
    arguments = ["--headless", "--episodes", "99", "--time-limit", "4", "--seed", "3", "--json", str(output)]
    arguments += ["--checkpoint", str(random_checkpoint), "--engine", "torch"]  # nothing is compiled
    arguments += ["--planner", "num_iterations=0"]
    command = [sys.executable, "-m", "wav_policy.cli", "demo", *arguments]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with start_system(command, cwd=repository, env=environment, **pipes) as process:
        lines: list[str] = []
        finished = "episode 1 of 99, seed 3: no success after"
        while not any(finished in line for line in lines) and process.poll() is None:
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
