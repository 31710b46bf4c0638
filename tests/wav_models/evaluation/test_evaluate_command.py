"""The conditions that `wav evaluate` compares, and one real trial."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.wav_models.small_checkpoint import save_small
from wav_models.data.layout import make_info
from wav_models.embodiments import LIBERO_PANDA
from wav_models.engines import precision
from wav_models.experiments.conditions import named_conditions
from wav_models.planner.config import PlannerConfig
from wav_policy.cli.evaluate import EvaluateArguments, make_conditions
from wav_policy.cli.json_output import with_json_target
from wav_policy.cli.main import main
from wav_policy.experiments.closed_loop import SimTrials
from wav_policy.experiments.diagnose_command import DiagnosisPlan


def test_conditions_are_the_product_of_iterations_and_selections(random_checkpoint: Path) -> None:
    arguments = EvaluateArguments(random_checkpoint, iterations=(0, 3), selection=("best", "worst"), video_samples=2)
    conditions = make_conditions(arguments)
    assert list(conditions) == ["K=0 best", "K=0 worst", "K=3 best", "K=3 worst"]
    assert conditions["K=3 worst"].num_iterations == 3
    assert conditions["K=3 worst"].selection == "worst"
    assert {c.num_video_samples for c in conditions.values()} == {2}
    assert max(c.num_video_elites for c in conditions.values()) <= 2


def test_named_conditions_are_one_planner_with_controls(random_checkpoint: Path) -> None:
    arguments = EvaluateArguments(
        random_checkpoint,
        conditions=("k0", "shrunk", "best", "worst", "k3"),
        video_samples=4,
        planner=("video_times=[0.25, .75]", "share_first_step=true", "score=mean"),
    )
    conditions = make_conditions(arguments)
    assert {(c.video_times, c.share_first_step) for c in conditions.values()} == {((0.25, 0.75), True)}
    assert {name: c.num_iterations for name, c in conditions.items()} == {
        "k0": 0,
        "shrunk": 3,
        "best": 1,
        "worst": 1,
        "k3": 3,
    }
    assert conditions["shrunk"] == replace(conditions["k3"], score="random")
    with pytest.raises(ValueError, match="did you mean 'worst'"):
        make_conditions(replace(arguments, conditions=("worse",)))


def test_no_clock_decides_how_many_rounds_run(random_checkpoint: Path, tmp_path: Path) -> None:
    checkpoint = Path(shutil.copytree(random_checkpoint, tmp_path / "hurried"))
    (checkpoint / "planner.json").write_text('{"deadline": 0.25}')
    conditions = make_conditions(EvaluateArguments(checkpoint, conditions=("k0", "k3")))
    assert [planner.deadline for planner in conditions.values()] == [None, None]


def test_unknown_task_and_checkpoint_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--checkpoint", str(tmp_path), "--task", "bwl"]) == 2
    assert "did you mean 'bowl'" in capsys.readouterr().err
    assert main(["evaluate", "--checkpoint", str(tmp_path / "none")]) == 2
    assert "none does not exist; give a checkpoint directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--video-samples", "0"], "--video-samples is 0; a whole number of at least 1 or nothing fits"),
        (["--max-steps", "0"], "--max-steps is 0; a whole number of at least 1 or nothing fits"),
        (["--task", "drawer", "--max-steps", "241"], "--max-steps is 241; an episode of 'drawer' ends after 240"),
        (["--conditions", "k0", "--iterations", "3"], "give either --conditions, or --iterations and --selection"),
        (["--diagnose", "--conditions", "k0", "--dtype", "bf16", "--bare"], "no use for --bare, --dtype"),
        (["--data", "somewhere"], "--data is read by --diagnose only"),
        (["--diagnose", "--teacher", "somewhere"], "--teacher needs --diagnose and --data"),
        (["--teacher", "somewhere"], "--teacher needs --diagnose and --data"),
        (["--diagnose", "--teacher-planner", "score=mean"], "--teacher-planner is of a --teacher"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.sim
def test_a_teacher_that_cannot_be_compared_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not after all episodes have been acted out."""
    monkeypatch.setattr("wav_policy.experiments.diagnose_command.worker_pool", None)
    student, teacher = tmp_path / "student", tmp_path / "teacher"
    save_small(student, 0)
    save_small(teacher, 1)
    pair = ["--checkpoint", str(student), "--teacher", str(teacher)]
    assert main(["evaluate", "--diagnose", *pair, "--data", str(tmp_path), "--video-samples", "4"]) == 2
    assert "the teacher's auto-encoder is another than the student's" in capsys.readouterr().err
    wrong = ["--diagnose", *pair, "--data", str(tmp_path), "--teacher-planner", "num_value_stps=3"]
    assert main(["evaluate", *wrong]) == 2
    assert "--teacher-planner: unknown key 'num_value_stps'" in capsys.readouterr().err


@pytest.mark.sim
def test_a_diagnosis_is_of_one_robot(
    random_checkpoint: Path,
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("wav_policy.experiments.diagnose_command.worker_pool", None)
    (tmp_path / "meta").mkdir()
    info = make_info(LIBERO_PANDA, 20, LIBERO_PANDA.image_sizes)
    (tmp_path / "meta/info.json").write_text(json.dumps(info))
    diagnose = ["evaluate", "--diagnose", "--data", str(tmp_path), "--checkpoint"]
    assert main([*diagnose, str(random_checkpoint)]) == 2
    said = "meta/info.json: observation.state has shape [8]; bimanual_piper has [14]; it is of libero_panda"
    assert said in capsys.readouterr().err
    assert main([*diagnose, str(repository / "checkpoints/wav-tiny-libero")]) == 2
    assert "is of the robot libero_panda, the simulator of bimanual_piper: " in capsys.readouterr().err


def test_recorded_moments_are_looked_at_once_for_all_tasks(
    random_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans: list[DiagnosisPlan] = []

    def diagnose(plan: DiagnosisPlan) -> dict[str, Any]:
        plans.append(plan)
        links = {"branch": {}, "simulated": {"moments": 1.0}, "choices": {"moments": 1.0}}
        found = None if plan.data is None else plan.data.name
        return {**links, "data": found, "episodes_were": found, "recorded": found and {"auc": 0.9}, "taught": None}

    monkeypatch.setattr("wav_policy.experiments.diagnose_command.diagnose", diagnose)
    path, data = tmp_path / "links.json", tmp_path / "drawers"
    both = ["--checkpoint", str(random_checkpoint), "--data", str(data), "--teacher", str(random_checkpoint)]
    assert main(["evaluate", "--diagnose", *both, "--task", "bowl", "drawer", "bowl", "--json", str(path)]) == 0
    assert [(plan.task, plan.data, bool(plan.teacher)) for plan in plans] == [
        ("bowl", data, True),
        ("drawer", None, False),
    ]
    tasks = json.loads(path.read_text())["tasks"]
    assert [(links["data"], links["recorded"]) for links in tasks.values()] == 2 * [("drawers", {"auc": 0.9})]


def test_shrunk_draws_from_the_shrunken_noise_whatever_the_planner_selects() -> None:
    conditions = named_conditions(PlannerConfig(num_iterations=3, selection="best", score="gain"))
    assert (conditions["shrunk"].selection, conditions["shrunk"].score) == ("sample", "random")
    assert conditions["k3"].selection == "best"


@pytest.mark.sim
def test_one_trial_writes_its_result(random_checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    arguments = ["--checkpoint", str(random_checkpoint), "--episodes", "1", "--iterations", "0", "--max-steps", "5"]
    assert main(["evaluate", *arguments, "--workers", "1", "--json", str(path)]) == 0
    summary = json.loads(path.read_text())
    result = summary["tasks"]["bowl"]["conditions"]["K=0"]
    assert result["plans"] == 2
    assert result["trials"] == [{"seed": 1000, "success": False, "steps": 5}]
    assert len(summary["checkpoint_sha256"]) == 64
    assert summary["command"].startswith("wav evaluate --checkpoint")


@pytest.mark.sim
def test_an_ended_evaluation_goes_on(
    random_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "result.json"
    arguments = ["--checkpoint", str(random_checkpoint), "--iterations", "0", "--max-steps", "3", "--workers", "1"]
    assert main(["evaluate", *arguments, "--resume"]) == 2
    assert "--json FILE" in capsys.readouterr().err
    assert main(["evaluate", *arguments, "--episodes", "1", "--json", str(path)]) == 0
    log = tmp_path / "result.json.trials.jsonl"
    kept = log.read_text().replace('"steps": 3', '"steps": 2')  # as nothing but the log says
    log.write_text(kept.replace("torch fp32", "onnxruntime int8"))
    capsys.readouterr()
    assert main(["evaluate", *arguments, "--episodes", "2", "--json", str(path), "--resume"]) == 0
    printed = capsys.readouterr()
    assert "2/2 seed 1001" in printed.err
    assert "K=0: ran on onnxruntime int8 and torch fp32" in printed.out
    trials = json.loads(path.read_text())["tasks"]["bowl"]["conditions"]["K=0"]["trials"]
    assert [(t["seed"], t["steps"]) for t in trials] == [(1000, 2), (1001, 3)]


@pytest.mark.sim
def test_trials_of_another_number_format_are_not_resumed(
    random_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--dtype auto` is bfloat16 on one machine and float32 on the next."""
    trials = SimTrials(random_checkpoint, ("bowl",), range(1), dtype="auto")
    keys = []
    for native in ("bf16", "fp32"):
        monkeypatch.setattr(precision, "native_dtype", lambda device, native=native: native)
        keys.append(trials._fingerprints("bowl", {"k0": PlannerConfig()}))
    assert keys[0] != keys[1] == replace(trials, dtype="fp32")._fingerprints("bowl", {"k0": PlannerConfig()})


@pytest.mark.sim
def test_trials_of_the_bare_rows_are_not_taken_for_those_of_the_stack(random_checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    arguments = ["--checkpoint", str(random_checkpoint), "--iterations", "0", "--max-steps", "3", "--workers", "1"]
    arguments += ["--episodes", "1", "--resume", "--json", str(path)]
    assert main(["evaluate", *arguments]) == 0
    assert json.loads(path.read_text())["stack"]["continuation"] == "rtc"
    assert main(["evaluate", *arguments, "--bare"]) == 0
    assert json.loads(path.read_text())["stack"] is None
    assert main(["evaluate", *arguments]) == 0
    settings = [json.loads(line)["settings"] for line in path.with_name("result.json.trials.jsonl").open()]
    assert len(settings) == len(set(settings)) == 2


def test_a_diagnosis_of_one_episode(random_checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "links.json"
    arguments = ["--diagnose", "--checkpoint", str(random_checkpoint), "--episodes", "1", "--max-steps", "16"]
    arguments += ["--workers", "1", "--planner", "score=gain", "--video-samples", "3", "--conditions", "k1", "shrunk"]
    assert main(["evaluate", *arguments, "--json", str(path)]) == 0
    result = json.loads(path.read_text())
    links = result["tasks"]["bowl"]
    assert links["simulated"]["moments"] == 1  # plans begin at steps 8 and 12; every third is a regular moment
    assert links["choices"]["moments"] == 1  # and two that near are one decision
    assert links["choices"]["gain_realised_standard_error"] is None
    assert links["choices"]["action_spread_futures_rad"] > 0.0
    assert {"gain_realised_k1", "gain_promised_shrunk"} <= links["choices"].keys()
    assert (result["planner"]["score"], links["branch"]["futures"]) == ("gain", 3)


def test_json_without_a_file_means_standard_output() -> None:
    assert with_json_target(["--json", "--episodes", "2"]) == ["--json=-", "--episodes", "2"]
    assert with_json_target(["--episodes", "2", "--json"]) == ["--episodes", "2", "--json=-"]
    assert with_json_target([]) == []
    assert with_json_target(["--json", "out.json"]) == ["--json", "out.json"]
