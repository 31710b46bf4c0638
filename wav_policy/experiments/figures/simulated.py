"""Cost of a plan against K, and feasibility of action sequences in the simulator."""

from __future__ import annotations

import resource
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from wav_models.worker_pool import worker_pool
from wav_policy.experiments.figures.inputs import Files, ReportInputs

ROUNDS: Final = (0, 1, 3, 5)
PLANS: Final = 8
SEQUENCES: Final = 48
"""Action sequences of every kind, over all states."""
SPEED_SHARES: Final = (1.0, 0.5, 0.25)
LATENT: Final = "latent samples"
STATE_STEPS: Final = (5, 20, 35)
"""Moments of an episode, driven by the scripted operator, at which sequences begin."""


def measure_cost(inputs: ReportInputs) -> Files:
    """Median planning time and peak memory of torch per K, each in a process of its own."""
    rows = []
    for done, rounds in enumerate(ROUNDS):
        inputs.tell(done, len(ROUNDS))
        with worker_pool(1) as pool:
            engine, row = pool.submit(_cost_of, inputs.checkpoint, inputs.dtype, rounds).result()
            rows.append(row)
    return {"cost.json": {"plans": PLANS, "engine": engine, "rows": rows}}


def _cost_of(checkpoint: Path, dtype: str, rounds: int) -> tuple[str, dict[str, float]]:
    from wav_models.checkpoint import load_planner_config
    from wav_models.types import Observation
    from wav_policy.policy.wav_policy import WAVPolicy
    from wav_policy.robot.joints import JOINT_DIM

    planner = replace(load_planner_config(checkpoint), num_iterations=rounds, deadline=None)
    policy = WAVPolicy.load(checkpoint, engine="torch", planner=planner, num_threads=1, dtype=dtype)
    policy.warm_up()
    shape = (policy.config.num_views, policy.config.num_memory_frames, *policy.config.latent.image_size, 3)
    rng = np.random.default_rng(0)
    seconds = []
    for seed in range(PLANS):
        images = rng.integers(0, 255, shape, dtype=np.uint8)
        seconds.append(policy.plan(Observation(images, np.zeros(JOINT_DIM), ""), seed=seed).seconds["total"])
    peak_kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"{policy.engine.name} {policy.engine.precision}", {
        "num_iterations": rounds,
        "plan_ms_p50": 1000.0 * float(np.median(seconds)),
        "peak_memory_mb": peak_kilobytes / 1024.0,
    }


def measure_feasibility(inputs: ReportInputs) -> Files:
    """Survival curves of three ways of drawing action sequences; see `wav_policy.experiments.feasibility`."""
    from wav_models.checkpoint import load_planner_config
    from wav_policy.experiments.branching_world import BranchingWorld, watch_operator
    from wav_policy.experiments.diagnose_command import make_reader
    from wav_policy.experiments.feasibility import FeasibilityTest, draw_steps, draw_uniform, survival

    inputs.require_simulated()
    planner = replace(load_planner_config(inputs.checkpoint), action_noise_std=1.0)
    reader = make_reader(inputs.checkpoint, planner)
    cell = BranchingWorld(inputs.tasks[0])
    horizon = reader.engine.config.horizon.action_horizon
    kinds: dict[str, Any] = {"uniform over the joint limits": draw_uniform}
    kinds |= {f"uniform steps, {share:.0%} of full speed": partial(draw_steps, share) for share in SPEED_SHARES}
    kinds |= {LATENT: None}
    steps: dict[str, list[int]] = {name: [] for name in kinds}
    ends: dict[str, Counter[str]] = {name: Counter() for name in kinds}
    per_state = SEQUENCES // len(STATE_STEPS) // 2
    rng = np.random.default_rng(inputs.seed)
    states, total = 0, 2 * len(STATE_STEPS)
    for seed in (inputs.seed, inputs.seed + 1):
        instruction = cell.reset(seed)
        test = FeasibilityTest(cell.world)
        episode = watch_operator(cell, reader.engine.config, instruction, max(STATE_STEPS) + 1)
        for seen in (seen for step, seen in episode if step in STATE_STEPS):
            inputs.tell(states, total)
            states += 1
            saved = cell.save()
            latent = _latent_sequences(reader, seen, per_state, seed)
            for name, draw in kinds.items():
                for i in range(per_state):
                    cell.restore(saved)
                    actions = latent[i] if draw is None else draw(seen.joint_state, horizon, rng)
                    count, end = test.feasible_steps(actions)
                    steps[name].append(count)
                    ends[name][end] += 1
            cell.restore(saved)
    curves = {name: survival(counts, horizon) for name, counts in steps.items()}
    data = {"horizon": horizon, "sequences": len(steps[LATENT]), "task": inputs.tasks[0]}
    return {"feasibility.json": {"seeds": [inputs.seed, inputs.seed + 2], **data, "ends": ends, "survival": curves}}


def _latent_sequences(reader: Any, seen: Any, count: int, seed: int) -> np.ndarray:
    """Chunks [count, H, 14], each from its own future, value noise and action noise."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    reading = reader.imagined(reader.observe(seen), reader.video_noise(count, generator))
    values, actions = reader.value_noise(count, generator), reader.action_noise(count, generator)
    return np.stack([reader.act(reading.select(i), seen.joint_state, values[i], actions[i]) for i in range(count)])
