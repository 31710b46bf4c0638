"""A running recorder seen from outside. Hides ROS."""

from __future__ import annotations

from collections.abc import Callable

from std_msgs.msg import String

from wav_policy.nodes.clients.system_client import WORLD, Report, SystemClient
from wav_policy.nodes.messages.instruction_topic import make_instruction_publisher

RECORDER = "recorder_node: episode"
TELEOPERATION = "teleop_node: following"
MANAGER = "lifecycle_manager: nodes"

_APPEAR_TIMEOUT = 90.0
"""PyTorch is not needed here, but a cold disk and a busy machine are slow [s]."""


class RecorderGoneError(RuntimeError):
    """The recorder, or a node it needs, is not there or has ended; the message says which."""


class RecorderClient(SystemClient):
    """Steers the recorder of one system.

    Args:
        ended: says which node of ours has ended; "" while all run.
        namespace: of the system; "" for the root.
    """

    def __init__(self, ended: Callable[[], str] = lambda: "", namespace: str = "") -> None:
        super().__init__(namespace)
        self._ended = ended
        self._instruction = make_instruction_publisher(self.node)

    @property
    def recorder(self) -> Report:
        """What the recorder said last on /diagnostics."""
        return self.reports[RECORDER]

    @property
    def has_simulation(self) -> bool:
        """Whether a simulation says something."""
        return WORLD in self.reports

    def await_recorder(self) -> None:
        """Wait until it speaks.

        Raises:
            RecorderGoneError: it does not.
        """
        self.wait(
            lambda: RECORDER in self.reports, _APPEAR_TIMEOUT, lambda: "there is no recorder_node in this ROS domain"
        )

    def wait(self, condition: Callable[[], bool], timeout: float, otherwise: Callable[[], str]) -> None:
        """Spin until the condition holds.

        Raises:
            RecorderGoneError: not within `timeout` [s] (`otherwise` then says what that means), or a node ended.
        """
        if not self.spin_until(lambda: condition() or bool(self._ended()), timeout):
            raise RecorderGoneError(otherwise())
        self.check()

    def check(self) -> None:
        """Raise RecorderGoneError when one of our nodes has ended."""
        if reason := self._ended():
            raise RecorderGoneError(f"{reason.rstrip('.')}; the log of the nodes has more")

    def publish_instruction(self, instruction: str) -> None:
        """Say the command in words, for the following episodes."""
        self._instruction.publish(String(data=instruction))
