"""The same scene, another instruction, another behaviour; needs a checkpoint trained on both bowl tasks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wav_models.project_files import resolve
from wav_policy.bringup.arguments import DEFAULT_CHECKPOINT
from wav_policy.cli.main import main
from wav_policy.sim.instructed import InstructedEnv
from wav_policy.sim.tasks import make_task

TASKS = ("bowls", "green_bowl")
EPISODES = 5


@pytest.mark.sim
def test_the_scene_stays_and_the_instruction_changes() -> None:
    import gymnasium

    import wav_policy.sim  # noqa: F401  (registers the environments)

    own = gymnasium.make("wav/PiperBowls-v0", disable_env_checker=True)
    asked = InstructedEnv(gymnasium.make("wav/PiperBowls-v0", disable_env_checker=True), "green_bowl")
    first, own_info = own.reset(seed=3)
    second, asked_info = asked.reset(seed=3)
    assert (first["head"] == second["head"]).all()
    assert own_info["instruction"] in make_task("bowls").instructions
    assert asked_info["instruction"] in make_task("green_bowl").instructions


@pytest.mark.sim
@pytest.mark.slow
def test_a_policy_does_what_it_is_told(tmp_path: Path) -> None:
    checkpoint = resolve(DEFAULT_CHECKPOINT)
    known = json.loads((checkpoint / "training.json").read_text())["data"].get("instructions", [])
    for task in TASKS:
        if not set(make_task(task).instructions) & set(known):
            pytest.skip(f"{checkpoint.name} was not trained on task {task}; it knows {len(known)} instructions")
    done = {}
    for told in TASKS:
        result = tmp_path / f"{told}.json"
        arguments = ["--task", *TASKS, "--instruction-of", told, "--episodes", str(EPISODES), "--iterations", "0"]
        assert main(["evaluate", "--checkpoint", str(checkpoint), *arguments, "--json", str(result)]) == 0
        tasks = json.loads(result.read_text())["tasks"]
        done[told] = {task: tasks[task]["conditions"]["K=0"]["successes"] for task in TASKS}
    for told in TASKS:
        other = next(task for task in TASKS if task != told)
        assert done[told][told] >= EPISODES - 2, done
        assert done[told][other] <= 1, done
