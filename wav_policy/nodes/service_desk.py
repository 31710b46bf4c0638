"""Answers for piper_node who asks for its parameters or its state, or wants a transition.

These requests hold texts and lists of any length, and rclpy decodes them while every other thread of its process
waits. Here they keep nobody waiting but `chunk_gateway`. piper_node carries out one transition after another: who asks
meanwhile waits, in the middleware's queue, until that one is answered.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from lifecycle_msgs.msg import State, Transition, TransitionDescription
from lifecycle_msgs.srv import ChangeState, GetAvailableStates, GetAvailableTransitions, GetState
from rclpy.node import Node
from rclpy.parameter_service import ParameterService
from rclpy.service import Service

from wav_policy.nodes.messages.gateway_words import Answer, Introduction, Wanted
from wav_policy.nodes.runtime.parameters import Described, declare_described, refuse_nonsense
from wav_policy.nodes.runtime.polling import NeverCalled

_KINDS: Final[dict[str, Any]] = {
    "change_state": ChangeState,
    "get_state": GetState,
    "get_available_states": GetAvailableStates,
    "get_available_transitions": GetAvailableTransitions,
    "get_transition_graph": GetAvailableTransitions,
}


class ServiceDesk:
    """Services of the node that has introduced itself.

    Args:
        node: has the services, under the other one's name.
        introduction: of the other one.
        ask: tells it what is wanted.
    """

    def __init__(self, node: Node, introduction: Introduction, ask: Callable[[Wanted], None]) -> None:
        self._introduction = introduction
        self._ask = ask
        self._state = introduction.state
        self._number = secrets.randbits(31)  # an answer to what the desk before this one was asked must not fit
        self._waiting: tuple[Service, Any] | None = None
        self._overtaken: deque[tuple[Any, Any]] = deque()
        declare_described(node, (Described(**fields) for fields in introduction.parameters))
        self._namesake = _Namesake(node, introduction.name)
        ParameterService(self._namesake)
        refuse_nonsense(node)
        unhandled = NeverCalled()
        self._services = {
            name: node.create_service(
                kind, f"{introduction.name}/{name}", lambda _, response: response, callback_group=unhandled
            )
            for name, kind in _KINDS.items()
        }

    def hear(self, answer: Answer) -> None:
        """What became of a transition, which whoever wanted it is told."""
        self._state = answer.state
        if self._waiting is not None and answer.number == self._number:
            service, header = self._waiting
            self._waiting = None
            service.send_response(ChangeState.Response(success=answer.success), header)

    def overtake(self) -> None:
        """The transitions that have been asked for by now power and park nothing."""
        while (asked := _take(self._services["change_state"]))[0] is not None:
            self._overtaken.append(asked)

    def serve(self) -> None:
        """Answer who has asked by now."""
        for name, service in self._services.items():
            while self._waiting is None:
                is_overtaken = name == "change_state" and bool(self._overtaken)
                request, header = self._overtaken.popleft() if is_overtaken else _take(service)
                if request is None:
                    break
                response = self._answer(name, request, is_overtaken)
                if response is None:
                    self._waiting = service, header
                else:
                    service.send_response(response, header)

    def _answer(self, name: str, request: Any, is_overtaken: bool) -> Any:
        """The response; None where it has to be waited for."""
        if name == "change_state":
            return self._want(request.transition, is_overtaken)
        if name == "get_state":
            return GetState.Response(current_state=State(id=self._state, label=self._label(self._state)))
        if name == "get_available_states":
            states = [State(id=number, label=label) for number, label in self._introduction.states]
            return GetAvailableStates.Response(available_states=states)
        here = name == "get_available_transitions"
        graph = [_describe(row) for row in self._introduction.graph if not here or row[2] == self._state]
        return GetAvailableTransitions.Response(available_transitions=graph)

    def _want(self, wanted: Transition, is_overtaken: bool) -> ChangeState.Response | None:
        """A label goes before an id; what is not possible now is answered at once."""
        for number, label, start, *_ in self._introduction.graph:
            if start == self._state and (wanted.label == label if wanted.label else wanted.id == number):
                self._number = (self._number + 1) % 2**32
                self._ask(Wanted(self._number, number, is_overtaken))
                return None
        return ChangeState.Response(success=False)

    def _label(self, state: int) -> str:
        return dict(self._introduction.states).get(state, "unknown")


def _take(service: Service) -> tuple[Any, Any]:
    """A request and its header; None and nothing where nobody asks."""
    with service.handle:
        asked: tuple[Any, Any] = service.handle.service_take_request(service.srv_type.Request)
        return asked


class _Namesake:
    """The node under the name of the one whose parameters it tells."""

    def __init__(self, node: Node, name: str) -> None:
        self._node = node
        self._name = name

    def get_name(self) -> str:
        return self._name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._node, attribute)


def _describe(row: tuple[int, str, int, str, int, str]) -> TransitionDescription:
    number, label, start, start_label, goal, goal_label = row
    return TransitionDescription(
        transition=Transition(id=number, label=label),
        start_state=State(id=start, label=start_label),
        goal_state=State(id=goal, label=goal_label),
    )
