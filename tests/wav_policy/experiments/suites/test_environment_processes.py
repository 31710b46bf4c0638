"""The environment processes of LIBERO and gym-aloha, whose simulators are stood in for: what is asked of them, and how
what they say is passed on. In processes of their own, as they are started."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from wav_policy.experiments.suites.catalogue import PROCESSES, get_suite

STAND_INS = """
import json, sys, types
import numpy as np

def module(name, **contents):
    made = types.ModuleType(name)
    vars(made).update(contents)
    sys.modules[name] = made

sys.path.insert(0, sys.argv[1])
"""
LIBERO = """
asked = []
half = 0.3
SEEN = {"robot0_eef_pos": [1.0, 2.0, 3.0], "robot0_eef_quat": [np.sin(half), 0.0, 0.0, np.cos(half)],
        "robot0_gripper_qpos": [0.04, -0.04]}

class Context:
    def _set_mujoco_context_and_buffers(self):
        asked.append("buffers")

class Sim:
    _render_context_offscreen = Context()
    model = types.SimpleNamespace(
        _model=types.SimpleNamespace(vis=types.SimpleNamespace(quality=types.SimpleNamespace(offsamples=4)))
    )
    def render(self, width, height, camera_name):
        number = ["agentview", "robot0_eye_in_hand"].index(camera_name)
        image = np.zeros((height, width, 3), np.uint8)
        image[0, 0] = 10 + number  # below, left: MuJoCo's first row
        return image

class Env:
    sim = Sim()
    def __init__(self, **arguments):
        asked.append(["env", arguments])
    def seed(self, seed):
        asked.append(["seed", seed])
    def reset(self):
        asked.append("layout")
        return SEEN
    def set_init_state(self, state):
        asked.append(["state", state.tolist()])
        return SEEN
    def step(self, action):
        asked.append(["step", list(action)])
        return SEEN, 0.0, True, {}
    def close(self):
        asked.append("close")

class Tasks:
    n_tasks = 10
    def get_task(self, task):
        return types.SimpleNamespace(problem_folder="problem", bddl_file=f"{task}.bddl", language=f"do {task}")
    def get_task_init_states(self, task):
        return np.arange(50.0)[:, None]

benchmark = types.SimpleNamespace(get_benchmark_dict=lambda: {"libero_goal": Tasks})
module("libero")
module("libero.libero", benchmark=benchmark, get_libero_path=lambda what: "/" + what)
module("libero.libero.envs", OffScreenRenderEnv=Env)
from libero_environment import Libero
suite = Libero()
made, _ = suite.make("libero_goal", 3)
header, (state,) = suite.reset(7, 107)
evaluated = asked[:]
asked.clear()
suite.reset(None, 8)
drawn = asked[:]
moved, _ = suite.step(np.full(7, 0.5))
_, images = suite.render(4)
print(json.dumps({
    "made": made, "header": header, "state": state.tolist(), "evaluated": evaluated, "drawn": drawn, "moved": moved,
    "samples": Sim.model._model.vis.quality.offsamples, "corners": [int(image[-1, -1, 0]) for image in images],
    "sums": [int(image.sum()) for image in images],
}))
"""
ALOHA = """
poses = []
class Env:
    def reset(self):
        return types.SimpleNamespace(observation={"qpos": np.zeros(14)}, reward=0)
def sample(seed):
    poses.append(seed)
    return [seed]
module("gym_aloha")
module("gym_aloha.env", AlohaEnv=lambda task: types.SimpleNamespace(_env=Env()))
module("gym_aloha.tasks")
module("gym_aloha.tasks.sim", BOX_POSE=[None], TransferCubeTask=type("TransferCubeTask", (), {}))
module("gym_aloha.utils", sample_box_pose=sample)
from aloha_environment import Aloha
suite = Aloha()
suite.make("aloha_transfer_cube", 0)
for state in range(50):
    suite.reset(state, state)
evaluated = poses[:]
poses.clear()
for seed in (0, 49, *range(99_990, 100_110)):
    suite.reset(None, seed)
print(json.dumps({"evaluated": evaluated, "recorded": poses}))
"""


def _run(script: str) -> dict[str, Any]:
    command = [sys.executable, "-c", STAND_INS + script, str(PROCESSES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def libero() -> dict[str, Any]:
    return _run(LIBERO)


def test_a_trial_begins_with_the_suites_own_state_and_ten_waiting_steps(libero: dict[str, Any]) -> None:
    env, *others = libero["evaluated"]
    assert env[1]["bddl_file_name"] == "/bddl_files/problem/3.bddl"
    assert env[1]["use_camera_obs"] is False, "nothing is rendered that nobody asked for"
    wait = ["step", [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0]]
    assert others == ["buffers", ["seed", 107], "layout", ["state", [7.0]], *10 * [wait]]
    assert libero["made"] == {"instruction": "do 3", "num_tasks": 10, "num_states": 50}
    assert libero["header"] == {"success": False}, "what a waiting step says does not count"
    assert libero["moved"] == {"success": True}
    assert libero["samples"] == 0


def test_a_demonstration_has_a_layout_of_its_own(libero: dict[str, Any]) -> None:
    assert libero["drawn"][:2] == [["seed", 8], "layout"]
    assert all(request[0] == "step" for request in libero["drawn"][2:])


def test_images_are_turned_by_180_degrees_and_the_state_is_position_axis_angle_and_fingers(
    libero: dict[str, Any],
) -> None:
    assert libero["corners"] == [10, 11], "the first pixel of the first row is the last of the last"
    assert libero["sums"] == [30, 33]
    np.testing.assert_allclose(libero["state"], [1.0, 2.0, 3.0, 0.6, 0.0, 0.0, 0.04, -0.04], atol=1e-12)


def test_no_layout_that_is_evaluated_is_ever_recorded() -> None:
    aloha = _run(ALOHA)
    assert aloha["evaluated"] == list(range(100_000, 100_050)), "those of docs/results"
    assert len(aloha["evaluated"]) == get_suite("aloha_transfer_cube").num_states
    assert set(aloha["evaluated"]).isdisjoint(aloha["recorded"])
    assert len(set(aloha["recorded"])) == len(aloha["recorded"])
    assert aloha["recorded"][:2] == [0, 49], "seeds below are the layouts that they were"
