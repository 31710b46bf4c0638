"""`wav suite list` and `install`: other people's benchmarks, each in a virtual environment of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from wav_models.command_line import parsed
from wav_models.words import counted


@dataclass(frozen=True)
class ListArguments:
    """Every suite with its budgets, under the package that has it."""


@dataclass(frozen=True)
class InstallArguments:
    """Make the virtual environment of a package anew."""

    package: Annotated[str, tyro.conf.Positional]
    """Name of the package; `wav suite list` has all."""


def list_suites(argv: list[str]) -> None:
    """`wav suite list`."""
    parsed(ListArguments, "wav suite list", argv)
    print(listing())


def install_suite(argv: list[str]) -> None:
    """`wav suite install`."""
    arguments = parsed(InstallArguments, "wav suite install", argv)
    from wav_models.configuration import check_choice
    from wav_policy.experiments.suites.catalogue import PACKAGES
    from wav_policy.experiments.suites.installation import install

    check_choice("package", arguments.package, PACKAGES)
    print(f"{arguments.package} is installed in {install(PACKAGES[arguments.package])}")


def listing() -> str:
    """Every suite with its budgets, under the package that has it."""
    from wav_policy.experiments.suites.catalogue import PACKAGES, SUITES
    from wav_policy.experiments.suites.installation import is_installed

    lines = []
    for package in PACKAGES.values():
        state = "installed" if is_installed(package) else f"`wav suite install {package.name}` ({package.size})"
        lines.append(f"{package.name}: {state}")
        lines += [
            f"  {suite.name:24} {suite.num_tasks} x {counted(suite.num_states, 'trial')}, steps: "
            + ", ".join(f"{steps} ({who})" for who, steps in suite.budgets.items())
            for suite in SUITES.values()
            if suite.package == package
        ]
    return "\n".join(lines)
