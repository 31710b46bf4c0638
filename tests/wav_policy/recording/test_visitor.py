"""A policy acts before the operator takes over: as in a trial, in a world that is laid out already."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wav_models.checkpoint import load_planner_config
from wav_models.configuration import ConfigurationError
from wav_models.embodiment import EmbodimentError
from wav_models.evaluation.closed_loop import BareRobot, TrialSettings, run_trial
from wav_policy.policy.wav_policy import WAVPolicy
from wav_policy.recording.visitor import Visitor
from wav_policy.sim.env import WavEnv
from wav_policy.sim.tasks import make_task
from wav_policy.sim.world import World

pytestmark = pytest.mark.sim
LIBERO = Path(__file__).parents[3] / "checkpoints" / "wav-tiny-libero"
SEED, STEPS = 3, 6


def test_it_acts_as_in_a_trial(random_checkpoint: Path) -> None:
    world = World(make_task("drawer"))
    world.reset(SEED)
    assert Visitor(random_checkpoint)(world, SEED, 0) == 0
    start = world.joint_positions
    assert Visitor(random_checkpoint)(world, SEED, STEPS) == STEPS
    planner = replace(load_planner_config(random_checkpoint), num_iterations=0, deadline=None)
    policy = WAVPolicy.load(random_checkpoint, engine="torch", planner=planner, num_threads=1)
    environment = WavEnv("drawer")
    robot = BareRobot(environment, policy.config.horizon.step_hz)
    run_trial(robot, policy, SEED, TrialSettings(policy.config.horizon.num_execute_steps, max_steps=STEPS))
    np.testing.assert_array_equal(world.joint_positions, environment.world.joint_positions)
    assert np.abs(world.joint_positions - start).max() > 1e-3


def test_a_checkpoint_of_another_robot_or_rate_is_refused(random_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(EmbodimentError, match=r"checkpoint .*wav-tiny-libero.* libero_panda, the simulator of biman"):
        Visitor(LIBERO)
    config = json.loads((random_checkpoint / "config.json").read_text())
    config["horizon"]["step_hz"] = 20.0
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigurationError, match="acts 20 times a second; demonstrations have 10 steps"):
        Visitor(tmp_path)
