"""ROS time is a stamp, never a duration: every place that reads it is known, with the reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ALLOWED = {
    ("wav_policy/nodes/piper_node.py", "_ros_time"): "StampClock compares it with the monotonic clock",
    ("wav_policy/nodes/policy_node.py", "_now"): "ages of observations, by the stamps of pictures and joint states",
    ("wav_policy/nodes/teleop_node.py", "_ros_time"): "StampClock compares it with the monotonic clock",
    ("wav_policy/nodes/recorder_node.py", "_seconds"): "recorded beside the stamps of pictures and joint states",
    ("wav_policy/nodes/imagination.py", "_now"): "shows imagined frames at the times they are stamped for",
    ("wav_policy/nodes/clients/system_client.py", "_on_chunk"): "the age of a chunk at arrival",
    ("wav_policy/nodes/diagnostic_markers.py", "_line"): "stamp of a message",
    ("wav_policy/nodes/runtime/diagnostics.py", "_send"): "stamp of a message",
    ("wav_policy/nodes/goal_desk.py", "_stamp"): "stamp of a message",
    ("wav_policy/nodes/runtime/bond.py", "_say"): "stamp of a message",
    ("wav_policy/nodes/sim_workers.py", "*"): "stamps of messages",
    ("wav_policy/experiments/faults/policy_faults.py", "*"): "stamps of messages",
    ("wav_policy/experiments/camera_streams.py", "*"): "stamps of messages",
}


def calls(tree: ast.AST, name: str) -> Iterator[tuple[str, ast.Call]]:
    """Calls of a method, each with the function it stands in."""
    for function in ast.walk(tree):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name:
                    yield function.name, node


def sources(repository: Path) -> Iterator[tuple[str, ast.AST]]:
    for file in sorted((repository / "wav_policy").rglob("*.py")):
        yield file.relative_to(repository).as_posix(), ast.parse(file.read_text())


def test_ros_time_is_read_only_where_stamps_are_compared_or_made(repository: Path) -> None:
    found = {(file, function) for file, tree in sources(repository) for function, _ in calls(tree, "get_clock")}
    everywhere = {file for file, function in ALLOWED if function == "*"}
    unknown = {place for place in found if place not in ALLOWED and place[0] not in everywhere}
    assert not unknown, "a duration? use time.monotonic(); a stamp: say so in ALLOWED"
    gone = {place for place in ALLOWED if place not in found and place[0] not in {file for file, _ in found}}
    assert not gone


def test_timers_follow_the_steady_clock(repository: Path) -> None:
    """rclpy's default stands still with /clock, and after the wall clock was set back."""
    timers = [(file, node) for file, tree in sources(repository) for _, node in calls(tree, "create_timer")]
    assert timers
    for file, node in timers:
        assert any(keyword.arg == "clock" for keyword in node.keywords), f"{file}: use runtime.timers.steady_timer"
