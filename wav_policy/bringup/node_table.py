"""The nodes of the system: the one place that `wav up` and `launch/piper_bimanual.launch.py` both read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wav_policy.bringup import paths
from wav_policy.bringup.arguments import LaunchArguments

Parameters = dict[str, Any]

SIMULATED_CONTROL_RATE = 100.0
"""The simulated arms report at 100 Hz; commanding them faster only costs processor time [Hz]."""

_STOP_TIME = 12.0
"""What a node may take to end [s]."""


def _no_parameters(arguments: LaunchArguments) -> Parameters:
    return {}


def _no_arguments() -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class NodeEntry:
    """One row of the table.

    Attributes:
        executable: module under `wav_policy.nodes` and executable in `lib/wav_policy`; also the node's name.
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
    parameter_files: tuple[str, ...] = ()
    parameters: Callable[[LaunchArguments], Parameters] = _no_parameters
    remappings: tuple[tuple[str, str], ...] = ()
    arguments: Callable[[], tuple[str, ...]] = _no_arguments
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
        "arms": arguments.arms,
    }
    return {**parameters, "control_rate": SIMULATED_CONTROL_RATE} if arguments.sim else parameters


def _policy_parameters(arguments: LaunchArguments) -> Parameters:
    plans: Parameters = (
        {"policy": arguments.policy, "policy_mapping": arguments.policy_mapping}
        if arguments.policy
        else {"checkpoint": str(arguments.checkpoint), "engine": arguments.engine}
    )
    return {**plans, "instruction": arguments.instruction}


def _teleop_parameters(arguments: LaunchArguments) -> Parameters:
    return {
        "can_left": arguments.can_leader_left,
        "can_right": arguments.can_leader_right,
        "can_interface": arguments.can_interface,
        "arms": arguments.arms,
    }


def _recorder_parameters(arguments: LaunchArguments) -> Parameters:
    return {
        "dataset": str(arguments.dataset),
        "action_source": "leader" if arguments.teleop else "target",
        "instruction": arguments.instruction,
    }


def _monitor_parameters(arguments: LaunchArguments) -> Parameters:
    return {"host": arguments.monitor_host, "port": arguments.monitor_port}


def _robot_description(arguments: LaunchArguments) -> Parameters:
    from wav_policy.robot.urdf import robot_urdf

    return {"robot_description": robot_urdf()}


NODES = (
    NodeEntry(
        "sim_node",
        parameter_files=("sim.yaml",),
        parameters=_sim_parameters,
        condition=lambda arguments: arguments.sim,
        ready_service="sim/reset",
    ),
    NodeEntry(
        "recorder_node",
        parameter_files=("recorder.yaml",),
        parameters=_recorder_parameters,
        condition=lambda arguments: arguments.record,
    ),
    NodeEntry(
        "monitor",
        parameter_files=("monitor.yaml",),
        parameters=_monitor_parameters,
        condition=lambda arguments: arguments.monitor,
        niceness=10,
    ),
    NodeEntry(
        "robot_state_publisher",
        parameters=_robot_description,
        condition=lambda arguments: arguments.rviz,
        package="robot_state_publisher",
    ),
    NodeEntry("diagnostic_markers", condition=lambda arguments: arguments.rviz, niceness=10),
    NodeEntry(
        "rviz2",
        arguments=lambda: ("-d", str(paths.find("config/wav.rviz"))),
        condition=lambda arguments: arguments.rviz,
        package="rviz2",
    ),
    NodeEntry(
        "piper_node",
        parameter_files=("piper.yaml", "safety.yaml"),
        parameters=_piper_parameters,
        lifecycle=True,
    ),
    NodeEntry(
        "policy_node",
        parameter_files=("policy.yaml", "cameras.yaml"),
        parameters=_policy_parameters,
        condition=lambda arguments: not arguments.teleop,
        lifecycle=True,
        niceness=5,
    ),
    NodeEntry(
        "teleop_node",
        parameter_files=("teleop.yaml",),
        parameters=_teleop_parameters,
        condition=lambda arguments: arguments.teleop,
        lifecycle=True,
    ),
)
"""In the order of starting and activation; stopping goes backwards: what moves the arms first, then who watches."""

LIFECYCLE_MANAGER = NodeEntry("lifecycle_manager", parameter_files=("bringup.yaml",), stop_time=50.0)
"""Ends when all is down: after the `stop_timeout` of a node that hangs, and after the longest park."""


def launches(arguments: LaunchArguments) -> tuple[NodeLaunch, ...]:
    """What to start for these arguments, in order; the lifecycle manager of the managed nodes comes last."""
    entries = [entry for entry in NODES if entry.condition(arguments)]
    manager = _fill_in(LIFECYCLE_MANAGER, arguments)
    manager.parameters["node_names"] = [entry.executable for entry in entries if entry.lifecycle]
    if services := [entry.ready_service for entry in entries if entry.ready_service]:
        manager.parameters["ready_services"] = services
    return (*(_fill_in(entry, arguments) for entry in entries), manager)


def _fill_in(entry: NodeEntry, arguments: LaunchArguments) -> NodeLaunch:
    return NodeLaunch(
        package=entry.package,
        executable=entry.executable,
        name=entry.executable,
        lifecycle=entry.lifecycle,
        parameter_files=tuple(paths.find(f"config/{name}") for name in entry.parameter_files),
        parameters=dict(entry.parameters(arguments)),
        remappings=entry.remappings,
        arguments=entry.arguments(),
        niceness=entry.niceness,
        stop_time=entry.stop_time,
    )
