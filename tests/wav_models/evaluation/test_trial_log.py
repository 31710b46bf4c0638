"""Trials that were finished before an evaluation was ended are not run again, and only those."""

from __future__ import annotations

from pathlib import Path

import pytest

from wav_models.evaluation.closed_loop import TrialResult
from wav_models.evaluation.trial_log import TrialLog, fingerprint

K0, K3 = fingerprint({"planner": 0, "task": "bowl"}), fingerprint({"planner": 3, "task": "bowl"})


def trial(seed: int, success: bool = True) -> TrialResult:
    return TrialResult(seed, success, 12, (50.0, 51.5), "torch fp32")


def test_trials_come_back_by_settings_and_seed(tmp_path: Path) -> None:
    path = tmp_path / "new" / "trials.jsonl"
    log = TrialLog(path, resume=True)
    log.add(K0, trial(1))
    log.add(K3, trial(1, success=False))
    log.add(K3, trial(7))
    again = TrialLog(path, resume=True)
    assert again.of(K3, range(5)) == {1: trial(1, success=False)} == log.of(K3, range(5))
    assert again.of(K3, [7, 1]) == {7: trial(7), 1: trial(1, success=False)}
    assert again.of(fingerprint({"planner": 3, "task": "drawer"}), range(5)) == {}


def test_a_line_that_was_cut_is_run_again_and_costs_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    log = TrialLog(path, resume=False)
    for seed in (1, 2):
        log.add(K0, trial(seed))
    path.write_bytes(path.read_bytes()[:-20])
    log = TrialLog(path, resume=True)
    assert log.of(K0, range(5)) == {1: trial(1)}
    log.add(K0, trial(2))
    assert TrialLog(path, resume=True).of(K0, range(5)) == {1: trial(1), 2: trial(2)}


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    log = TrialLog(path, resume=False)
    for seed in (1, 2):
        log.add(K0, trial(seed))
    path.write_text(path.read_text().replace('"seed": 2', '"sd": 2'))
    with pytest.raises(ValueError, match=r"trials\.jsonl: line 2 is damaged"):
        TrialLog(path, resume=True)


@pytest.mark.parametrize(
    ("was", "is_now"),
    [('"success": true', '"success": "false"'), ('"steps": 12', '"steps": null'), ('"seed": 2', '"seed": "2"')],
)
def test_a_value_of_another_type_is_damage(tmp_path: Path, was: str, is_now: str) -> None:
    """ "false" would count as a success, and steps that are none end the evaluation after its last trial."""
    path = tmp_path / "trials.jsonl"
    TrialLog(path, resume=False).add(K0, trial(2))
    assert was in path.read_text()
    path.write_text(path.read_text().replace(was, is_now))
    with pytest.raises(ValueError, match=r"trials\.jsonl: line 1 is damaged"):
        TrialLog(path, resume=True)


@pytest.mark.parametrize("resume", [True, False])
def test_two_evaluations_do_not_keep_trials_in_one_file(tmp_path: Path, resume: bool) -> None:
    path = tmp_path / "trials.jsonl"
    log = TrialLog(path, resume=False)
    with log.kept_by_us():
        log.add(K0, trial(1))
        with pytest.raises(ValueError, match="another evaluation keeps its trials there now"):
            TrialLog(path, resume=resume)
        log.add(K0, trial(2))
    assert TrialLog(path, resume=True).of(K0, range(5)) == {1: trial(1), 2: trial(2)}


def test_without_resume_the_old_log_is_put_aside_and_without_a_path_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    TrialLog(path, resume=False).add(K0, trial(1))
    assert TrialLog(path, resume=False).of(K0, range(5)) == {}
    assert not path.exists()
    TrialLog(path, resume=False).add(K0, trial(2))
    TrialLog(path, resume=False)
    for put_aside, what in ((".old", trial(1)), (".old2", trial(2))):
        log = TrialLog(path.with_name(path.name + put_aside), resume=True)
        assert log.of(K0, range(5)) == {what.seed: what}, "the first is not lost where --resume is forgotten twice"
    log = TrialLog(None, resume=True)
    log.add(K0, trial(1))
    assert log.of(K0, range(5)) == {1: trial(1)}


def test_fingerprint_does_not_depend_on_order() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 1, "b": 3})
