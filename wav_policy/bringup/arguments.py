"""Launch arguments: names, defaults, descriptions, and `name:=value` strings to typed values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from wav_models import project_files
from wav_models.configuration import ConfigurationError, Range, did_you_mean, from_texts, load, with_assignments
from wav_models.engines.names import AUTO, ENGINES
from wav_policy.bringup import paths
from wav_policy.policy.remote.address import check_address
from wav_policy.sim.tasks import TASKS

BOOL_CHOICES = ("true", "false")
LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")
DEFAULT_CHECKPOINT = "checkpoints/wav-tiny"
"""Trained in the simulation: it is the default there only."""
DEFAULT_DATASET = "recordings"

_OF_OTHERS = {"sim": ("task",), "record": ("dataset",), "monitor": ("monitor_host", "monitor_port")}
"""Arguments that mean something beside another one only."""

CHANNELS = ("can_left", "can_right", "can_leader_left", "can_leader_right")
MAX_NAMESPACE = 100
"""Characters: of names of files and topics, 255 is all that a system takes."""


class LaunchArgumentError(ValueError):
    """A launch argument is unknown or its value does not fit; the message names the valid ones."""


@dataclass(frozen=True)
class LaunchArgument:
    """One `name:=value`; values outside `choices` (where given) are refused."""

    name: str
    default: str
    description: str
    choices: tuple[str, ...] | None = None


ARGUMENTS = (
    LaunchArgument("sim", "false", "MuJoCo in place of arms and cameras.", BOOL_CHOICES),
    LaunchArgument(
        "checkpoint", AUTO, f"Checkpoint directory of the policy; auto: {DEFAULT_CHECKPOINT} with sim, else refused."
    ),
    LaunchArgument("policy", "", "ws://HOST:PORT of a policy server in place of the checkpoint (docs/remote.md)."),
    LaunchArgument("policy_mapping", "", "YAML with that server's views, joints and rates; empty: it says them."),
    LaunchArgument("engine", AUTO, "What runs the networks.", ENGINES),
    LaunchArgument(
        "planner",
        "",
        'Parameters of the planner in place of the checkpoint\'s: "num_iterations=0 num_value_samples=2".',
    ),
    LaunchArgument("instruction", "", "Command in words; empty: the task's own (sim) or the topic `instruction`."),
    LaunchArgument("task", "bowl", "Task of the simulation.", TASKS),
    LaunchArgument("teleop", "false", "The leader arms command the robot, not the policy.", BOOL_CHOICES),
    LaunchArgument("record", "false", "Start the recorder (services recorder/start, recorder/stop ...).", BOOL_CHOICES),
    LaunchArgument("dataset", DEFAULT_DATASET, "Directory that episodes are recorded to; continued if it exists."),
    LaunchArgument("rviz", "false", "Start RViz (needs a full ROS 2 installation).", BOOL_CHOICES),
    LaunchArgument("monitor", "false", "Serve the page that shows and steers the robot in a browser.", BOOL_CHOICES),
    LaunchArgument("monitor_host", "127.0.0.1", "Address the page is served on; beyond this host it asks for a token."),
    LaunchArgument("monitor_port", "8080", "Port of the page."),
    LaunchArgument(
        "arms",
        AUTO,
        "left, right: that arm alone, the other in repair; auto: as config/piper.yaml says.",
        (AUTO, "both", "left", "right"),
    ),
    LaunchArgument(
        "can_left", AUTO, "CAN interface or serial port of the left arm; auto: can_left, or the simulated arm."
    ),
    LaunchArgument("can_right", AUTO, "The same for the right arm; auto: can_right, or the simulated arm."),
    LaunchArgument("can_leader_left", AUTO, "CAN interface or serial port of the left leader arm (teleop)."),
    LaunchArgument("can_leader_right", AUTO, "The same for the right leader arm."),
    LaunchArgument("can_interface", AUTO, "auto: slcan with sim, else socketcan.", (AUTO, "socketcan", "slcan")),
    LaunchArgument("namespace", "", "Namespace of all nodes, such as robot1: two robots in one ROS domain need two."),
    LaunchArgument(
        "use_sim_time",
        "false",
        "Stamps follow the topic /clock; the arms move only while it runs at real time.",
        BOOL_CHOICES,
    ),
    LaunchArgument("params_file", "", "YAML of parameters that win over config/; what launch arguments decide stays."),
    LaunchArgument("log_level", "info", "What all nodes log: this level and what is worse.", LOG_LEVELS),
    LaunchArgument(
        "robot_description",
        "true",
        "Publish the URDF, and tf where robot_state_publisher is installed.",
        BOOL_CHOICES,
    ),
)

RECORDING = {"teleop": "true", "record": "true"}
"""What `record.launch.py` and `wav record` set: teleoperation in place of the policy, and the recorder."""


@dataclass(frozen=True)
class LaunchArguments:
    """The arguments of one start, typed, with `auto` resolved; no checkpoint under teleoperation or with `policy`."""

    sim: bool
    checkpoint: Path | None
    policy: str
    policy_mapping: str
    engine: str
    planner: str
    instruction: str
    task: str
    teleop: bool
    record: bool
    dataset: Path
    rviz: bool
    monitor: bool
    monitor_host: str
    monitor_port: Annotated[int, Range(0, 65535)]
    arms: str
    can_left: str
    can_right: str
    can_leader_left: str
    can_leader_right: str
    can_interface: str
    namespace: str
    use_sim_time: bool
    params_file: Path | None
    log_level: str
    robot_description: bool


def split_assignments(tokens: Iterable[str]) -> dict[str, str]:
    """["sim:=true", ...] -> {"sim": "true", ...}.

    Raises:
        LaunchArgumentError: a token is no `name:=value`, or a name comes twice.
    """
    assignments: dict[str, str] = {}
    for token in tokens:
        name, separator, value = token.partition(":=")
        if not separator:
            raise LaunchArgumentError(f"{token!r} is not of the form name:=value; write {_as_assignment(token)}")
        if name in assignments:
            raise LaunchArgumentError(f"{name}:= is given twice: {name}:={assignments[name]} and {token}")
        assignments[name] = value
    return assignments


def _as_assignment(token: str) -> str:
    """What somebody means who writes an option, as other commands take them (--sim, --port=8081); else an example."""
    word, _, value = token.lstrip("-").partition("=")
    name = word.replace("-", "_")
    argument = next((argument for argument in ARGUMENTS if argument.name == name), None)
    if argument is None:
        return "it like sim:=true"
    return f"{name}:={value or ('true' if argument.choices == BOOL_CHOICES else 'VALUE')}"


def parse(assignments: Mapping[str, str]) -> LaunchArguments:
    """Typed launch arguments; what is not given takes its default.

    Raises:
        LaunchArgumentError: unknown name, value outside the choices, values that exclude each other, no checkpoint for
            real arms, or a checkpoint directory that does not exist.
    """
    values = {argument.name: argument.default for argument in ARGUMENTS}
    for name, value in assignments.items():
        if name not in values:
            raise LaunchArgumentError(f"unknown launch argument {name!r}{did_you_mean(name, values)}")
        values[name] = value
    for argument in ARGUMENTS:
        if argument.choices and (given := values[argument.name]) not in argument.choices:
            raise LaunchArgumentError(f"{argument.name}:={given!r}{did_you_mean(given, argument.choices)}")
    try:
        return _resolved(values, from_texts(LaunchArguments, values, "launch arguments"))
    except ConfigurationError as error:
        raise LaunchArgumentError(str(error)) from error


def _resolved(values: dict[str, str], given: LaunchArguments) -> LaunchArguments:
    sim, teleop, interface = given.sim, given.teleop, given.can_interface
    namespace = normalized_namespace(values["namespace"])
    if sim and interface == "socketcan":
        raise LaunchArgumentError("can_interface:=socketcan excludes sim:=true: the simulated arms speak slcan")
    for name, of_it in _OF_OTHERS.items():
        if values[name] == "false":
            _refuse_without_use(values, of_it, f"{name}:=false")
    of_policy = ("checkpoint", "policy", "policy_mapping", "engine", "planner")
    _refuse_without_use(values, of_policy if teleop else CHANNELS[2:], f"teleop:={values['teleop']}")
    if given.policy:
        _refuse_without_use(values, ("checkpoint", "engine", "planner"), "policy:=...")
    else:
        _refuse_without_use(values, ("policy_mapping",), "no policy:=ws://HOST:PORT")
    if not values["dataset"].strip():
        raise LaunchArgumentError("dataset:= is empty; give a directory")
    channels = {name: _channel(values[name], name, sim, namespace) for name in CHANNELS[: 4 if teleop else 2]}
    if len(set(channels.values())) < len(channels):
        listed = ", ".join(f"{name}:={channel}" for name, channel in channels.items())
        raise LaunchArgumentError(f"every arm needs a bus of its own, a leader above all: {listed}")
    checkpoint = None if teleop or given.policy else _checkpoint(values["checkpoint"], sim)
    params_file = _params_file(values["params_file"])
    if checkpoint is not None and params_file is None:  # such a file may say other sizes of the search
        _check_planner(given.planner, checkpoint / "planner.json")
    resolved: dict[str, Any] = {name: _channel(values[name], name, sim, namespace) for name in CHANNELS}
    return replace(
        given,
        **resolved,
        checkpoint=checkpoint,
        policy=_address(given.policy),
        policy_mapping=_mapping(given.policy_mapping),
        can_interface=("slcan" if sim else "socketcan") if interface == AUTO else interface,
        namespace=namespace,
        params_file=params_file,
    )


def normalized_namespace(text: str) -> str:
    """As ROS writes it, "/robot1"; "" for the root.

    Raises:
        LaunchArgumentError: no namespace.
    """
    names = text.strip("/")
    if len(names) > MAX_NAMESPACE:
        raise LaunchArgumentError(f"namespace:={names[:20]}... has {len(names)} characters; {MAX_NAMESPACE} fit")
    if names and not re.fullmatch(r"[A-Za-z_]\w*(/[A-Za-z_]\w*)*", names, re.ASCII):
        raise LaunchArgumentError(
            f"namespace:={text} is none: letters, digits and underscores, no digit first, for example namespace:=robot1"
        )
    return f"/{names}" if names else ""


def _check_planner(settings: str, stored: Path) -> None:
    """ConfigurationError for parameters that do not fit the planner stored with a checkpoint, if one is."""
    from wav_models.planner.config import PlannerConfig

    planner = load(PlannerConfig, stored) if stored.is_file() else PlannerConfig()
    with_assignments(planner, settings.split(), "planner")


def _params_file(value: str) -> Path | None:
    if not value:
        return None
    file = Path(value).expanduser().absolute()
    if not file.is_file():
        raise LaunchArgumentError(f"params_file:={value}: {file} does not exist")
    return file


def _refuse_without_use(values: dict[str, str], names: tuple[str, ...], other: str) -> None:
    """LaunchArgumentError for a value that nothing would look at."""
    defaults = {argument.name: argument.default for argument in ARGUMENTS}
    for name in names:
        if values[name] != defaults[name]:
            raise LaunchArgumentError(f"{name}:={values[name]} has no use with {other}")


def _channel(value: str, name: str, sim: bool, namespace: str) -> str:
    if not value.strip():
        raise LaunchArgumentError(f"{name}:= is empty; give a CAN interface or a serial port")
    if value != AUTO:
        return value
    return str(paths.runtime_directory(namespace) / name) if sim else name


def _address(value: str) -> str:
    try:
        return check_address(value) if value else ""
    except ValueError as error:
        raise LaunchArgumentError(f"policy:={error}") from None


def _mapping(value: str) -> str:
    if not value:
        return ""
    if not (file := project_files.resolve(value)).is_file():
        raise LaunchArgumentError(f"policy_mapping:={value}: there is no such file; config/remote_openpi.yaml is one")
    return str(file)


def _checkpoint(value: str, sim: bool) -> Path:
    if value == AUTO and not sim:
        raise LaunchArgumentError(
            "no checkpoint is named, and the shipped one was trained in the simulation: give checkpoint:=DIR, "
            "trained on recordings of these arms; or sim:=true"
        )
    value = DEFAULT_CHECKPOINT if value == AUTO else value
    try:
        return paths.find_checkpoint(value)
    except ConfigurationError as error:
        raise LaunchArgumentError(f"checkpoint:={value}: {error}") from None
