"""Bimanual Piper with the WAV policy: `ros2 launch wav_policy piper_bimanual.launch.py sim:=true`.

Arguments and nodes come from `wav_policy.bringup`; `wav up` starts the same table where the launch package is missing.
"""

import sys
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node

from wav_policy.bringup.arguments import ARGUMENTS, parse, split_assignments
from wav_policy.bringup.discovery import limit_to_this_host
from wav_policy.bringup.node_table import NodeLaunch, launches


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments of the table, then start its nodes."""
    declared = [
        DeclareLaunchArgument(
            argument.name,
            default_value=argument.default,
            description=argument.description,
            choices=argument.choices,
        )
        for argument in ARGUMENTS
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start_nodes)])


def start_nodes(context: LaunchContext) -> list[Action]:
    """The actions for the arguments of this launch; any node that ends shuts the system down."""
    limit_to_this_host()
    values = {argument.name: LaunchConfiguration(argument.name).perform(context) for argument in ARGUMENTS}
    arguments = parse({**command_line_assignments(context), **values})
    return [node_action(node) for node in launches(arguments)]


def command_line_assignments(context: LaunchContext) -> dict[str, str]:
    """What `ros2 launch` was told, to refuse unknown names; nothing when another launch file includes this one."""
    started_directly = any(argument.endswith(Path(__file__).name) for argument in sys.argv)
    return split_assignments(context.argv) if started_directly else {}


def node_action(node: NodeLaunch) -> Action:
    """A launch action for one row of the table; `lifecycle_manager` drives the managed ones."""

    def shut_down(event: ProcessExited, context: LaunchContext) -> list[Action]:
        return [] if context.is_shutdown else [Shutdown(reason=f"{node.name} ended")]

    action = LifecycleNode if node.lifecycle else Node
    return action(
        package=node.package,
        executable=node.executable,
        name=node.name,
        exec_name=node.name,
        namespace="",
        output="screen",
        parameters=[*map(str, node.parameter_files), node.parameters],
        remappings=list(node.remappings),
        prefix=" ".join(node.prefix) or None,
        on_exit=shut_down,
    )
