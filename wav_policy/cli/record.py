"""`wav record`: teleoperated episodes from the running robot (or simulation), by keyboard."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wav_models.command_line import Flag, parsed
from wav_models.configuration import Count, Positive
from wav_models.progress import progress
from wav_policy.bringup.arguments import (
    DEFAULT_DATASET,
    RECORDING,
    LaunchArgumentError,
    normalized_namespace,
    parse,
    split_assignments,
)
from wav_policy.bringup.discovery import limit_to_this_host
from wav_policy.bringup.node_table import launches
from wav_policy.cli.operator_answer import is_asked_at_terminal
from wav_policy.cli.options import refuse_idle

if TYPE_CHECKING:
    from wav_policy.bringup.supervisor import Supervisor

_DEMONSTRATING: Final = frozenset(("--sim", "--suite", "--dry-run"))
"""Options of `wav demonstrate`, which was a part of this command."""
LOG = "record.log"
"""What the nodes say while the screen belongs to the keyboard; in the run-time directory."""


@dataclass(frozen=True)
class RecordArguments:
    """Record teleoperated episodes: starts the nodes of record.launch.py and takes keys.

    Launch arguments may follow as name:=value, for example sim:=true task:=bowl can_leader_left:=can2
    (`wav up --help` lists them). `wav demonstrate` makes simulated demonstrations without ROS, faster than real time.
    """

    out: Path | None = None
    """Dataset directory, `recordings` by default; created when missing, continued when not."""
    attach: Flag = False
    """Start no nodes: steer a recorder that runs already (`wav up record:=true`, record.launch.py); with its
    namespace:=NAME where it has one."""
    instruction: str = ""
    """Command in words; empty: the task's own (simulation), or what the topic `instruction` says."""
    episodes: Count = 0
    """End after so many episodes; 0: when you quit."""
    unattended: Flag = False
    """In the simulation: the scripted operator records --episodes episodes by itself, one layout each."""
    seed: Count = 0
    """First layout with --unattended; every episode takes the next."""
    time_limit: Positive = 60.0
    """With --unattended, an episode without success ends and is marked as failed after this time [s]."""


def main(argv: list[str]) -> int:
    """Exit code 0 when the user quits, 1 when something failed or an unattended episode is missing."""
    if not _DEMONSTRATING.isdisjoint(token.split("=")[0] for token in argv):
        from wav_policy.cli.demonstrate import main as demonstrate

        print("wav record: demonstrations of the scripted operator are `wav demonstrate`", file=sys.stderr, flush=True)
        return demonstrate([token for token in argv if token != "--sim"])
    assignments = [token for token in argv if ":=" in token and not token.startswith("-")]
    arguments = parsed(RecordArguments, "wav record", [token for token in argv if token not in assignments])
    launch_arguments = split_assignments(assignments)
    _check(arguments, launch_arguments)
    limit_to_this_host()
    with _nodes(arguments, launch_arguments) as supervisor:
        return _steer(arguments, supervisor, normalized_namespace(launch_arguments.get("namespace", "")))


def _check(arguments: RecordArguments, launch_arguments: dict[str, str]) -> None:
    if arguments.attach and (useless := set(launch_arguments) - {"namespace"}):
        raise LaunchArgumentError(f"--attach starts nothing, so {min(useless)}:= has no use")
    normalized_namespace(launch_arguments.get("namespace", ""))
    if arguments.attach and arguments.out is not None:
        raise LaunchArgumentError("--attach starts nothing, so --out has no use: the recorder has its dataset")
    for name in (*RECORDING, "dataset", "instruction"):
        if name in launch_arguments:
            raise LaunchArgumentError(f"{name}:= is decided here; use --out and --instruction")
    if not arguments.unattended:
        refuse_idle(arguments, ("seed", "time_limit"), "wav record without --unattended")
    if arguments.unattended and arguments.episodes < 1:
        raise LaunchArgumentError("--unattended needs the number of --episodes")
    if arguments.unattended and not arguments.attach and launch_arguments.get("sim") != "true":
        raise LaunchArgumentError("--unattended is for the simulation: add sim:=true")
    if not arguments.unattended and not is_asked_at_terminal():
        raise LaunchArgumentError("standard input is no terminal: use --unattended, or the services recorder/start ...")


@contextlib.contextmanager
def _nodes(arguments: RecordArguments, launch_arguments: dict[str, str]) -> Iterator[Supervisor | None]:
    """The nodes of record.launch.py, unless they run already."""
    if arguments.attach:
        yield None
        return
    from wav_policy.bringup.paths import open_log, runtime_directory
    from wav_policy.bringup.supervisor import Supervisor

    out = str(arguments.out or DEFAULT_DATASET)
    chosen = {**launch_arguments, **RECORDING, "dataset": out, "instruction": arguments.instruction}
    namespace = normalized_namespace(launch_arguments.get("namespace", ""))
    nodes = launches(parse(chosen))
    with open_log(LOG, namespace) as stream, Supervisor(lambda line: print(line, file=stream)) as supervisor:
        print(f"starting; the nodes write to {runtime_directory(namespace) / LOG}")
        supervisor.start(nodes)
        yield supervisor


def _steer(arguments: RecordArguments, supervisor: Supervisor | None, namespace: str) -> int:
    from wav_policy.cli.record_sessions import KeyboardSession, UnattendedSession
    from wav_policy.nodes.clients.recorder_client import RecorderClient

    def ended() -> str:
        found = supervisor.poll() if supervisor else None
        return str(found) if found else ""

    with contextlib.closing(RecorderClient(ended, namespace)) as client:
        with progress("waiting for the recorder"):
            client.await_recorder()
        if arguments.attach and arguments.instruction:
            client.publish_instruction(arguments.instruction)
        if arguments.unattended:
            session = UnattendedSession(client, arguments.seed, arguments.time_limit)
            return session.run(arguments.episodes)
        return KeyboardSession(client).run(arguments.episodes)
