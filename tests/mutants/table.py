"""All mutants, and the few that `make test` runs."""

from __future__ import annotations

from typing import Final

from tests.mutants import of_arms, of_driver, of_input, of_links, of_loop, of_networks, of_planner, of_robot
from tests.mutants.mutant import Mutant

MUTANTS: Final[tuple[Mutant, ...]] = (
    *of_planner.MUTANTS,
    *of_networks.MUTANTS,
    *of_robot.MUTANTS,
    *of_loop.MUTANTS,
    *of_arms.MUTANTS,
    *of_driver.MUTANTS,
    *of_links.MUTANTS,
    *of_input.MUTANTS,
)

FAST: Final = frozenset(
    {
        "latent_planner.line_13_initial_noise",
        "scoring.phi_is_mean",
        "noise.mean_rates_swapped",
        "flow.velocity_sign",
        "normalization.actions_stay_differences",
        "returns.unscaled",
        "embodiments.arms_exchanged",
        "video_dit.no_cross_view",
        "units.stroke",
        "chunk_executor.disagreement_sign",
        "joint_state.names_ignored",
        "bimanual.milder_inhibit_wins",
        "planning_worker.stale_plan_delivered",
        "safety.no_velocity_limit",
    }
)
"""One of each kind, those whose tests are quick."""
