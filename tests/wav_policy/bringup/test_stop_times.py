"""An operator's stop parks the arms from wherever they are: nobody on the way down loses patience before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from wav_models.configuration import from_flat
from wav_models.types import FloatArray
from wav_policy.bringup.node_parameters import ManagerConfig, PiperNodeConfig
from wav_policy.bringup.node_table import LIFECYCLE_MANAGER
from wav_policy.bringup.parameter_files import section
from wav_policy.control import calm_motion, control_loop
from wav_policy.control.minimum_jerk import MinimumJerkMotion
from wav_policy.robot.joints import GRIPPERS, JOINT_DIM, both_arms


def shipped(repository: Path, node: str, *files: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for file in files:
        values = section(repository / "config" / file, node)
        assert values, f"nothing in {file} is for {node}"
        found |= values
    return found


def longest_park(config: PiperNodeConfig) -> float:
    """What deactivation may take from the farthest pose that is believed, delayed as far as `move_to` allows [s]."""
    home, tolerance = np.array(config.home), both_arms(config.safety.measurement_tolerance)

    def duration(start: FloatArray) -> float:
        goal = home.copy()
        goal[list(GRIPPERS)] = start[list(GRIPPERS)]
        return MinimumJerkMotion(start, goal, config.park_speed).duration

    motion = max(duration(config.safety.lower - tolerance), duration(config.safety.upper + tolerance))
    return calm_motion.PATIENCE * motion + 2.0 * control_loop.SETTLE_TIMEOUT  # of the park and of the hold after it


def test_the_longest_park_of_the_shipped_configuration_fits(repository: Path) -> None:
    piper = from_flat(PiperNodeConfig, shipped(repository, "/piper_node", "piper.yaml", "safety.yaml"))
    manager = from_flat(ManagerConfig, shipped(repository, "/lifecycle_manager", "bringup.yaml"))
    park = longest_park(piper)
    assert len(piper.home) == JOINT_DIM
    assert park > 13.0  # left joint 6 alone, from 2.0 rad: 8.37 s of motion
    for config in (manager, ManagerConfig()):
        assert config.stop_timeout >= park
    num_managed, closing = 2, 5.0
    all_down = num_managed * manager.gone_timeout + manager.stop_timeout + park + closing
    assert LIFECYCLE_MANAGER.stop_time >= all_down  # with a policy_node that hangs, too
