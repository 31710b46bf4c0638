"""How far ROS 2 nodes look for each other."""

from __future__ import annotations

import os

VARIABLE = "ROS_AUTOMATIC_DISCOVERY_RANGE"


def limit_to_this_host() -> None:
    """Nodes started from here are found on this host only, unless the user has chosen a range."""
    os.environ.setdefault(VARIABLE, "LOCALHOST")
