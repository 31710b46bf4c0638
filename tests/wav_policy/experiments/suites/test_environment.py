"""Environments of suites: the protocol, and processes that die, hang, refuse or are not installed."""

from __future__ import annotations

import io
import re
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.wav_policy.experiments.suites import counting_environment as counting
from wav_models.evaluation.closed_loop import TrialResult
from wav_policy.cli.main import main
from wav_policy.experiments.suites.catalogue import PACKAGES, PROCESSES, SUITES, get_suite
from wav_policy.experiments.suites.environment import EnvironmentLost, SuiteEnvironment
from wav_policy.experiments.suites.players import OperatorPlayer, RandomPlayer, play, trial_number
from wav_policy.experiments.suites.processes.wire import MAX_ARRAYS, WireError, read_message, write_message
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
    with pytest.raises(WireError, match=said):
        read_message(io.BytesIO(data).read)


def test_no_message_is_larger_than_was_agreed() -> None:
    header = f'{{"arrays": [{{"dtype": "uint8", "shape": [{MAX_ARRAYS + 1}]}}]}}'.encode()
    with pytest.raises(WireError, match="at most"):
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
        (counting.REFUSES, "step failed: ValueError: the action is"),
    ],
)
def test_a_lost_environment_is_repeated_once_then_counted(environment: SuiteEnvironment, state: int, said: str) -> None:
    attempts = []

    def trial() -> TrialResult:
        attempts.append(state)
        return play(environment, RandomPlayer(), 0, state)

    result = with_repeats(trial, 12)
    assert len(attempts) == 2
    assert (result.seed, result.success) == (12, False)
    assert re.search(said, result.fault)
    assert play(environment, RandomPlayer(), 0, 2).success, "the next trial has a process of its own"


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
    summary = summarise(SUITE, {"k0": first, "k3": second})
    rates = {name: [b["successes"] for b in c["budgets"].values()] for name, c in summary["conditions"].items()}
    assert rates == {"k0": [1, 2], "k3": [2, 3]}
    assert summary["conditions"]["k3"]["num_faults"] == 1
    assert summary["comparisons"]["short"][0]["only_second_succeeded"] == 1
    text = describe(SUITE, summary)
    assert "1 trials failed by libero_object: the process has ended (exit code 3)" in text
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
        (
            ["record", "--suite", "libero_object", "--out", "nowhere"],
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


def test_a_checkpoint_of_another_robot_is_refused_by_what_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WAV_SUITES", str(tmp_path))
    (tmp_path / "libero").mkdir()
    (tmp_path / "libero/wav-suite-complete").touch()
    assert main(["evaluate", "--suite", "libero_object", "--checkpoint", "checkpoints/wav-tiny"]) == 2
    said = capsys.readouterr().err
    assert "is of the robot bimanual_piper, suite libero_object of libero_panda" in said
    assert "joint_targets, not end_effector_deltas" in said
