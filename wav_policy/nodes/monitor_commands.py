"""Carries out what the page's buttons ask for: services and topics of the contract, nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from wav_policy.monitor import commands
from wav_policy.monitor.commands import CommandError
from wav_policy.nodes.clients import leading
from wav_policy.nodes.messages.chunk_topic import CHUNK_TOPIC, LEADERS
from wav_policy.nodes.messages.instruction_topic import make_instruction_publisher
from wav_policy.nodes.messages.limits import cut
from wav_policy.policy.instruction import instruction_fault

_TRIGGERS: Final = {
    commands.STOP: "piper/stop",
    commands.RESET: "piper/reset",
    commands.RECORD_START: "recorder/start",
    commands.RECORD_STOP: "recorder/stop",
    commands.RECORD_SUCCESS: "recorder/stop_success",
    commands.RECORD_FAILURE: "recorder/stop_failure",
    commands.RECORD_DISCARD: "recorder/discard",
    commands.RESET_TASK: "sim/reset",
}
_ENABLE: Final = "piper/enable"
_HOLD: Final = "piper/hold"
_HOME: Final = "piper/home"
_TIMEOUT: Final = 30.0
"""Enabling arms takes seconds [s]."""
_SHORT_TIMEOUT: Final = 5.0
"""[s]"""


class RosCommander:
    """A `wav_policy.monitor.commands.Commander` of this ROS domain.

    `obey` is called from other threads than the executor's, which must be spinning.

    Args:
        node: owner of clients and publisher.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._halts = 0
        self._under_way: set[str] = set()
        self._lock = threading.Lock()
        self._triggers = {name: node.create_client(Trigger, service) for name, service in _TRIGGERS.items()}
        self._enable = node.create_client(SetBool, _ENABLE)
        self._hold_arms = node.create_client(Trigger, _HOLD)
        self._take_home = node.create_client(Trigger, _HOME)
        managed = leading.ARMS, *LEADERS
        self._change = {name: node.create_client(ChangeState, f"{name}/change_state") for name in managed}
        self._state = {name: node.create_client(GetState, f"{name}/get_state") for name in managed}
        self._instruction = make_instruction_publisher(node)

    def available(self) -> frozenset[str]:
        """Commands for which somebody is there."""
        names = {name for name, client in self._triggers.items() if client.service_is_ready()}
        if self._change[leading.ARMS].service_is_ready() and self.leaders():
            names.add(commands.START)
        if self._hold_arms.service_is_ready():
            names.add(commands.HOLD)
        if self._take_home.service_is_ready():
            names.add(commands.HOME)
        return frozenset(names | {commands.INSTRUCT})

    def obey(self, command: str, text: str = "") -> str:
        """See `Commander.obey`."""
        self._node.get_logger().info(f"from the page: {command}{f' {cut(text)!r}' if text else ''}")
        if command == commands.INSTRUCT:
            return self._instruct(text)
        if command in (commands.HOLD, commands.STOP, commands.HOME):
            with self._lock:
                self._halts += 1
        if command == commands.STOP:
            return self._trigger(command)
        with self._once_at_a_time(command):
            if command == commands.START:
                return self._start()
            if command == commands.HOLD:
                return self._hold()
            if command == commands.HOME:
                return self._home()
            return self._trigger(command)

    @contextmanager
    def _once_at_a_time(self, command: str) -> Iterator[None]:
        """Impatient clicks must not fill the threads that an emergency stop needs."""
        with self._lock:
            is_first = command not in self._under_way
            self._under_way.add(command)
        if not is_first:
            if command == commands.HOLD:  # whoever leads may go on meanwhile, and the arms with it
                self.brake()
            raise CommandError(f"{command.replace('_', ' ')} is still under way")
        try:
            yield
        finally:
            with self._lock:
                self._under_way.discard(command)

    def leaders(self) -> list[str]:
        return [name for name in LEADERS if self._change[name].service_is_ready()]

    def _instruct(self, text: str) -> str:
        if not text.strip():
            raise CommandError("the instruction is empty")
        if fault := instruction_fault(text.strip()):
            raise CommandError(fault)
        self._instruction.publish(String(data=text.strip()))
        return f"instruction: {text.strip()}"

    def _start(self) -> str:
        """A halt asked for meanwhile has the last word."""
        leaders = leading.start(self, partial(self._check_not_halted, self._halts))
        return f"arms enabled, {' and '.join(leaders) or 'nobody'} leads them"

    def _check_not_halted(self, halts: int, command: str = "Start") -> None:
        if self._halts != halts:
            self._hold()
            raise CommandError(f"{command} was interrupted by Hold, Home or the emergency stop")

    def _hold(self) -> str:
        leaders = self._halt(self._check_no_stranger)
        return f"the arms hold, {' and '.join(leaders) or 'nobody'} stopped leading; Start goes on"

    def _home(self) -> str:
        """Nobody leads any more, lest the arms leave again as soon as they have arrived."""
        halts = self._halts
        self._halt()
        check = partial(self._check_not_halted, halts, "Home")
        check()
        answer = self._succeed(_HOME, self._call(self._take_home, Trigger.Request(), on_sent=check))
        try:
            self._check_no_stranger()
        except CommandError as error:
            raise CommandError(f"{answer}, but {error}") from None
        return f"{answer}; Start goes on"

    def _halt(self, *checks: Callable[[], None]) -> list[str]:
        """Those who would lead the arms on."""
        leaders, failures = leading.halt(self, *checks)
        if failures:
            raise CommandError(f"{'; '.join(failures)}. The arms may move: press EMERGENCY STOP if they must not")
        return leaders

    def brake(self) -> None:
        self._succeed(_HOLD, self._call(self._hold_arms, Trigger.Request(), _SHORT_TIMEOUT))

    def enable(self) -> None:
        self._succeed(_ENABLE, self._call(self._enable, SetBool.Request(data=True)))

    def activate(self, node: str) -> None:
        self._change_state(node, Transition.TRANSITION_ACTIVATE, "activate")

    def deactivate(self, node: str) -> None:
        self._change_state(node, Transition.TRANSITION_DEACTIVATE, "deactivate")

    def _check_no_stranger(self) -> None:
        """Who publishes chunks besides the leaders goes on doing so, and the arms follow the next one."""
        publishers = self._node.get_publishers_info_by_topic(CHUNK_TOPIC)
        strangers = sorted({publisher.node_name for publisher in publishers} - set(LEADERS))
        if strangers:
            raise CommandError(f"{' and '.join(strangers)} also publishes {CHUNK_TOPIC}, which Hold does not stop")

    def _trigger(self, command: str) -> str:
        service = _TRIGGERS[command]
        timeout = _SHORT_TIMEOUT if command == commands.STOP else _TIMEOUT
        return self._succeed(service, self._call(self._triggers[command], Trigger.Request(), timeout))

    def is_active(self, node: str) -> bool:
        state = self._call(self._state[node], GetState.Request(), _SHORT_TIMEOUT).current_state
        return bool(state.id == State.PRIMARY_STATE_ACTIVE)

    def _change_state(self, node: str, transition: int, verb: str) -> None:
        request = ChangeState.Request(transition=Transition(id=transition))
        if not self._call(self._change[node], request).success:
            raise CommandError(f"{node} did not {verb}; its own message says why")

    @staticmethod
    def _succeed(service: str, response: Any) -> str:
        if not response.success:
            raise CommandError(f"{service} refused: {response.message}")
        return str(response.message)

    def _call(
        self, client: Any, request: Any, timeout: float = _TIMEOUT, on_sent: Callable[[], None] = lambda: None
    ) -> Any:
        """Wait for the answer while the executor's thread receives it."""
        if not client.service_is_ready():
            raise CommandError(f"there is no service {client.srv_name}")
        answered = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: answered.set())
        on_sent()
        if not answered.wait(timeout):
            client.remove_pending_request(future)
            raise CommandError(f"{client.srv_name} did not answer within {timeout:g} s")
        return future.result()
