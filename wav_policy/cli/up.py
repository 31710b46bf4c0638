"""`wav up name:=value ...`: the node table of the launch file, for machines without the `launch` package."""

from __future__ import annotations

import sys
import time

from wav_models.signals import ignore_ends
from wav_policy.bringup.arguments import ARGUMENTS, LaunchArgumentError, parse, split_assignments
from wav_policy.bringup.discovery import limit_to_this_host
from wav_policy.bringup.executables import ExecutableError
from wav_policy.bringup.node_table import launches
from wav_policy.bringup.paths import DataFileError
from wav_policy.bringup.supervisor import Supervisor
from wav_policy.bringup.system_lock import AlreadyRunningError

_POLL_PERIOD = 0.02
"""A dead node is noticed after so long [s]: the arms must hold then."""


def usage() -> str:
    """Help text: every launch argument with its default and choices."""
    lines = []
    for argument in ARGUMENTS:
        choices = f" [{' | '.join(argument.choices)}]" if argument.choices else ""
        lines.append(f"  {argument.name + ':=' + argument.default:<40}  {argument.description}{choices}")
    return "usage: wav up [name:=value ...]\n\n" + "\n".join(lines)


def main(argv: list[str]) -> int:
    """Exit code 0 after a signal that asks it to end, 1 when a node ended by itself, 2 for wrong arguments."""
    if any(token in ("-h", "--help") for token in argv):
        print(usage())
        return 0
    try:
        nodes = launches(parse(split_assignments(argv)))
    except (LaunchArgumentError, DataFileError) as error:
        print(f"wav up: {error}", file=sys.stderr)
        return 2
    limit_to_this_host()
    supervisor = Supervisor(write=lambda line: print(line, flush=True))
    try:
        supervisor.start(nodes)
        while (ended := supervisor.poll()) is None:
            time.sleep(_POLL_PERIOD)
        print(f"wav up: {ended}; stopping the others", file=sys.stderr)
        return 1
    except (AlreadyRunningError, ExecutableError) as error:
        print(f"wav up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("wav up: stopping", file=sys.stderr)
        return 0
    finally:
        ignore_ends()
        supervisor.stop()
