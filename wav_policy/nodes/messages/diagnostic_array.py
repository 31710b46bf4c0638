"""/diagnostics as plain values.

All robots of a ROS domain report there: an entry's name begins with the namespace of its node, unless that is the root,
as in "robot1/piper_node: left arm".
"""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticArray

from wav_policy.monitor.snapshot import StatusReport


def prefix(namespace: str) -> str:
    """What the names of entries begin with.

    Args:
        namespace: fully qualified, such as "/robot1" or "/".
    """
    return f"{namespace.strip('/')}/" if namespace.strip("/") else ""


def reports_from_message(message: DiagnosticArray, namespace: str) -> dict[str, StatusReport]:
    """Entries of the nodes of one namespace, by name without it."""
    ours = prefix(namespace)
    return {
        entry.name[len(ours) :]: StatusReport(
            int.from_bytes(entry.level, "little"), entry.message, {pair.key: pair.value for pair in entry.values}
        )
        for entry in message.status
        if entry.name.startswith(ours) and "/" not in entry.name[len(ours) :].partition(":")[0]
    }
