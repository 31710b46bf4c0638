"""What the launch files share: the table of nodes as actions of the ROS 2 `launch` package.

Imported by `launch/*.launch.py` only; `launch` belongs to a full ROS 2 installation.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Mapping
from functools import partial

from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue

from wav_models.signals import meant_signals
from wav_policy.bringup.arguments import ARGUMENTS, LaunchArgumentError, parse, split_assignments
from wav_policy.bringup.discovery import limit_to_this_host
from wav_policy.bringup.node_table import NodeLaunch, launches, require
from wav_policy.bringup.system_lock import SystemLock

_LOCKS: list[SystemLock] = []
"""Of the systems in this launch; they end with the process."""


def describe(file_name: str, fixed: Mapping[str, str] | None = None) -> LaunchDescription:
    """Declare the arguments of the table, then start its nodes.

    Args:
        file_name: of the launch file.
        fixed: arguments that this launch file decides and does not offer.
    """
    fixed = fixed or {}
    declared = [
        DeclareLaunchArgument(
            argument.name,
            default_value=argument.default,
            description=argument.description,
            choices=argument.choices,
        )
        for argument in ARGUMENTS
        if argument.name not in fixed
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=partial(_start_nodes, file_name, fixed))])


def _start_nodes(file_name: str, fixed: Mapping[str, str], context: LaunchContext) -> list[Action]:
    """The actions for the arguments of this launch; any node that ends shuts the system down.

    `launch` itself knows no SIGHUP: a terminal that is closed is a Ctrl-C here, too.
    """
    if signal.SIGHUP in meant_signals() and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGHUP, lambda number, frame: signal.raise_signal(signal.SIGINT))
    limit_to_this_host()
    offered = [argument.name for argument in ARGUMENTS if argument.name not in fixed]
    values = {name: LaunchConfiguration(name).perform(context) for name in offered}
    given = _command_line_assignments(file_name, context)
    if decided := sorted(set(given) & set(fixed)):
        raise LaunchArgumentError(f"{file_name} decides {decided[0]}:={fixed[decided[0]]} itself")
    pushed = context.launch_configurations.get("ros_namespace", "")  # by PushRosNamespace, which encloses ours
    values["namespace"] = f"{pushed}/{values['namespace'].strip('/')}"
    nodes = launches(parse({**given, **values, **fixed}))
    require(nodes)
    _LOCKS.append(SystemLock(nodes[0].namespace))
    return [_node_action(node) for node in nodes]


def _command_line_assignments(file_name: str, context: LaunchContext) -> dict[str, str]:
    """What `ros2 launch` was told, to refuse unknown names; nothing when another launch file includes this one."""
    started_directly = any(argument.endswith(file_name) for argument in sys.argv)
    return split_assignments(context.argv) if started_directly else {}


def _node_action(node: NodeLaunch) -> Action:
    """A launch action for one row of the table; `lifecycle_manager` drives the managed ones."""

    def shut_down(event: ProcessExited, context: LaunchContext) -> list[Action]:
        return [] if context.is_shutdown else [Shutdown(reason=f"{node.name} ended")]

    # Strings stay strings: launch_ros would read the robot description, or an instruction such as "5", as YAML.
    parameters = {
        name: ParameterValue(value, value_type=str) if isinstance(value, str) else value
        for name, value in node.parameters.items()
    }
    action = LifecycleNode if node.lifecycle else Node
    return action(
        package=node.package,
        executable=node.executable,
        name=node.name,
        exec_name=node.name,
        namespace=node.namespace,
        output="screen",
        parameters=[*map(str, node.parameter_files), parameters],
        arguments=list(node.arguments),
        ros_arguments=node.ros_arguments or None,
        remappings=list(node.remappings),
        prefix=" ".join(node.prefix) or None,
        sigterm_timeout=str(node.stop_time),
        on_exit=shut_down,
    )
