from __future__ import annotations

from pathlib import Path

import pytest

from wav_models import project_files
from wav_models.engines.names import ENGINES
from wav_policy.bringup.arguments import (
    ARGUMENTS,
    DEFAULT_CHECKPOINT,
    LaunchArgumentError,
    LaunchArguments,
    parse,
    split_assignments,
)


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    (tmp_path / "config.json").write_text("{}")
    return str(tmp_path)


def test_every_argument_is_typed() -> None:
    assert [argument.name for argument in ARGUMENTS] == list(LaunchArguments.__dataclass_fields__)


def test_simulation_means_slcan_in_the_runtime_directory(checkpoint: str) -> None:
    arguments = parse({"sim": "true", "checkpoint": checkpoint})
    assert arguments.can_interface == "slcan"
    assert arguments.can_left != arguments.can_right
    assert Path(arguments.can_left).parent.stat().st_mode & 0o077 == 0


def test_every_namespace_has_its_own_directory(checkpoint: str) -> None:
    places = {
        Path(parse({"sim": "true", "checkpoint": checkpoint, "namespace": name}).can_left).parent
        for name in ("", "robot1", "robot2", "lab/robot1")
    }
    assert len(places) == 4
    written = {parse({"checkpoint": checkpoint, "namespace": name}).namespace for name in ("a/b", "/a/b", "/a/b/")}
    assert written == {"/a/b"}


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_can_be_asked_for(name: str, checkpoint: str) -> None:
    assert parse({"sim": "true", "checkpoint": checkpoint, "engine": name}).engine == name


def test_the_robot_means_socketcan(checkpoint: str) -> None:
    arguments = parse({"checkpoint": checkpoint})
    assert (arguments.can_interface, arguments.can_left, arguments.can_right) == ("socketcan", "can_left", "can_right")


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        ({"simm": "true"}, "unknown launch argument 'simm'; did you mean 'sim'.*can_interface, can_leader_left"),
        ({"sim": "yes"}, "sim:='yes'.*Valid: false, true"),
        ({"engine": "onxruntime"}, "did you mean 'onnxruntime'"),
        ({"task": "juggle"}, "Valid: .*bowl"),
        ({"sim": "true", "can_interface": "socketcan"}, "excludes sim:=true"),
        ({"teleop": "true", "checkpoint": "/nowhere"}, "checkpoint:=/nowhere has no use with teleop:=true"),
        ({"checkpoint": "/nowhere", "task": "drawer"}, "task:=drawer has no use with sim:=false"),
        ({"sim": "true", "dataset": "mine"}, "dataset:=mine has no use with record:=false"),
        ({"sim": "true", "monitor_port": "8081"}, "monitor_port:=8081 has no use with monitor:=false"),
        ({"can_leader_left": "can2"}, "can_leader_left:=can2 has no use with teleop:=false"),
        ({"teleop": "true", "can_leader_left": "can_left"}, "every arm needs a bus of its own"),
        ({"checkpoint": "/nowhere"}, "/nowhere does not exist"),
        ({"policy": "ws://host:8000", "checkpoint": "/nowhere"}, "checkpoint:=/nowhere has no use with policy:="),
        ({"policy": "ws://host:8000", "teleop": "true"}, "policy:=ws://host:8000 has no use with teleop:=true"),
        ({"policy_mapping": "config/remote_openpi.yaml", "sim": "true"}, "has no use with no policy:=ws://HOST:PORT"),
        ({"policy": "ws://host:8000", "policy_mapping": "/nowhere.yaml"}, "/nowhere.yaml: there is no such file"),
        ({"policy": "host:8000"}, "policy:='host:8000' is no address.*ws://HOST:PORT"),
        ({"policy": "lerobot://host:8000"}, "policy:=lerobot://host:8000: .*pickles"),
        ({}, "trained in the simulation: give checkpoint:=DIR"),
        ({"namespace": "robot 1"}, "namespace:=robot 1 is none"),
        ({"namespace": 300 * "a"}, "aaa... has 300 characters; 100 fit"),
        ({"sim": "true", "can_left": " "}, "can_left:= is empty; give a CAN interface"),
        ({"namespace": "1robot"}, "for example namespace:=robot1"),
        ({"sim": "true", "params_file": "/nowhere.yaml"}, "params_file:=/nowhere.yaml: /nowhere.yaml does not exist"),
        ({"log_level": "warning"}, "did you mean 'warn'"),
        ({"sim": "true", "planner": "num_iteration=0"}, "planner: unknown key.*did you mean 'num_iterations'"),
        ({"sim": "true", "planner": "num_video_elites=99"}, "planner: num_video_elites"),
        ({"can_left": "can0", "instruction": "put it down"}, "trained in the simulation: give checkpoint:=DIR"),
    ],
)
def test_a_wrong_argument_is_named_with_the_valid_ones(assignments: dict[str, str], message: str) -> None:
    with pytest.raises(LaunchArgumentError, match=message):
        parse(assignments)


def test_a_checkpoint_without_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LaunchArgumentError, match=r"config\.json"):
        parse({"checkpoint": str(tmp_path)})


def test_the_default_checkpoint_is_for_the_simulation_only() -> None:
    simulated = parse({"sim": "true"}).checkpoint
    assert simulated is not None
    assert simulated == project_files.find(DEFAULT_CHECKPOINT)
    assert parse({"checkpoint": DEFAULT_CHECKPOINT}).checkpoint == simulated, "who names it may use it"
    assert parse({"teleop": "true"}).checkpoint is None


def test_tokens_must_be_assignments() -> None:
    assert split_assignments(["instruction:=put a:=b"]) == {"instruction": "put a:=b"}
    with pytest.raises(LaunchArgumentError, match="name:=value"):
        split_assignments(["--sim"])
    with pytest.raises(LaunchArgumentError, match="sim:= is given twice: sim:=true and sim:=false"):
        split_assignments(["sim:=true", "task:=bowl", "sim:=false"])


def test_a_policy_server_stands_in_for_the_checkpoint() -> None:
    arguments = parse({"policy": "ws://host:8000", "policy_mapping": "config/remote_openpi.yaml"})
    assert (arguments.checkpoint, arguments.policy) == (None, "ws://host:8000")
    assert Path(arguments.policy_mapping).is_file()
