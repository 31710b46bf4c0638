"""The nodes of the system: the one place that `wav up` and `launch/piper_bimanual.launch.py` both read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wav_models import project_files
from wav_models.configuration import ConfigurationError
from wav_models.engines.names import AUTO
from wav_policy.bringup import paths
from wav_policy.bringup.access import enclave_arguments
from wav_policy.bringup.arguments import LaunchArgumentError, LaunchArguments
from wav_policy.bringup.node_parameters import (
    DiagnosticMarkersConfig,
    ManagerConfig,
    MonitorConfig,
    PiperNodeConfig,
    PolicyNodeConfig,
    RecorderNodeConfig,
    SimConfig,
    TeleopNodeConfig,
)
from wav_policy.bringup.parameter_files import check_parameters, names_of_sections, section

Parameters = dict[str, Any]

SIMULATED_CONTROL_RATE = 100.0
"""The simulated arms report at 100 Hz; commanding them faster only costs processor time [Hz]."""

_STATE_PUBLISHER = "robot_state_publisher"

_OWN_TF = (("/tf", "tf"), ("/tf_static", "tf_static"))
"""A robot in a namespace has a tree of its own, whose frames need no prefix, as nav2 has it."""

_STOP_TIME = 12.0
"""What a node may take to end [s]."""


@dataclass(frozen=True)
class NodeEntry:
    """One row of the table.

    Attributes:
        executable: module under `wav_policy.nodes` and executable in `lib/wav_policy`; also the node's name.
        configuration: what its parameters are; None for a node that is not ours.
        parameter_files: files under `config/`, later ones win.
        parameters: what the launch arguments decide; wins over the files.
        remappings: (from, to) topic and service names.
        arguments: further arguments on the command line.
        condition: whether the arguments ask for the node.
        lifecycle: managed: `lifecycle_manager` configures and activates it, in the table's order.
        ready_service: exists once the others may rely on the node; managed nodes are not configured before.
        package: the ROS package that has the executable.
        niceness: above 0 leaves the processor to the others first: the control loop must not wait for a plan.
        stop_time: what it may take to end once it is told to; then `wav up` kills it [s].
    """

    executable: str
    configuration: type | None = None
    parameter_files: tuple[str, ...] = ()
    parameters: Callable[[LaunchArguments], Parameters] = lambda arguments: {}
    remappings: tuple[tuple[str, str], ...] = ()
    arguments: Callable[[], tuple[str, ...]] = lambda: ()
    condition: Callable[[LaunchArguments], bool] = lambda arguments: True
    lifecycle: bool = False
    ready_service: str = ""
    package: str = paths.PACKAGE
    niceness: int = 0
    stop_time: float = _STOP_TIME


@dataclass(frozen=True)
class NodeLaunch:
    """A row with the launch arguments filled in: what to start."""

    package: str
    executable: str
    name: str
    lifecycle: bool
    parameter_files: tuple[Path, ...] = ()
    parameters: Parameters = field(default_factory=dict)
    remappings: tuple[tuple[str, str], ...] = ()
    arguments: tuple[str, ...] = ()
    niceness: int = 0
    stop_time: float = _STOP_TIME
    namespace: str = ""
    log_level: str = "info"

    @property
    def ros_arguments(self) -> list[str]:
        """Further arguments behind --ros-args."""
        level = ["--log-level", self.log_level] if self.log_level != "info" else []
        return [*enclave_arguments(self.name), *level]

    @property
    def prefix(self) -> tuple[str, ...]:
        """What goes before the executable on its command line."""
        return ("nice", "-n", str(self.niceness)) if self.niceness else ()


def _sim_parameters(arguments: LaunchArguments) -> Parameters:
    return {
        "task": arguments.task,
        "can_left": arguments.can_left,
        "can_right": arguments.can_right,
        "publish_instruction": not arguments.instruction,
        "can_leader_left": arguments.can_leader_left if arguments.teleop else "",
        "can_leader_right": arguments.can_leader_right if arguments.teleop else "",
    }


def _piper_parameters(arguments: LaunchArguments) -> Parameters:
    parameters = {
        "can_left": arguments.can_left,
        "can_right": arguments.can_right,
        "can_interface": arguments.can_interface,
        **_arms(arguments),
        "publish_description": arguments.robot_description and not _state_publisher(arguments),
    }
    return {**parameters, "control_rate": SIMULATED_CONTROL_RATE} if arguments.sim else parameters


def _arms(arguments: LaunchArguments) -> Parameters:
    """Nothing where nobody chose: an arm that a parameter file leaves out must not be powered by a default."""
    return {} if arguments.arms == AUTO else {"arms": arguments.arms}


def _policy_parameters(arguments: LaunchArguments) -> Parameters:
    plans: Parameters = (
        {"policy": arguments.policy, "policy_mapping": arguments.policy_mapping}
        if arguments.policy
        else {"checkpoint": str(arguments.checkpoint), "engine": arguments.engine}
    )
    planner: Parameters = {"planner": arguments.planner} if arguments.planner else {}
    return {**plans, **planner, "instruction": arguments.instruction}


def _teleop_parameters(arguments: LaunchArguments) -> Parameters:
    return {
        "can_left": arguments.can_leader_left,
        "can_right": arguments.can_leader_right,
        "can_interface": arguments.can_interface,
        **_arms(arguments),
    }


def _recorder_parameters(arguments: LaunchArguments) -> Parameters:
    return {
        "dataset": str(arguments.dataset),
        "action_source": "leader" if arguments.teleop else "target",
        "instruction": arguments.instruction,
    }


def _monitor_parameters(arguments: LaunchArguments) -> Parameters:
    return {"host": arguments.monitor_host, "port": arguments.monitor_port}


def _state_publisher(arguments: LaunchArguments) -> bool:
    """Whether robot_state_publisher runs; RViz cannot do without."""
    installed = arguments.robot_description and paths.is_installed(_STATE_PUBLISHER, _STATE_PUBLISHER)
    return arguments.rviz or installed


def _robot_description(arguments: LaunchArguments) -> Parameters:
    from wav_policy.robot.urdf import robot_urdf

    return {"robot_description": robot_urdf()}


NODES = (
    NodeEntry(
        "sim_node",
        SimConfig,
        parameter_files=("sim.yaml",),
        parameters=_sim_parameters,
        condition=lambda arguments: arguments.sim,
        ready_service="sim/reset",
    ),
    NodeEntry(
        "recorder_node",
        RecorderNodeConfig,
        parameter_files=("recorder.yaml",),
        parameters=_recorder_parameters,
        condition=lambda arguments: arguments.record,
    ),
    NodeEntry(
        "monitor",
        MonitorConfig,
        parameter_files=("monitor.yaml",),
        parameters=_monitor_parameters,
        condition=lambda arguments: arguments.monitor,
        niceness=10,
    ),
    NodeEntry(
        _STATE_PUBLISHER,
        parameters=_robot_description,
        remappings=_OWN_TF,
        condition=_state_publisher,
        package=_STATE_PUBLISHER,
    ),
    NodeEntry("diagnostic_markers", DiagnosticMarkersConfig, condition=lambda arguments: arguments.rviz, niceness=10),
    NodeEntry(
        "rviz2",
        arguments=lambda: ("-d", str(project_files.find("config/wav.rviz"))),
        remappings=_OWN_TF,
        condition=lambda arguments: arguments.rviz,
        package="rviz2",
    ),
    NodeEntry(
        "piper_node",
        PiperNodeConfig,
        parameter_files=("piper.yaml", "safety.yaml"),
        parameters=_piper_parameters,
        lifecycle=True,
    ),
    NodeEntry(
        "policy_node",
        PolicyNodeConfig,
        parameter_files=("policy.yaml", "cameras.yaml"),
        parameters=_policy_parameters,
        condition=lambda arguments: not arguments.teleop,
        lifecycle=True,
        niceness=5,
    ),
    NodeEntry(
        "teleop_node",
        TeleopNodeConfig,
        parameter_files=("teleop.yaml",),
        parameters=_teleop_parameters,
        condition=lambda arguments: arguments.teleop,
        lifecycle=True,
    ),
)
"""In the order of starting and activation; stopping goes backwards: what moves the arms first, then who watches."""

LIFECYCLE_MANAGER = NodeEntry("lifecycle_manager", ManagerConfig, parameter_files=("bringup.yaml",), stop_time=50.0)
"""Ends when all is down: after the `stop_timeout` of a node that hangs, and after the longest park."""


def launches(arguments: LaunchArguments) -> tuple[NodeLaunch, ...]:
    """What to start for these arguments, in order; the lifecycle manager of the managed nodes comes last.

    Raises:
        LaunchArgumentError: `params_file` cannot be read, or is for none of the nodes.
        ParameterError: a node would refuse its parameters.
    """
    entries = [entry for entry in NODES if entry.condition(arguments)]
    manager = _fill_in(LIFECYCLE_MANAGER, arguments)
    manager.parameters["node_names"] = [entry.executable for entry in entries if entry.lifecycle]
    if services := [entry.ready_service for entry in entries if entry.ready_service]:
        manager.parameters["ready_services"] = services
    nodes = (*(_fill_in(entry, arguments) for entry in entries), manager)
    if (file := arguments.params_file) is not None and not any(file in node.parameter_files for node in nodes):
        names = ", ".join(f"{node.namespace}/{node.name}" for node in nodes)
        found = ", ".join(names_of_sections(file))
        fault = f"its sections are for {found}" if found else "it has no section `NAME: {ros__parameters: {...}}`"
        raise LaunchArgumentError(f"params_file:={file}: {fault}; name '/**' or one of: {names}")
    for entry, node in zip((*entries, LIFECYCLE_MANAGER), nodes, strict=True):
        if entry.configuration is not None:
            name = f"{node.namespace}/{node.name}"
            check_parameters(entry.configuration, name, node.parameter_files, node.parameters)
    return nodes


def _fill_in(entry: NodeEntry, arguments: LaunchArguments) -> NodeLaunch:
    files = [project_files.find(f"config/{name}") for name in entry.parameter_files]
    if (given := arguments.params_file) is not None and _applies(given, f"{arguments.namespace}/{entry.executable}"):
        files.append(given)
    clock = {"use_sim_time": True} if arguments.use_sim_time else {}
    return NodeLaunch(
        package=entry.package,
        executable=entry.executable,
        name=entry.executable,
        lifecycle=entry.lifecycle,
        parameter_files=tuple(files),
        parameters={**entry.parameters(arguments), **clock},
        remappings=entry.remappings,
        arguments=entry.arguments(),
        niceness=entry.niceness,
        stop_time=entry.stop_time,
        namespace=arguments.namespace,
        log_level=arguments.log_level,
    )


def _applies(file: Path, node: str) -> bool:
    try:
        return section(file, node) is not None
    except ConfigurationError as error:
        raise LaunchArgumentError(f"params_file:={error}") from error


def require(nodes: Iterable[NodeLaunch]) -> None:
    """Check that all nodes of other packages are there, before any node is started.

    Raises:
        ExecutableError: names the first that is missing.
    """
    for node in nodes:
        if node.package != paths.PACKAGE:
            paths.find_executable(node.package, node.executable)
