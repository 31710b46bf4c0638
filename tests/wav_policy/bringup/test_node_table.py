from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from wav_models import project_files
from wav_models.configuration import ConfigurationError
from wav_policy.bringup import ament, paths
from wav_policy.bringup.arguments import RECORDING, LaunchArgumentError, parse
from wav_policy.bringup.node_table import LIFECYCLE_MANAGER, NODES, launches
from wav_policy.bringup.parameter_files import ParameterError, section


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    (tmp_path / "config.json").write_text("{}")
    return str(tmp_path)


def names(**assignments: str) -> list[str]:
    return [node.name for node in launches(parse(assignments))]


def test_conditions_follow_the_arguments(checkpoint: str) -> None:
    assert names(checkpoint=checkpoint) == ["piper_node", "policy_node", "lifecycle_manager"]
    assert names(checkpoint=checkpoint, sim="true")[0] == "sim_node"
    assert "rviz2" in names(checkpoint=checkpoint, rviz="true")


def test_recording_puts_the_leaders_in_the_place_of_the_policy(checkpoint: str, tmp_path: Path) -> None:
    assert "recorder_node" in names(checkpoint=checkpoint, record="true")
    nodes = {node.name: node for node in launches(parse({**RECORDING, "sim": "true", "dataset": str(tmp_path)}))}
    assert list(nodes) == ["sim_node", "recorder_node", "piper_node", "teleop_node", "lifecycle_manager"]
    assert nodes["lifecycle_manager"].parameters["node_names"] == ["piper_node", "teleop_node"]
    recorder = nodes["recorder_node"].parameters
    assert (recorder["action_source"], recorder["dataset"]) == ("leader", str(tmp_path))
    for side in ("left", "right"):
        leader = nodes["teleop_node"].parameters[f"can_{side}"]
        assert (
            leader
            == nodes["sim_node"].parameters[f"can_leader_{side}"]
            != nodes["piper_node"].parameters[f"can_{side}"]
        )


def test_the_manager_gets_the_managed_nodes_in_order(checkpoint: str) -> None:
    *_, manager = launches(parse({"checkpoint": checkpoint, "sim": "true"}))
    assert manager.parameters == {"node_names": ["piper_node", "policy_node"], "ready_services": ["sim/reset"]}
    *_, manager = launches(parse({"checkpoint": checkpoint}))
    assert "ready_services" not in manager.parameters


def test_one_arm_runs_alone_for_driver_and_teleoperation(tmp_path: Path) -> None:
    chosen = {**RECORDING, "sim": "true", "dataset": str(tmp_path), "arms": "left"}
    nodes = {node.name: node.parameters for node in launches(parse(chosen))}
    assert nodes["piper_node"]["arms"] == nodes["teleop_node"]["arms"] == "left"


def test_no_default_of_an_argument_overrides_what_a_parameter_file_states(checkpoint: str, tmp_path: Path) -> None:
    """Such as that one arm is in repair."""
    chosen = {"monitor": "true", "record": "true", "dataset": str(tmp_path)}
    for arguments in ({"checkpoint": checkpoint, **chosen}, {**chosen, **RECORDING}):
        for node in launches(parse(arguments)):
            stated = [section(file, f"{node.namespace}/{node.name}") or {} for file in node.parameter_files]
            assert not node.parameters.keys() & {name for values in stated for name in values}, node.name


def test_simulation_and_driver_meet_at_the_same_ports(checkpoint: str) -> None:
    nodes = {node.name: node.parameters for node in launches(parse({"checkpoint": checkpoint, "sim": "true"}))}
    for port in ("can_left", "can_right"):
        assert nodes["sim_node"][port] == nodes["piper_node"][port]


def test_namespace_clock_and_level_are_for_every_node(checkpoint: str) -> None:
    chosen = {"sim": "true", "checkpoint": checkpoint, "monitor": "true", "record": "true"}
    nodes = launches(parse({**chosen, "namespace": "robot1", "use_sim_time": "true", "log_level": "debug"}))
    assert {node.namespace for node in nodes} == {"/robot1"}
    assert all(node.parameters["use_sim_time"] is True for node in nodes)
    assert all(node.ros_arguments == ["--log-level", "debug"] for node in nodes)
    assert not any("use_sim_time" in node.parameters for node in launches(parse(chosen)))


@pytest.mark.parametrize("head", ["piper_node", "/robot1/piper_node", "/robot1/*", "/**"])
def test_a_file_of_parameters_goes_to_the_nodes_it_is_for(checkpoint: str, tmp_path: Path, head: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({head: {"ros__parameters": {"use_sim_time": False}}}))
    namespace = "robot1" if "robot1" in head else ""
    nodes = launches(parse({"checkpoint": checkpoint, "namespace": namespace, "params_file": str(file)}))
    told = {node.name for node in nodes if node.parameter_files[-1] == file}
    assert told == ({node.name for node in nodes} if "*" in head else {"piper_node"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("piper: {ros__parameters: {a: 1}}", r"its sections are for /piper; name '/\*\*' or one of: /piper_node"),
        ("{}", "it has no section `NAME: {ros__parameters"),
        ("piper_node: {control_rate: 100.0}", "it has no section `NAME: {ros__parameters"),
        ("a: [", "not YAML"),
        ("/**: {ros__parameters: 5}", r"mine.yaml: ros__parameters of /\*\* is 5; a mapping fits"),
        ("/robot1: {x: {ros__parameters: [1]}}", r"ros__parameters of /robot1/x is \[1\]"),
        ("piper_node: {ros__parameters: }", "ros__parameters of /piper_node is empty"),
        ("piper_node: {ros__parameters: {home_speed: }}", "of /piper_node: home_speed has no value"),
        ("piper_node: {ros__parameters: {a: {b: [1, 1.5]}}}", r"a\.b is \[1, 1\.5\]; .* not float and int"),
    ],
)
def test_a_file_of_parameters_that_is_for_nobody_is_refused(
    checkpoint: str, tmp_path: Path, content: str, message: str
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    with pytest.raises(LaunchArgumentError, match=message):
        launches(parse({"checkpoint": checkpoint, "params_file": str(file)}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "piper_node: {ros__parameters: {control_rate: 1.0}}",
            r"piper_node: control_rate is 1\.0; .* \(.*mine\.yaml\)",
        ),
        ("piper_node: {ros__parameters: {arm: {gripper_effort: 4.0}}}", "above safety.gripper_effort"),
        ("/robot1/policy_node: {ros__parameters: {imagine_rate: fast}}", "policy_node: imagine_rate is 'fast'"),
        ("lifecycle_manager: {ros__parameters: {stop_timeot: 1.0}}", "did you mean 'stop_timeout'"),
        ("'/**': {ros__parameters: {control_rate: 100.0}}", "policy_node: unknown parameter 'control_rate'"),
    ],
)
def test_what_a_node_would_refuse_is_refused_before_any_is_started(
    checkpoint: str, tmp_path: Path, content: str, message: str
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    namespace = "robot1" if "robot1" in content else ""
    with pytest.raises(ParameterError, match=message):
        launches(parse({"checkpoint": checkpoint, "params_file": str(file), "namespace": namespace}))


@pytest.mark.ros
@pytest.mark.parametrize("stated", ["", "{a: }", "{a: [1, 1.5]}", "{a: [true, 1]}", "{a: [1e-2, 2.0]}", "{}"])
def test_a_file_is_refused_where_rcl_refuses_it(tmp_path: Path, stated: str) -> None:
    rclpy = pytest.importorskip("rclpy")
    file = tmp_path / "mine.yaml"
    file.write_text(f"piper_node: {{ros__parameters: {stated}}}")

    def rcl_reads_it() -> bool:
        context = rclpy.Context()
        try:
            rclpy.init(args=["--ros-args", "--params-file", str(file)], context=context)
        except RuntimeError:  # the class of rcl's own errors
            return False
        context.try_shutdown()
        return True

    def we_read_it() -> bool:
        try:
            section(file, "/piper_node")
        except ConfigurationError:
            return False
        return True

    assert we_read_it() == rcl_reads_it()


def test_values_are_what_rcl_takes_them_for(checkpoint: str, tmp_path: Path) -> None:
    """2e-2 is a text to YAML 1.1; the serial number of an adapter may look like a number."""
    file = tmp_path / "mine.yaml"
    file.write_text("piper_node: {ros__parameters: {safety: {max_tick: 2e-2}, usb_left: 003E47, home_speed: 1}}")
    assert launches(parse({"checkpoint": checkpoint, "params_file": str(file)}))


def test_what_a_file_says_of_what_the_launch_decides_is_not_looked_at(tmp_path: Path) -> None:
    """The node never sees it."""
    file = tmp_path / "mine.yaml"
    file.write_text("sim_node: {ros__parameters: {can_left: 5}}")
    nodes = {node.name: node for node in launches(parse({"sim": "true", "params_file": str(file)}))}
    assert str(nodes["sim_node"].parameters["can_left"]).endswith("can_left")


def test_the_description_has_one_publisher(checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def publishers(**chosen: str) -> list[str]:
        nodes = launches(parse({"checkpoint": checkpoint, **chosen}))
        described = {node.name: node.parameters.get("publish_description", False) for node in nodes}
        return [name for name, is_one in described.items() if is_one or name == "robot_state_publisher"]

    assert publishers() == ["piper_node"], "robot_state_publisher is not installed"
    assert publishers(robot_description="false") == []
    executable = tmp_path / "lib/robot_state_publisher/robot_state_publisher"
    executable.parent.mkdir(parents=True)
    executable.touch()
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    assert publishers() == ["robot_state_publisher"]
    assert publishers(robot_description="false") == []
    assert publishers(robot_description="false", rviz="true") == ["robot_state_publisher"]


OURS = [entry for entry in (*NODES, LIFECYCLE_MANAGER) if entry.package == paths.PACKAGE]
"""Without those that come with a full ROS 2."""


@pytest.mark.parametrize("entry", OURS, ids=lambda entry: entry.executable)
def test_every_row_is_installed(entry, repository: Path) -> None:  # type: ignore[no-untyped-def]
    assert importlib.util.find_spec(f"wav_policy.nodes.{entry.executable}")
    assert (repository / "ros2_ws" / "executables" / entry.executable).exists()
    assert f'"{entry.executable}"' in (repository / "ros2_ws/src/wav_policy/setup.py").read_text()
    for file in entry.parameter_files:
        contents = yaml.safe_load((repository / "config" / file).read_text())
        assert {"/**", entry.executable} & set(contents), f"{file} has nothing for {entry.executable}"


def test_no_node_but_the_policys_pays_for_torch() -> None:
    """Seconds of its start, and hundreds of megabytes of the robot's memory."""
    pytest.importorskip("rclpy")
    ours = (entry.executable for entry in (*NODES, LIFECYCLE_MANAGER) if entry.package == paths.PACKAGE)
    modules = ", ".join(f"wav_policy.nodes.{node}" for node in ours if node != "policy_node")
    script = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_data_files_of_an_installation_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    share = tmp_path / "share" / "wav_policy"
    (share / "config").mkdir(parents=True)
    (share / "config" / "only_installed.yaml").touch()
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"/nowhere:{tmp_path}")
    assert project_files.find("config/only_installed.yaml") == share / "config" / "only_installed.yaml"
    with pytest.raises(project_files.ProjectFileError, match="missing.yaml"):
        project_files.find("config/missing.yaml")


def test_a_full_ros_finds_package_launch_file_and_executables(tmp_path: Path, repository: Path) -> None:
    """What ament_index_python, `ros2 launch` and `ros2 run` look at in a prefix."""
    ament.install(tmp_path)
    ament.install(tmp_path)
    assert (tmp_path / "share/ament_index/resource_index/packages/wav_policy").is_file()
    launch_file = tmp_path / "share/wav_policy/launch/piper_bimanual.launch.py"
    assert launch_file.read_text() == (repository / "launch/piper_bimanual.launch.py").read_text()
    interpreter = tmp_path / "bin/python"
    interpreter.parent.mkdir()
    interpreter.write_text('#!/bin/sh\necho "$@"\n')
    interpreter.chmod(0o755)
    for entry in (*NODES, LIFECYCLE_MANAGER):
        if entry.package == paths.PACKAGE:
            executable = tmp_path / "lib/wav_policy" / entry.executable
            started = subprocess.run([executable, "--ros-args"], capture_output=True, text=True, check=True)
            assert started.stdout == f"-m wav_policy.nodes {entry.executable} --ros-args\n"


def test_the_planner_is_the_configurations_unless_the_launch_says_otherwise(checkpoint: str) -> None:
    def policy(**arguments: str) -> dict[str, object]:
        nodes = launches(parse({"checkpoint": checkpoint, **arguments}))
        return next(node.parameters for node in nodes if node.name == "policy_node")

    assert "planner" not in policy()
    assert policy(planner="num_iterations=0 deadline=0.4")["planner"] == "num_iterations=0 deadline=0.4"
