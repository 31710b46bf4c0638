"""Results of several evaluations as one: what may be joined, and how pairs come out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wav_models.evaluation.closed_loop import TrialResult
from wav_models.evaluation.trials import summarise
from wav_models.experiments.joined import join_results
from wav_policy.cli.main import main


def result(path: Path, tasks: dict[str, dict[str, list[bool]]], /, **changes: Any) -> Path:
    """A file as `wav evaluate --json` writes it."""
    names = dict.fromkeys(name for conditions in tasks.values() for name in conditions)
    data = {
        "command": f"wav evaluate --json {path.name}",
        "checkpoint": "wav-tiny",
        "checkpoint_sha256": "ab" * 32,
        "seeds": [7, 10],
        "split": "train",
        "phrasing": "train",
        "instruction_of": None,
        "settings": {"replan_steps": 4, "latency_steps": 0, "max_steps": None},
        "planners": {name: {"num_iterations": int(name[1:])} for name in names},
        "tasks": {
            task: summarise(
                {
                    name: [
                        TrialResult(7 + i, success, 10, (50.0,), "torch bf16") for i, success in enumerate(successes)
                    ]
                    for name, successes in conditions.items()
                }
            )
            for task, conditions in tasks.items()
        },
        **changes,
    }
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def test_conditions_of_two_files_are_pairs_on_their_seeds(tmp_path: Path) -> None:
    a = result(tmp_path / "a.json", {"drawer": {"k0": [False, False, True]}, "bowl": {"k0": [True] * 3}})
    b = result(tmp_path / "b.json", {"drawer": {"k0": [True] * 3, "k3": [True, True, False]}})
    joined = join_results([a, b])
    drawer = joined["tasks"]["drawer"]
    assert {name: row["successes"] for name, row in drawer["conditions"].items()} == {"k0": 1, "k3": 2}
    (pair,) = drawer["comparisons"]
    assert (pair["first"], pair["second"]) == ("k0", "k3")
    assert (pair["only_second_succeeded"], pair["only_first_succeeded"], pair["mcnemar_p"]) == (2, 1, 1.0)
    assert list(joined["tasks"]["bowl"]["conditions"]) == ["k0"]
    assert joined["results"] == ["a.json", "b.json"]


def test_what_ran_on_different_engines_is_shown_but_not_compared(tmp_path: Path) -> None:
    a = result(tmp_path / "a.json", {"towel": {"k0": [True] * 3, "k1": [False] * 3}})
    text = result(tmp_path / "b.json", {"towel": {"k3": [True] * 3, "k5": [True] * 3}}).read_text()
    (tmp_path / "b.json").write_text(text.replace("torch bf16", "torch fp32"))
    towel = join_results([a, tmp_path / "b.json"])["tasks"]["towel"]
    assert list(towel["conditions"]) == ["k0", "k1", "k3", "k5"]
    assert [(pair["first"], pair["second"]) for pair in towel["comparisons"]] == [("k0", "k1"), ("k3", "k5")]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": [8, 11]}, r"b\.json: seeds is \[8, 11\], .*a\.json has \[7, 10\]"),
        ({"checkpoint_sha256": "cd" * 32}, r"b\.json: checkpoint_sha256 is cdcd"),
        ({"stack": {"continuation": "rtc"}}, r"b\.json: stack is .*'rtc'.*a\.json has None"),
        ({"planners": {"k0": {"num_iterations": 9}}}, r"b\.json: its 'k0' is another planner"),
    ],
)
def test_what_is_no_pair_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    a = result(tmp_path / "a.json", {"bowl": {"k0": [True] * 3}})
    b = result(tmp_path / "b.json", {"towel": {"k0": [True] * 3}}, **changes)
    with pytest.raises(ValueError, match=message):
        join_results([a, b])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"tasks": {"bowl": 3}}'])
def test_another_file_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"other\.json: no result of `wav evaluate --json`"):
        join_results([path])


def test_the_command_draws_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = result(tmp_path / "a.json", {"drawer": {"k0": [False, False, True]}})
    b = result(tmp_path / "b.json", {"towel": {"k3": [True] * 3}})
    out = tmp_path / "report"
    assert main(["report", "--results", str(a), str(b), "--out", str(out)]) == 0
    assert json.loads((out / "success.json").read_text())["command"].startswith("wav report --results")
    assert (out / "success.png").stat().st_size > 0
    assert main(["report", "--results", str(tmp_path / "none.json"), "--out", str(out)]) == 2
    assert "none.json" in capsys.readouterr().err
    assert main(["report", "--results", str(a), "--measure", "success", "--out", str(out)]) == 2
