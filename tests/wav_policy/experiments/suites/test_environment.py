"""Environments of suites: the protocol, and processes that die, hang, refuse or are not installed."""

from __future__ import annotations

import io
import json
import re
import shlex
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from tests.wav_policy.experiments.suites import counting_environment as counting
from wav_models.evaluation.closed_loop import TrialResult
from wav_policy.cli.main import main
from wav_policy.experiments.suites.catalogue import PACKAGES, PROCESSES, SUITES, get_suite
from wav_policy.experiments.suites.environment import EnvironmentLost, SuiteEnvironment
from wav_policy.experiments.suites.players import OperatorPlayer, RandomPlayer, play, trial_number
from wav_policy.experiments.suites.processes.wire import MAX_ARRAYS, SuiteWireError, read_message, write_message
from wav_policy.experiments.suites.trials import describe, succeeded_within, summarise, with_repeats

NOT_INSTALLED = "libero is not installed: `wav suite install libero`"
SUITE = replace(get_suite("libero_object"), budgets={"short": 3, "long": 6})


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[SuiteEnvironment]:
    command = (sys.executable, counting.__file__, str(PROCESSES), str(tmp_path / "died"))
    with SuiteEnvironment(SUITE, command, timeout=30.0) as made:
        yield made


def test_messages_arrive_as_they_were_sent() -> None:
    stream = io.BytesIO()
    arrays = [np.arange(6, dtype=np.uint8).reshape(2, 3), np.array([]), np.array([np.pi, -0.0])]
    write_message(stream, {"request": "step", "text": "ä"}, arrays)
    stream.seek(0)
    header, received = read_message(stream.read)
    assert header == {"request": "step", "text": "ä"}
    for sent, got in zip(arrays, received, strict=True):
        assert got.dtype == sent.dtype
        np.testing.assert_array_equal(got, sent)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "has ended"),
        (struct.pack("<I", 2**31), "at most"),
        (struct.pack("<I", 2) + b"[]", "not a message"),
        (struct.pack("<I", 3) + b"nop", "not a message"),
        (struct.pack("<I", 2) + b"{}", "not a message"),
        (struct.pack("<I", 46) + b'{"arrays": [{"dtype": "object", "shape": [1]}]', "not a message"),
        (struct.pack("<I", 47) + b'{"arrays": [{"dtype": "object", "shape": [1]}]}', "'object'"),
        (struct.pack("<I", 47) + b'{"arrays": [{"dtype": "uint8", "shape": [-1]}]}', "shape"),
    ],
)
def test_what_is_no_message_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(SuiteWireError, match=said):
        read_message(io.BytesIO(data).read)


def test_no_message_is_larger_than_was_agreed() -> None:
    header = f'{{"arrays": [{{"dtype": "uint8", "shape": [{MAX_ARRAYS + 1}]}}]}}'.encode()
    with pytest.raises(SuiteWireError, match="at most"):
        read_message(io.BytesIO(struct.pack("<I", len(header)) + header).read)


def test_a_trial_ends_with_success_or_with_the_largest_budget(environment: SuiteEnvironment) -> None:
    results = [play(environment, RandomPlayer(), 1, state) for state in (0, 3, 5, 40)]
    assert [(r.success, r.steps) for r in results] == [(True, 0), (True, 3), (True, 5), (False, 6)]
    assert environment.instruction == "count in task 1"
    assert [succeeded_within(r, 3) for r in results] == [True, True, False, False]


def test_the_operator_of_the_suite_plays(environment: SuiteEnvironment) -> None:
    assert play(environment, OperatorPlayer(), 0, 4) == TrialResult(trial_number(SUITE, 0, 4), True, 4, ())
    images = environment.render(16)
    assert list(images) == ["agentview", "wrist"]
    assert [image[0, 0, 0] for image in images.values()] == [4, 5]


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (counting.DIES, r"has ended|is closed"),
        (counting.HANGS, "did not answer 'step' within 2 s"),
        (counting.REFUSES, "step failed: ValueError: the action is"),
    ],
)
def test_a_lost_environment_is_repeated_once_then_counted(environment: SuiteEnvironment, state: int, said: str) -> None:
    attempts = []

    def trial() -> TrialResult:
        attempts.append(state)
        return play(environment, RandomPlayer(), 0, state)

    environment._timeout = 2.0
    result = with_repeats(trial, 12)
    environment._timeout = 30.0
    assert len(attempts) == 2
    assert (result.seed, result.success) == (12, False)
    assert re.search(said, result.fault)
    assert play(environment, RandomPlayer(), 0, 2).success, "the next trial has a process of its own"


@pytest.mark.parametrize("state", counting.NONSENSE, ids=counting.NONSENSE.values())
def test_an_answer_that_is_none_loses_the_environment(environment: SuiteEnvironment, state: int) -> None:
    result = with_repeats(lambda: play(environment, RandomPlayer(), 0, state), 5)
    assert (result.seed, result.success) == (5, False)
    assert re.search(r"what it answers 'step' is no answer: ", result.fault)
    assert play(environment, RandomPlayer(), 0, 2).success, "the next trial has a process of its own"


@pytest.mark.parametrize("images", [[], [np.zeros((4, 4, 3), np.uint8)], 2 * [np.zeros((4, 4, 3))]])
def test_images_that_are_none_lose_the_environment(
    environment: SuiteEnvironment, images: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment.reset(0, state=2)
    monkeypatch.setattr("wav_policy.experiments.suites.environment.read_message", lambda read: ({}, images))
    with pytest.raises(EnvironmentLost, match="'render' is no answer"):
        environment.render(4)


def test_a_process_that_died_once_costs_nothing(environment: SuiteEnvironment) -> None:
    suite_steps = replace(SUITE, budgets={"long": 20})
    environment.suite = suite_steps
    result = with_repeats(lambda: play(environment, RandomPlayer(), 0, counting.DIES_ONCE), 9)
    assert (result.success, result.steps, result.fault) == (True, counting.DIES_ONCE, "")


def test_a_process_that_hangs_is_ended(environment: SuiteEnvironment) -> None:
    environment.reset(0, state=counting.HANGS)
    environment._timeout = 0.5
    process, began = environment._process, time.monotonic()
    with pytest.raises(EnvironmentLost, match=r"did not answer 'step' within 0.5 s"):
        environment.step(np.zeros(7))
    assert time.monotonic() - began < 20.0
    assert process is not None
    assert process.poll() is not None


def test_an_environment_that_never_starts_is_not_waited_for_in_every_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wav_policy.experiments.suites.environment.START_TIMEOUT", 0.5)
    with SuiteEnvironment(SUITE, ["sleep", "60"]) as environment:
        started = Mock(wraps=environment._start)
        monkeypatch.setattr(environment, "_start", started)
        results = [with_repeats(lambda: play(environment, RandomPlayer(), 0, 2), number) for number in range(3)]
    assert started.call_count == 2, "once more, as every trial, and then no more"
    assert not any(result.success for result in results)
    assert "did not answer 'make' within 0.5 s" in results[0].fault
    for result in results[1:]:
        assert "2 processes in a row did not answer at their start; `wav suite install libero`" in result.fault


def test_processes_that_answer_at_their_start_are_waited_for_again(
    environment: SuiteEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, hanging = environment._command, ["sleep", "60"]
    monkeypatch.setattr("wav_policy.experiments.suites.environment.START_TIMEOUT", 20.0)
    for _ in range(2):
        environment._command = hanging
        with monkeypatch.context() as short:
            short.setattr("wav_policy.experiments.suites.environment.START_TIMEOUT", 0.5)
            with pytest.raises(EnvironmentLost, match="did not answer 'make'"):
                environment.reset(0, state=2)
        environment._command = command
        environment.reset(0, state=2)
        environment.close()


HANGING = """
import sys
from wav_policy.experiments.suites.catalogue import get_suite
from wav_policy.experiments.suites.environment import SuiteEnvironment
environment = SuiteEnvironment(get_suite("libero_object"), sys.argv[1:])
seen = environment.reset(0, state=8)
print(environment._process.pid, flush=True)
environment.step(seen.state[:7])
"""


def test_a_process_that_hangs_is_gone_with_the_one_that_asked_it(tmp_path: Path) -> None:
    command = [sys.executable, counting.__file__, str(PROCESSES), str(tmp_path / "died")]
    with subprocess.Popen([sys.executable, "-c", HANGING, *command], stdout=subprocess.PIPE, text=True) as asking:
        assert asking.stdout is not None
        hanging = Path("/proc") / asking.stdout.readline().strip()
        assert _lives(hanging)
        time.sleep(0.5)  # it has been asked for a step
        asking.kill()
    deadline = time.monotonic() + 20.0
    while _lives(hanging):
        assert time.monotonic() < deadline, "it hangs on, and nobody knows of it"
        time.sleep(0.05)


def _lives(process: Path) -> bool:
    try:
        return "zombie" not in (process / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_the_first_layout_of_a_task_may_take_longer(environment: SuiteEnvironment) -> None:
    environment.reset(0, state=2)
    environment._timeout = counting.SLOW / 2
    environment.reset(1, state=counting.SLOW_TO_BEGIN)
    with pytest.raises(EnvironmentLost, match="did not answer 'reset'"):
        environment.reset(1, state=counting.SLOW_TO_BEGIN)


def test_both_budgets_faults_and_the_comparison_are_counted() -> None:
    def trials(*steps: int | None) -> list[TrialResult]:
        return [TrialResult(n, s is not None, s or 6, ()) for n, s in enumerate(steps)]

    first, second = trials(2, 5, None, None), trials(2, 3, 6, None)
    second[3] = TrialResult(3, False, 0, (), fault="libero_object: the process has ended (exit code 3)")
    first += [TrialResult(n, False, 0, (), fault=f"libero_object: {how}") for n, how in enumerate(("a", "b", "b"), 4)]
    second += trials(None, None, None)
    summary = summarise(SUITE, {"k0": first, "k3": second})
    rates = {name: [b["successes"] for b in c["budgets"].values()] for name, c in summary["conditions"].items()}
    assert rates == {"k0": [1, 2], "k3": [2, 3]}
    assert summary["conditions"]["k3"]["num_faults"] == 1
    assert summary["comparisons"]["short"][0]["only_second_succeeded"] == 1
    text = describe(SUITE, summary)
    assert "k3: 1 trial failed by libero_object: the process has ended (exit code 3)" in text
    assert "k0: 1 trial failed by libero_object: a\n  k0: 2 trials failed by libero_object: b" in text
    assert "short 3" in text


def test_every_suite_has_what_it_needs() -> None:
    bases = ("object", "spatial", "goal", "10")
    assert {f"libero_{base}{kind}" for base in bases for kind in ("", "_swap", "_object", "_task")} <= set(SUITES)
    for suite in SUITES.values():
        assert suite.package.name in PACKAGES
        assert suite.package.script.is_file()
    assert get_suite("libero_object_swap").budgets == {"openpi": 280, "wav": 990}


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            ["evaluate", "--suite", "libero_object", "--player", "random"],
            NOT_INSTALLED,
        ),
        (["evaluate", "--suite", "libero_object", "--checkpoint", "checkpoints/wav-tiny-libero"], NOT_INSTALLED),
        (
            ["demonstrate", "--suite", "libero_object", "--out", "nowhere"],
            NOT_INSTALLED,
        ),
        (["evaluate", "--suite", "libero_objects", "--player", "random"], "did you mean 'libero_object'"),
        (["evaluate", "--suite", "libero_goal", "--player", "operator"], "has no scripted operator"),
        (["evaluate", "--suite", "libero_goal"], "give --checkpoint"),
        (["evaluate", "--suite", "libero_goal", "--player", "random", "--trials", "51"], "has 50 initial states"),
        (["evaluate", "--suite", "libero_goal", "--player", "random", "--tasks", "10"], "has 0 to 9"),
        (["evaluate", "--suite", "libero_goal", "--player", "random", "--budgets", "ours"], "has openpi and wav"),
        (["suite", "install", "liberro"], "did you mean 'libero'"),
    ],
)
def test_what_cannot_run_is_one_line(
    argv: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WAV_SUITES", str(tmp_path))
    assert main(argv) in (1, 2)
    output = capsys.readouterr().err
    assert said in output
    assert output.count("\n") == 1


def install(suites: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What an installation of LIBERO looks like; its interpreter, which does nothing."""
    monkeypatch.setenv("WAV_SUITES", str(suites))
    interpreter = suites / "libero/bin/python"
    interpreter.parent.mkdir(parents=True)
    interpreter.touch()
    (suites / "libero/wav-suite-complete").touch()
    return interpreter


def test_pip_sees_no_packages_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take them for what the suite needs, and the suite's process would not find them."""
    monkeypatch.setenv("WAV_SUITES", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", "/opt/ours")
    calls: list[tuple[list[str], dict[str, str]]] = []

    def run(command: list[str], *, env: dict[str, str], check: bool) -> subprocess.CompletedProcess[bytes]:
        calls.append((command, env))
        (tmp_path / "libero").mkdir(exist_ok=True)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("wav_policy.experiments.suites.installation.subprocess.run", run)
    assert main(["suite", "install", "libero"]) == 0
    assert [command[2] for command, _ in calls] == ["venv", "pip"]
    assert all("PYTHONPATH" not in env and env["WAV_SUITES"] == str(tmp_path) for _, env in calls)


def test_an_installation_whose_python_is_gone_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interpreter = install(tmp_path, monkeypatch)
    interpreter.unlink()
    interpreter.symlink_to("/usr/bin/python-of-last-year")
    assert main(["evaluate", "--suite", "libero_goal", "--player", "random"]) == 1
    assert NOT_INSTALLED in capsys.readouterr().err


def test_a_checkpoint_of_another_robot_is_refused_by_what_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, monkeypatch)
    assert main(["evaluate", "--suite", "libero_object", "--checkpoint", "checkpoints/wav-tiny"]) == 2
    said = capsys.readouterr().err
    assert "is of the robot bimanual_piper, suite libero_object of libero_panda" in said
    assert "joint_targets, not end_effector_deltas" in said


def test_more_commands_than_a_chunk_has_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last one, a motion, would be commanded again and again."""
    install(tmp_path, monkeypatch)
    command = ["evaluate", "--suite", "libero_object", "--checkpoint", "checkpoints/wav-tiny-libero"]
    assert main([*command, "--replan-steps", "17"]) == 2
    assert "--replan-steps is 17; " in (said := capsys.readouterr().err)
    assert "plans 16 commands at a time" in said


def test_an_evaluation_that_was_ended_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command, its workers and its log; in the place of the suite's interpreter is one that counts."""
    interpreter = install(tmp_path, monkeypatch)
    words = [sys.executable, counting.__file__, str(PROCESSES), str(tmp_path / "died")]
    interpreter.write_text(f"#!/bin/sh\nexec {shlex.join(words)}\n")
    interpreter.chmod(0o755)
    result, log = tmp_path / "random.json", tmp_path / "random.json.trials.jsonl"

    def evaluate(*more: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "wav_policy.cli", "evaluate", "--suite", "libero_object", "--player", "random"]
        command += ["--tasks", "1", "1", "--workers", "2", "--json", str(result), *more]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(result.read_text())["conditions"]["random"])

    first = evaluate("--trials", "8")
    assert [(t["task"], t["state"], t["success"], t["steps"]) for t in first["trials"][:7]] == [
        (1, state, True, state) for state in range(7)
    ]
    lost = first["trials"][7]
    assert (lost["success"], first["num_faults"], len(first["trials"])) == (False, 1, 8)
    assert "the process has ended" in lost["fault"]
    budgets = first["budgets"]
    assert {name: (b["steps"], b["successes"], b["trials"]) for name, b in budgets.items()} == {
        "openpi": (280, 7, 8),
        "wav": (990, 7, 8),
    }
    kept = [line for line in log.read_text().splitlines(keepends=True) if '"seed": 55,' not in line]
    told = "".join(kept).replace('"steps": 3,', '"steps": 300,')  # as nothing but the log says
    log.write_text(told + '{"settings": "cut o')
    again = evaluate("--trials", "8", "--resume")
    assert [t["steps"] for t in again["trials"][:7]] == [0, 1, 2, 300, 4, 5, 6], "only what is missing is run again"
    assert {name: b["successes"] for name, b in again["budgets"].items()} == {"openpi": 6, "wav": 7}
    assert again["num_faults"] == 1
    added = log.read_text().removeprefix(told).splitlines()
    assert sorted(json.loads(line)["trial"]["seed"] for line in added) == [55, 57], "the lost one too"
