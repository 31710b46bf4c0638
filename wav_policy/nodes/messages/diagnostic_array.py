"""/diagnostics as plain values."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticArray

from wav_policy.monitor.snapshot import StatusReport


def reports_from_message(message: DiagnosticArray) -> dict[str, StatusReport]:
    """Entries by name."""
    return {
        entry.name: StatusReport(
            int.from_bytes(entry.level, "little"), entry.message, {pair.key: pair.value for pair in entry.values}
        )
        for entry in message.status
    }
