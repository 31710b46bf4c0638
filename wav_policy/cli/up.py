"""`wav up name:=value ...`: the node table of the launch file, for machines without the `launch` package."""

from __future__ import annotations

import sys
import time

from wav_models.endings import FAILED, OK, WRONG_USE
from wav_policy.bringup.arguments import ARGUMENTS, parse, split_assignments
from wav_policy.bringup.discovery import limit_to_this_host
from wav_policy.bringup.node_table import launches
from wav_policy.bringup.supervisor import Supervisor

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
    """Until a signal ends it; exit code 1 when a node has ended by itself, 2 when it refused its parameters."""
    if any(token in ("-h", "--help") for token in argv):
        print(usage())
        return OK
    arguments = parse(split_assignments(argv))
    nodes = launches(arguments)
    if arguments.monitor:
        from wav_policy.monitor.server import Address

        Address.choose(arguments.monitor_host, arguments.monitor_port).require_free()
    limit_to_this_host()
    with Supervisor(write=lambda line: print(line, flush=True)) as supervisor:
        supervisor.start(nodes)
        while (ended := supervisor.poll()) is None:
            time.sleep(_POLL_PERIOD)
        print(f"wav up: {ended}; stopping the others", file=sys.stderr)
        return WRONG_USE if ended.returncode == WRONG_USE else FAILED
