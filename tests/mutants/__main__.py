"""`python -m tests.mutants`: break the code one line at a time; fail where no test notices.

Ends with 0 if every mutant was killed, with 1 if one survived or could not be tried, with 2 if one does not fit the
source.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time

from tests.mutants.mutant import MutantError
from tests.mutants.runner import Verdict, run_mutants
from tests.mutants.table import FAST, MUTANTS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="parts of names; all mutants if none are given")
    parser.add_argument(
        "--fast", action="store_true", help="one of each kind, as `make test`, which runs the tests anyway"
    )
    parser.add_argument("--list", action="store_true", help="print the names, run nothing")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants at a time")
    options = parser.parse_args()
    chosen = [m for m in MUTANTS if not options.names or any(part in m.name for part in options.names)]
    if options.fast:
        chosen = [m for m in chosen if m.name in FAST]
    if not chosen:
        parser.error(f"no mutant is named like {options.names}; --list prints the names")
    if options.list:
        print(*(m.name for m in chosen), sep="\n")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # copies of the tree are removed
    began, left = time.monotonic(), []
    try:
        for outcome in run_mutants(chosen, min(options.jobs, len(chosen)), tests_first=not options.fast):
            print(
                f"{outcome.verdict.value:9} {outcome.mutant.name:52} {outcome.seconds:5.1f} s  {outcome.detail[:120]}",
                flush=True,
            )
            if outcome.verdict is not Verdict.KILLED:
                left.append(outcome)
    except MutantError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{len(chosen) - len(left)} of {len(chosen)} mutants killed in {time.monotonic() - began:.0f} s")
    for outcome in left:
        print(f"{outcome.verdict.value}: {outcome.mutant.name} in {outcome.mutant.file}: {outcome.detail}")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
