"""`wav suite`: install other people's benchmarks, each into a virtual environment of its own."""

from __future__ import annotations

import sys

from wav_models.configuration import did_you_mean

USAGE = "usage: wav suite list | wav suite install NAME"


def main(argv: list[str]) -> int:
    """Entry point of `wav suite`."""
    from wav_policy.experiments.suites.catalogue import PACKAGES
    from wav_policy.experiments.suites.installation import SuiteError, install

    if argv == ["list"] or {"-h", "--help"} & set(argv):
        print(listing() if argv == ["list"] else USAGE)
        return 0
    if len(argv) != 2 or argv[0] != "install":
        print(USAGE, file=sys.stderr)
        return 2
    name = argv[1]
    if name not in PACKAGES:
        print(f"wav suite: nothing to install is called {name!r}{did_you_mean(name, PACKAGES)}", file=sys.stderr)
        return 2
    try:
        print(f"{name} is installed in {install(PACKAGES[name])}")
    except (SuiteError, OSError) as error:
        print(f"wav suite: {error}", file=sys.stderr)
        return 1
    return 0


def listing() -> str:
    """Every suite with its budgets, under the package that has it."""
    from wav_policy.experiments.suites.catalogue import PACKAGES, SUITES
    from wav_policy.experiments.suites.installation import is_installed

    lines = []
    for package in PACKAGES.values():
        state = "installed" if is_installed(package) else f"`wav suite install {package.name}` ({package.size})"
        lines.append(f"{package.name}: {state}")
        lines += [
            f"  {suite.name:24} {suite.num_tasks} x {suite.num_states} trials, steps: "
            + ", ".join(f"{steps} ({who})" for who, steps in suite.budgets.items())
            for suite in SUITES.values()
            if suite.package == package
        ]
    return "\n".join(lines)
