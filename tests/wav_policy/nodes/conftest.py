"""What several modules of node tests look through."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.wav_policy.nodes.arms_process import Probe


@pytest.fixture(scope="module")
def probe() -> Iterator[Probe]:
    """A node outside piper_node, in a context of the module's own."""
    rclpy = pytest.importorskip("rclpy")
    from tests.wav_policy.nodes.arms_process import Probe

    rclpy.init()
    probe = Probe()
    yield probe
    probe.executor.shutdown()
    probe.node.destroy_node()
    rclpy.shutdown()
