"""Every entry that a node of ours puts on /diagnostics belongs to one group of the aggregator's configuration."""

from __future__ import annotations

import re
from pathlib import Path

import yaml


def test_every_entry_has_one_group(repository: Path) -> None:
    sources = [file.read_text() for file in (repository / "wav_policy/nodes").rglob("*.py")]
    calls = [place for text in sources for place in re.findall(r"(?:status\(|name = )\s*(f?\"\w+: [^\"]+\")", text)]
    nodes = {call.strip('f"').partition(":")[0] for call in calls}
    assert nodes >= {"piper_node", "policy_node", "sim_node", "recorder_node", "teleop_node", "lifecycle_manager"}
    groups = yaml.safe_load((repository / "config/diagnostic_aggregator.yaml").read_text())["/**"]["ros__parameters"]
    wanted = [part for group in groups.values() if isinstance(group, dict) for part in group["contains"]]
    assert sorted(wanted) == sorted(f"{node}: " for node in nodes)
