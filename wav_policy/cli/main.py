"""The command `wav`: finds the command that is meant, imports it only then, and ends as it ends."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from importlib.metadata import version
from typing import NamedTuple

from wav_models.configuration import did_you_mean
from wav_models.endings import OK, WRONG_USE, ended
from wav_models.signals import interrupt_on_end
from wav_policy.cli.json_output import with_json_target

PROGRAM = "wav"
POWER_SWITCH = "NOT CONFIRMED. If the arms must not move, use the power switch"
_RECORDED = "every finished episode is kept, the same command goes on"
_KEPT = "finished trials are kept with --json FILE, --resume goes on"


class Command(NamedTuple):
    """One command.

    Attributes:
        target: its `main(argv) -> exit code`, as module:function.
        summary: its line in the help.
        until_stopped: it runs until a signal ends it.
        interrupted: what there is to know when a signal has ended it.
    """

    target: str
    summary: str
    until_stopped: bool = False
    interrupted: str = ""


def _operation(name: str, summary: str) -> Command:
    return Command(f"wav_policy.cli.operate:{name}", summary, interrupted=POWER_SWITCH)


COMMANDS = {
    "demo": Command("wav_policy.cli.demo:main", "Let the trained policy work on a task in the simulation.", True),
    "up": Command("wav_policy.cli.up:main", "Start the nodes: wav up sim:=true (as the launch file does).", True),
    "serve": Command("wav_policy.cli.serve:main", "Serve the policy to clients of openpi's websocket protocol.", True),
    "stop": _operation("stop", "Emergency stop of both arms of the running system."),
    "hold": _operation("hold", "Let both arms brake and hold where they are; nobody leads them on."),
    "home": _operation("home", "Move both arms slowly to the pose over the table; nobody leads them on."),
    "start": _operation("start", "Motors on, and let the policy (or the teleoperation) lead the arms."),
    "enable": _operation("enable", "Motors on; whoever still leads the arms goes on."),
    "reset": _operation("reset", "Clear an emergency stop; the arms fall."),
    "replay": Command(
        "wav_policy.cli.replay:main", "Look at a recorded episode, and at what the policy imagines.", True
    ),
    "record": Command(
        "wav_policy.cli.record:main", "Record teleoperated episodes in the LeRobot v3.0 layout.", interrupted=_RECORDED
    ),
    "demonstrate": Command(
        "wav_policy.cli.demonstrate:main",
        "Record the scripted operator in the simulator, faster than real time.",
        interrupted=_RECORDED,
    ),
    "label": Command(
        "wav_policy.cli.label:main",
        "Write the rewards of Table 2 into a dataset.",
        interrupted="what was labelled is kept, the same command goes on",
    ),
    "dataset check": Command("wav_policy.cli.dataset_check:main", "What is wrong with a dataset; 1 if anything is."),
    "dataset convert": Command(
        "wav_policy.cli.dataset_convert:main", "Take over a rosbag2 recording, or another lab's dataset."
    ),
    "dataset show": Command("wav_policy.cli.dataset_show:main", "Draw an episode: cameras, joints, rewards."),
    "train": Command("wav_models.training.command:main", "Train the auto-encoder and the three stages of the model."),
    "checkpoint copy": Command("wav_policy.cli.checkpoint:copy", "Copy one, verified; also to and from the Hub."),
    "export": Command("wav_policy.cli.export:main", "Write a checkpoint as compiled graphs, and verify them."),
    "evaluate": Command(
        "wav_policy.cli.evaluate:main", "Success rate of a checkpoint in closed loop.", interrupted=_KEPT
    ),
    "suite list": Command("wav_policy.cli.suite:list_suites", "Other people's benchmarks, such as LIBERO."),
    "suite install": Command("wav_policy.cli.suite:install_suite", "Install one, apart from everything else."),
    "report": Command("wav_policy.cli.report:main", "The paper's figures from a checkpoint, and one page of them."),
    "bench planner": Command("wav_policy.cli.bench:planner", "Time plans of a model with random weights."),
    "bench cost": Command("wav_policy.cli.bench:cost", "Count operations and bytes of plans, or of training."),
    "bench latency": Command("wav_policy.cli.bench_latency:main", "From camera images to a chunk, stage by stage."),
    "bench hops": Command("wav_policy.cli.bench:hops", "From a camera's picture to a CAN frame, in what runs."),
    "bench cameras": Command("wav_policy.cli.bench:cameras", "What three cameras cost policy and recorder."),
    "bench splices": Command("wav_policy.cli.bench_continuation:main", "Ways to continue a chunk with the next."),
    "arm": Command(
        "wav_policy.cli.arm:main",
        "Look at one arm, find its adapter, mend what its flash holds.",
        interrupted="nothing more was sent; `wav arm show` says what the arm holds",
    ),
    "doctor": Command("wav_policy.cli.doctor:main", "Check this installation."),
}


def usage(group: str = "") -> str:
    """Help text: one line per command, or per command of a group."""
    shown = {name: command for name, command in COMMANDS.items() if name.startswith(group)}
    width = max(map(len, shown))
    lines = "\n".join(f"  {name:<{width}}  {command.summary}" for name, command in shown.items())
    ends = f"`{PROGRAM} COMMAND --help` describes one; `{PROGRAM} --version` prints the version."
    return f"usage: {PROGRAM} {group}COMMAND ...\n\n{lines}\n\n{ends}"


def main(argv: list[str] | None = None) -> int:
    """Run a command; as a process, every signal that asks it to end is a Ctrl-C."""
    arguments = sys.argv[1:] if argv is None else argv
    if argv is None:
        interrupt_on_end()
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return OK
    if arguments[0] in ("-V", "--version"):
        print(f"{PROGRAM} {version('wav-policy')}")
        return OK
    name, *rest = arguments
    valid: Iterable[str] = COMMANDS
    if group := [command for command in COMMANDS if command.startswith(f"{name} ")]:
        if not rest or rest[0] in ("-h", "--help"):
            print(usage(f"{name} "))
            return OK if rest else WRONG_USE
        name, rest, valid = f"{name} {rest[0]}", rest[1:], group
    if name not in COMMANDS:
        print(f"{PROGRAM}: unknown command {name!r}{did_you_mean(name, valid)}", file=sys.stderr)
        return WRONG_USE
    command = COMMANDS[name]
    module, function = command.target.split(":")
    return ended(
        f"{PROGRAM} {name}",
        lambda: getattr(importlib.import_module(module), function)(with_json_target(rest)),
        until_stopped=command.until_stopped,
        interrupted=command.interrupted,
    )
