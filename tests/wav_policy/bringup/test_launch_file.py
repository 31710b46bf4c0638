"""`ros2 launch` imports the launch files with the system's Python: numpy, yaml and what ROS brings, nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HERE = """
import runpy, sys
from types import SimpleNamespace
from unittest.mock import MagicMock

THERE = {"numpy", "yaml", "_yaml", "wav_models", "wav_policy"}  # exec_depend of package.xml, and the workspace itself


class NothingElse:
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if root not in THERE and root not in sys.stdlib_module_names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, NothingElse())
for module in ("launch", "launch.action", "launch.actions", "launch.events.process", "launch.substitutions",
               "launch_ros", "launch_ros.actions", "launch_ros.parameter_descriptions"):
    sys.modules[module] = MagicMock()

from wav_policy.bringup import launch_file
from wav_policy.bringup.arguments import ARGUMENTS, RECORDING, parse
from wav_policy.bringup.node_table import launches


def start(fixed, pushed={}, **given):
    values = {argument.name: argument.default for argument in ARGUMENTS} | given
    launch_file.LaunchConfiguration = lambda name: SimpleNamespace(perform=lambda context: values[name])
    actions = launch_file.Node, launch_file.LifecycleNode
    [action.reset_mock() for action in actions]
    context = SimpleNamespace(argv=[], launch_configurations=pushed)
    launch_file._start_nodes("piper_bimanual.launch.py", fixed, context)
    started = [call.kwargs for action in actions for call in action.call_args_list]
    print(*{node["namespace"] for node in started}, sorted(node["name"] for node in started))
    [lock.close() for lock in launch_file._LOCKS]


for name in ("piper_bimanual", "record"):
    runpy.run_path(f"launch/{name}.launch.py")["generate_launch_description"]()
start({}, sim="true", record="true", monitor="true")
start({}, checkpoint="checkpoints/wav-tiny")
start(RECORDING, {"ros_namespace": "/lab"}, namespace="robot1")
shown = {node.name: node.parameters for node in launches(parse({"sim": "true", "rviz": "true"}))}
print("<robot" in shown["robot_state_publisher"]["robot_description"])
"""


@pytest.fixture(scope="module")
def printed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the launch files do where only numpy and yaml are installed; `launch` itself is a stub."""
    environment = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path_factory.mktemp("runtime"))}
    command = [sys.executable, "-c", HERE]
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_launch_files_need_numpy_and_yaml_only(printed: list[str]) -> None:
    manager = "lifecycle_manager"
    assert printed == [
        f" {[manager, 'monitor', 'piper_node', 'policy_node', 'recorder_node', 'sim_node']}",
        f" {[manager, 'piper_node', 'policy_node']}",
        f"/lab/robot1 {[manager, 'piper_node', 'recorder_node', 'teleop_node']}",
        "True",
    ]


def test_a_closed_terminal_is_a_ctrl_c(repository: Path) -> None:
    """`launch` knows no SIGHUP; under nohup it goes on."""
    preamble = HERE.partition("for name in")[0]
    code = f"{preamble}\nimport signal\nstart({{}}, sim='true')\nsignal.raise_signal(signal.SIGHUP)\nprint('goes on')"
    for ignored, ending in ((signal.SIG_DFL, "KeyboardInterrupt"), (signal.SIG_IGN, "goes on")):

        def prepare() -> None:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGHUP, ignored)  # noqa: B023

        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=repository,
            capture_output=True,
            text=True,
            preexec_fn=prepare,
            check=False,
        )
        assert ending in (done.stdout + done.stderr).splitlines()[-1]


def test_importing_the_simulation_registers_the_environments() -> None:
    gymnasium = pytest.importorskip("gymnasium")
    from wav_policy.sim import ENVIRONMENTS

    assert set(ENVIRONMENTS) <= set(gymnasium.registry)
