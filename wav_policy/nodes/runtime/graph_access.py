"""Looks at the ROS graph: which node uses which topics and services.

Writes `config/security/policy.xml` anew::

    wav up sim:=true record:=true monitor:=true &                # then, when all nodes are active
    python -m wav_policy.nodes.runtime.graph_access config/security/policy.xml
    wav up sim:=true teleop:=true record:=true &                 # once more, for teleop_node
    python -m wav_policy.nodes.runtime.graph_access config/security/policy.xml

Nodes that do not run keep what the file says about them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import rclpy
from rclpy.node import Node

from wav_policy.bringup.access import Access, read_policy, write_policy
from wav_policy.bringup.discovery import limit_to_this_host
from wav_policy.bringup.node_table import LIFECYCLE_MANAGER, NODES
from wav_policy.bringup.paths import PACKAGE
from wav_policy.nodes.messages.chunk_topic import LEADERS
from wav_policy.nodes.messages.gateway_words import NAME
from wav_policy.nodes.runtime.camera_subscriptions import COMPRESSED
from wav_policy.robot.cameras import VIEWS

_SETTLING = 3.0
"""The graph reaches a new participant bit by bit [s]."""

ON_DEMAND = {
    "monitor": Access(
        subscribe=(
            *("/joint_states", "/action_chunk", "/imagined/value", "/imagined/rounds", "/imagined/futures"),
            *(f"/{view}/image_raw{transport}" for view in VIEWS for transport in ("", COMPRESSED)),
            *(f"/imagined/{view}/image_raw" for view in VIEWS),
        )
    ),
    "sim_node": Access(reply=("/sim/operate",)),
    "recorder_node": Access(subscribe=("/joint_targets", "/leader/joint_states")),
    "lifecycle_manager": Access(
        subscribe=tuple(f"/{node}/transition_event" for node in LEADERS),
        request=tuple(f"/{node}/{service}" for node in LEADERS for service in ("change_state", "get_state")),
    ),
}
"""What nodes use only at times, so that the graph need not show it: the monitor while a browser looks on, the others
under the policy or under teleoperation."""

NamesAndTypes = list[tuple[str, list[str]]]


def our_nodes() -> tuple[str, ...]:
    """Names of the nodes of this project; the last one is started by piper_node."""
    started = (entry.executable for entry in (*NODES, LIFECYCLE_MANAGER) if entry.package == PACKAGE)
    return (*started, NAME)


def look(observer: Node, names: Iterable[str], settling: float = _SETTLING) -> dict[str, Access]:
    """What each of the nodes that run uses.

    Args:
        observer: any node; need not be spun.
        names: nodes to look for, in the namespace "/".
        settling: for how long the graph must not have changed [s].
    """
    wanted, since = tuple(names), time.monotonic()
    seen: dict[str, Access] = {}
    while time.monotonic() - since < settling:
        time.sleep(0.2)
        now = _look(observer, wanted)
        if now != seen:
            seen, since = now, time.monotonic()
    return seen


def _look(observer: Node, names: tuple[str, ...]) -> dict[str, Access]:
    present = {name for name, namespace in observer.get_node_names_and_namespaces() if namespace == "/"}

    def listed(query: Callable[[str, str], NamesAndTypes], node: str) -> tuple[str, ...]:
        return tuple(sorted(name for name, _ in query(node, "/")))

    return {
        name: Access(
            publish=listed(observer.get_publisher_names_and_types_by_node, name),
            subscribe=listed(observer.get_subscriber_names_and_types_by_node, name),
            reply=listed(observer.get_service_names_and_types_by_node, name),
            request=listed(observer.get_client_names_and_types_by_node, name),
        )
        for name in names
        if name in present
    }


def with_on_demand(used: Mapping[str, Access]) -> dict[str, Access]:
    """`used` and what these nodes use at times."""
    return {name: access.joined(ON_DEMAND.get(name, Access())) for name, access in used.items()}


def main(argv: list[str]) -> int:
    """Merge what runs into the policy file; exit code 1 when nothing runs."""
    file = Path(argv[0])
    limit_to_this_host()
    rclpy.init()
    observer = Node("graph_access")
    try:
        seen = with_on_demand(look(observer, our_nodes()))
    finally:
        observer.destroy_node()
        rclpy.shutdown()
    known = read_policy(file) if file.is_file() else {}
    write_policy(dict(sorted({**known, **seen}.items())), file)
    print(f"{file}: {', '.join(seen) or 'no node of this project runs'}")
    return 0 if seen else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
