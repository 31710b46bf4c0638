"""Parameter files and the nodes they are for."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy")

import rclpy

from tests.wav_policy.terminal import Terminal
from wav_models.configuration import from_flat
from wav_models.endings import WRONG_USE
from wav_policy.bringup.node_table import LIFECYCLE_MANAGER, NODES
from wav_policy.bringup.parameter_files import section
from wav_policy.nodes.runtime.parameters import describe, parameter_files

CONFIGURATIONS = {
    entry.executable: entry.configuration for entry in (*NODES, LIFECYCLE_MANAGER) if entry.configuration is not None
}
FILES = [(entry.executable, file) for entry in (*NODES, LIFECYCLE_MANAGER) for file in entry.parameter_files]


@pytest.mark.parametrize("node", CONFIGURATIONS)
def test_every_parameter_is_described_and_its_default_fits(node: str) -> None:
    for parameter in describe(CONFIGURATIONS[node]()):
        words = re.sub(r"\[.*?\]", "", parameter.description).strip(" .")
        assert len(words) > 8, f"{parameter.name} is not described: {parameter.description!r}, of a unit only"
        assert parameter.constraints.endswith("set at the start")
        assert parameter.low is None or parameter.value >= parameter.low
        assert parameter.high is None or parameter.value <= parameter.high


@pytest.mark.parametrize(("node", "file"), FILES)
@pytest.mark.parametrize("name", ["/{}", "/robot1/{}", "/a/b/renamed"])
def test_a_shipped_file_applies_whatever_the_node_is_called(node: str, file: str, name: str, repository: Path) -> None:
    values = section(repository / "config" / file, name.format(node))
    assert values
    from_flat(CONFIGURATIONS[node], values)


@pytest.mark.parametrize(
    ("keys", "node", "applies"),
    [
        (["/**"], "/robot1/piper_node", True),
        (["piper_node"], "/piper_node", True),
        (["piper_node"], "/robot1/piper_node", False),
        (["/robot1/piper_node"], "/robot1/piper_node", True),
        (["robot1", "piper_node"], "/robot1/piper_node", True),
        (["/*/piper_node"], "/robot1/piper_node", True),
        (["/*/piper_node"], "/piper_node", False),
        (["/**/piper_node"], "/piper_node", True),
        (["/*"], "/piper_node", True),
        (["piper"], "/piper_node", False),
    ],
)
def test_sections_are_for_the_nodes_that_rcl_takes_them_for(
    keys: list[str], node: str, applies: bool, tmp_path: Path
) -> None:
    data: dict[str, Any] = {"ros__parameters": {"outer": {"inner": 1}}}
    for key in reversed(keys):
        data = {key: data}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(data))
    assert section(tmp_path / "a.yaml", node) == ({"outer.inner": 1} if applies else None)


OVERLAPPING = {
    "one node first": """
piper_node: {ros__parameters: {a: 1, b: 1}}
/**: {ros__parameters: {a: 2, c: 2}}
/*: {ros__parameters: {a: 3, deep: {er: 1.5}}}
""",
    "namespaces": """
/**: {ros__parameters: {a: 2, c: 2}}
robot1:
  piper_node: {ros__parameters: {a: 1}}
/robot1/piper_node: {ros__parameters: {b: 7}}
"/robot1/**": {ros__parameters: {d: 5, deep.er: 2.5}}
""",
}


@pytest.mark.parametrize("text", OVERLAPPING.values(), ids=OVERLAPPING)
@pytest.mark.parametrize(("namespace", "name"), [("", "piper_node"), ("robot1", "piper_node"), ("robot1", "other")])
def test_a_node_gets_what_rcl_itself_gives_it(text: str, namespace: str, name: str, tmp_path: Path) -> None:
    (file := tmp_path / "file.yaml").write_text(text)
    context = rclpy.context.Context()
    rclpy.init(context=context)
    try:
        node = rclpy.create_node(
            name,
            namespace=namespace,
            context=context,
            cli_args=["--ros-args", "--params-file", str(file)],
            automatically_declare_parameters_from_overrides=True,
            start_parameter_services=False,
        )
        given = {
            key: node.get_parameter(key).value for key in ("a", "b", "c", "d", "deep.er") if node.has_parameter(key)
        }
        full_name = node.get_fully_qualified_name()
        node.destroy_node()
    finally:
        rclpy.shutdown(context=context)
    assert given
    assert section(file, full_name) == given


def test_files_are_found_on_the_command_line() -> None:
    assert parameter_files(["x", "--ros-args", "--params-file", "a", "-p", "b:=1", "--params-file", "c"]) == [
        Path("a"),
        Path("c"),
    ]


MARKERS = (sys.executable, "-m", "wav_policy.nodes.diagnostic_markers", "--ros-args")


@pytest.mark.ros
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/**: {ros__parameters: {rat: 1.0}}", "unknown parameter 'rat'; did you mean 'rate'"),
        ("/**: {ros__parameters: {rate: .nan}}", "rate is nan; a finite number from 0.1 to 30 fits (FILE)"),
        ("/**: {ros__parameters: {rate: fast}}", "rate is 'fast', a text; a number from 0.1 to 30 fits (FILE)"),
        ("/**: {ros__parameters: {position: [0, 1.0, 2.0]}}", "FILE"),
        ("/**: [", "FILE"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_it(text: str, message: str, repository: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text + "\n")
    command = [*MARKERS, "--params-file", str(file)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=90.0, check=False)
    output = done.stdout + done.stderr
    assert done.returncode == WRONG_USE, output
    assert message.replace("FILE", str(file)) in output
    assert "Traceback" not in output


@pytest.mark.ros
def test_who_applies_a_file_says_so_and_who_does_not_too(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RCUTILS_COLORIZED_OUTPUT", "0")
    (tmp_path / "ours.yaml").write_text("/**: {ros__parameters: {rate: 1.0}}\n")
    (tmp_path / "others.yaml").write_text("diagnostic_markers: {ros__parameters: {rate: 3.0}}\n")
    files = [part for name in ("ours", "others") for part in ("--params-file", str(tmp_path / f"{name}.yaml"))]
    terminal = Terminal([*MARKERS, "-r", "__ns:=/robot1", *files], repository)
    try:
        terminal.await_text(f"parameters from {tmp_path}/ours.yaml\n")
        terminal.await_text(
            f"NOTHING in {tmp_path}/others.yaml applies to this node: no section is for /robot1/diagnostic_markers"
        )
    finally:
        terminal.kill()
