"""The command `wav`: finds the sub-command and hands over. Sub-commands are imported only when called."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import version
from typing import NamedTuple

from wav_models.configuration import did_you_mean
from wav_models.signals import interrupt_on_end

PROGRAM = "wav"
INTERRUPTED = 130
"""Exit code of a command that a signal has ended, unless it says another."""


class SubCommand(NamedTuple):
    """Where a sub-command's `main(argv) -> exit code` is, and its line in the help."""

    target: str
    summary: str


SUB_COMMANDS = {
    "demo": SubCommand("wav_policy.cli.demo:main", "Let the trained policy work on a task in the simulation."),
    "up": SubCommand("wav_policy.cli.up:main", "Start the nodes: wav up sim:=true (as the launch file does)."),
    "serve": SubCommand("wav_policy.cli.serve:main", "Serve the policy to clients of openpi's websocket protocol."),
    "stop": SubCommand("wav_policy.cli.operate:stop", "Emergency stop of both arms of the running system."),
    "hold": SubCommand("wav_policy.cli.operate:hold", "Let both arms brake and hold where they are."),
    "home": SubCommand("wav_policy.cli.operate:home", "Move both arms slowly to the pose over the table."),
    "enable": SubCommand("wav_policy.cli.operate:enable", "Motors on, holding."),
    "reset": SubCommand("wav_policy.cli.operate:reset", "Clear an emergency stop; the arms fall."),
    "replay": SubCommand("wav_policy.cli.replay:main", "Look at a recorded episode, and at what the policy imagines."),
    "record": SubCommand("wav_policy.cli.record:main", "Record episodes in the LeRobot v3.0 layout."),
    "label": SubCommand("wav_policy.cli.label:main", "Write the rewards of Table 2 into a dataset."),
    "dataset": SubCommand("wav_policy.cli.dataset:main", "Check and describe a dataset."),
    "train": SubCommand("wav_policy.cli.train:main", "Train the auto-encoder and the three stages of the model."),
    "checkpoint": SubCommand(
        "wav_policy.cli.checkpoint:main", "Copy a checkpoint, verified; also to and from the Hub."
    ),
    "export": SubCommand("wav_policy.cli.export:main", "Write a checkpoint as compiled graphs, and verify them."),
    "evaluate": SubCommand("wav_policy.cli.evaluate:main", "Success rate of a checkpoint in closed loop."),
    "suite": SubCommand("wav_policy.cli.suite:main", "Install other people's benchmarks, such as LIBERO."),
    "report": SubCommand("wav_policy.cli.report:main", "The paper's figures from a checkpoint, and one page of them."),
    "bench": SubCommand("wav_policy.cli.bench:main", "What a plan costs: measured here, or counted from the shapes."),
    "arm": SubCommand("wav_policy.cli.arm:main", "Look at one arm, find its adapter, mend what its flash holds."),
    "doctor": SubCommand("wav_policy.cli.doctor:main", "Check this installation."),
}


def usage() -> str:
    """Help text: one line per sub-command."""
    width = max(map(len, SUB_COMMANDS))
    lines = (f"  {name:<{width}}  {command.summary}" for name, command in SUB_COMMANDS.items())
    ends = f"`{PROGRAM} COMMAND --help` describes one; `{PROGRAM} --version` prints the version."
    return f"usage: {PROGRAM} COMMAND ...\n\n" + "\n".join(lines) + f"\n\n{ends}"


def main(argv: list[str] | None = None) -> int:
    """Run a sub-command; exit code 2 for an unknown one. As a process, every signal that asks it to end is a Ctrl-C."""
    arguments = sys.argv[1:] if argv is None else argv
    if argv is None:
        interrupt_on_end()
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if arguments[0] in ("-V", "--version"):
        print(f"{PROGRAM} {version('wav-policy')}")
        return 0
    name, *rest = arguments
    if name not in SUB_COMMANDS:
        print(f"{PROGRAM}: unknown command {name!r}{did_you_mean(name, SUB_COMMANDS)}", file=sys.stderr)
        return 2
    module, function = SUB_COMMANDS[name].target.split(":")
    try:
        return int(getattr(importlib.import_module(module), function)(rest))
    except KeyboardInterrupt:
        print(f"{PROGRAM} {name}: interrupted", file=sys.stderr)
        return INTERRUPTED
