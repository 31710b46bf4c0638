"""Node that stands in for arms and cameras: MuJoCo in real time, slcan pseudo-terminals, three camera topics."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.msg import IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import String
from std_srvs.srv import Trigger

from wav_models.endings import WRONG_USE
from wav_models.signals import on_end
from wav_policy.bringup.node_parameters import SimConfig
from wav_policy.nodes.messages.instruction_topic import make_instruction_publisher
from wav_policy.nodes.runtime.diagnostics import OK, WARN, Diagnostics, status
from wav_policy.nodes.runtime.parameters import declare
from wav_policy.nodes.runtime.spin import finish, logging_failures, start
from wav_policy.nodes.sim_workers import CameraFeed, JointFeed, Physics, SimWorker
from wav_policy.sim.camera_faults import parse_camera_faults
from wav_policy.sim.cameras import RenderingError
from wav_policy.sim.firmware import FaultSet, SimulatedArm

if TYPE_CHECKING:
    from wav_policy.sim.teleoperator import Teleoperator

_MIN_REAL_TIME_FACTOR = 0.95

_LAST_SEED = 2**63 - 2
"""After it comes one that is no parameter of ROS any more."""

_FAULT_PARAMETERS = {"fault.left": "left", "fault.right": "right"}
"""What is wrong with the simulated arms, settable at any time; see `wav_policy.sim.firmware.faults`."""

_CAMERA_FAULTS = "fault.cameras"
"""What is wrong with the cameras; see `wav_policy.sim.camera_faults`."""

_ADAPTERS = "fault.adapters"
"""Which arm is behind which link from its next plugging in (`unplug`) on: "" or "swapped"."""


class SimNode(Node):
    """The world, its threads, `sim/reset` and what it says on /diagnostics."""

    def __init__(self) -> None:
        super().__init__("sim_node")
        self.config = declare(self, SimConfig)
        seeds = IntegerRange(from_value=0, to_value=_LAST_SEED, step=1)
        self.declare_parameter("next_seed", self.config.seed, ParameterDescriptor(integer_range=[seeds]))
        from wav_policy.sim.tasks import make_task
        from wav_policy.sim.world import World

        self.world = World(make_task(self.config.task))
        self._seed = 0
        self._resets = 0
        self._teleoperator: Teleoperator | None = None
        self._instruction = make_instruction_publisher(self)
        self._lay_out(teleport=True)
        self._cameras = CameraFeed(self, self.world, self.config.image_rate)
        self._joints = JointFeed(self, self.world)
        self._links = {"left": Path(self.config.can_left), "right": Path(self.config.can_right)}
        self._arms = {
            side: SimulatedArm(self.world.arm(side), link, self.config.feedback) for side, link in self._links.items()
        }
        self._physics = Physics(self.world, self._arms.values(), self.config.feedback.tick)
        self._teleoperator = self._make_teleoperator()
        for name in (*_FAULT_PARAMETERS, _CAMERA_FAULTS, _ADAPTERS):
            self.declare_parameter(name, "", ignore_override=True)
        self.add_on_set_parameters_callback(self._on_parameters)
        self._diagnostics = Diagnostics(self, self._report)

    def start(self) -> None:
        """Start physics, cameras and arms; `sim/reset` exists from then on."""
        for arm in self._arms.values():
            arm.plug_in()
        for worker in self._workers():
            worker.start()
        if self._teleoperator is not None:
            self._teleoperator.start()
        if self._teleoperator is not None:
            self.create_service(Trigger, "sim/operate", self._on_operate)
        self.create_service(Trigger, "sim/reset", self._on_reset)
        self.get_logger().info(f"arms at {self.config.can_left} and {self.config.can_right}")

    def stop(self) -> None:
        """Stop the threads and unplug the arms."""
        if self._teleoperator is not None:
            self._teleoperator.stop()
        for worker in self._workers():
            worker.stop()
        for arm in self._arms.values():
            arm.unplug()

    def check(self) -> None:
        """Raise what a thread has failed with."""
        for thread in (*self._workers(), self._teleoperator):
            if thread is not None and thread.fault is not None:
                raise thread.fault

    def _make_teleoperator(self) -> Teleoperator | None:
        """The scripted operator at the leader arms; None without leader arms."""
        links = {"left": self.config.can_leader_left, "right": self.config.can_leader_right}
        if not any(links.values()):
            return None
        if not all(links.values()):
            raise ValueError(f"can_leader_left and can_leader_right go together, got {links}")
        from wav_policy.sim.teleoperator import Teleoperator

        return Teleoperator(self.world, {side: Path(link) for side, link in links.items()})

    def _workers(self) -> tuple[SimWorker, ...]:
        return self._physics, self._cameras, self._joints

    def _on_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        """Let arms and cameras fail as the parameters `fault.*` say; unknown faults are refused by name."""
        try:
            faults = {
                _FAULT_PARAMETERS[p.name]: FaultSet.parse(p.value) for p in parameters if p.name in _FAULT_PARAMETERS
            }
            blind = [parse_camera_faults(p.value) for p in parameters if p.name == _CAMERA_FAULTS]
            orders = [parse_adapters(p.value) for p in parameters if p.name == _ADAPTERS]
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        for cameras in blind:
            self._cameras.faults = cameras
        for order in orders:
            for side, adapter in zip(self._arms, order, strict=True):
                self._arms[side].link = self._links[adapter]
        for side, present in faults.items():
            self._arms[side].faults = present
        return SetParametersResult(successful=True)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._lay_out(self.config.teleport_arms)
        response.success = True
        response.message = f"seed {self._seed}: {self.world.instruction}"
        return response

    def _on_operate(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """The scripted operator does the task at the leader arms."""
        assert self._teleoperator is not None
        self._teleoperator.operate()
        response.success, response.message = True, f"doing the task: {self.world.instruction}"
        return response

    def _lay_out(self, teleport: bool) -> None:
        """New objects from the seed `next_seed`, which then counts on; the arms stay unless teleported."""
        self._seed = self.get_parameter("next_seed").value
        self.set_parameters([Parameter("next_seed", value=self._seed + 1)])
        with self.world.lock:
            start = None if teleport else self.world.joint_positions
            self.world.reset(self._seed, start)
        self._resets += 1
        if self._teleoperator is not None:
            self._teleoperator.rest()
        if self.config.publish_instruction:
            self._instruction.publish(String(data=self.world.instruction))

    def _report(self) -> list[DiagnosticStatus]:
        world, factor, success = self.world, self._physics.real_time_factor, self.world.success()
        slow = factor < _MIN_REAL_TIME_FACTOR
        message = "task done" if success else "slower than real time" if slow else "running"
        return [
            status(
                "sim_node: world",
                WARN if slow else OK,
                message,
                real_time_factor=factor,
                success=success,
                seed=self._seed,
                resets=self._resets,
                episode_time=world.time,
                instruction=world.instruction,
                image_rate=self._cameras.rate,
                render_ms=1e3 * self._cameras.seconds,
                dropped_frames_left=self._arms["left"].dropped,
                dropped_frames_right=self._arms["right"].dropped,
                fault_left=self._arms["left"].faults,
                fault_right=self._arms["right"].faults,
            )
        ]


def parse_adapters(text: str) -> tuple[str, str]:
    """Whose adapters the left and the right arm are plugged into.

    Raises:
        ValueError: naming what is possible.
    """
    orders = {"": ("left", "right"), "swapped": ("right", "left")}
    if text not in orders:
        raise ValueError(f"{_ADAPTERS} is {text!r}; 'swapped', or '' for each its own")
    return orders[text]


def main() -> int:
    """Exit code 1 when the simulation cannot start or one of its threads fails, `WRONG_USE` for a wrong parameter."""
    stopping = threading.Event()
    on_end(stopping.set)
    try:
        node = start(SimNode)
        if node is None:
            return WRONG_USE
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        node.start()
        try:
            while not stopping.is_set():
                with logging_failures(node):
                    executor.spin_once(timeout_sec=0.1)
                node.check()
        finally:
            executor.shutdown()
            node.stop()
        return 0
    except (RenderingError, ValueError) as error:
        print(f"sim_node: {error}", file=sys.stderr)
        return 1
    finally:
        finish()


if __name__ == "__main__":
    sys.exit(main())
