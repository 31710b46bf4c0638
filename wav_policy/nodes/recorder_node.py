"""Node that records episodes from the topics of the contract as a LeRobot v3.0 dataset, started and stopped by service.

What a frame holds: the three cameras and the measured joints as they were at its tick, and as `action` the joints
commanded for the next tick: the leader arms' under teleoperation, the target executed behind the safety filter under
policy control.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, JointState
from std_srvs.srv import Trigger

from wav_models.words import counted
from wav_policy.bringup.node_parameters import ACTION_TOPICS, RecorderNodeConfig
from wav_policy.bringup.parameter_files import ParameterError
from wav_policy.nodes.messages.camera_info import facts_from_message
from wav_policy.nodes.messages.instruction_topic import subscribe_instruction
from wav_policy.nodes.messages.joint_state import JointNamesError, JointPicker, OtherJointsError
from wav_policy.nodes.messages.limits import MessageError
from wav_policy.nodes.messages.qos import NEWEST
from wav_policy.nodes.messages.subscribing import subscribe
from wav_policy.nodes.runtime.camera_subscriptions import CameraSubscriptions
from wav_policy.nodes.runtime.diagnostics import ERROR, OK, WARN, Diagnostics, status
from wav_policy.nodes.runtime.parameters import declare
from wav_policy.nodes.runtime.polling import DrainingThread, NeverCalled, PolledTopic
from wav_policy.nodes.runtime.spin import run
from wav_policy.policy.observation import IMAGE_TOPICS, JOINT_TOPIC
from wav_policy.recording.episode_writer import DatasetError
from wav_policy.recording.live_recorder import RECORDING, LiveRecorder, RecorderError
from wav_policy.recording.sources import Sources
from wav_policy.robot.cameras import SOURCES, VIEWS

_CPU_WINDOW = 5.0  # s


class RecorderNode(Node):
    """The skin over `LiveRecorder`."""

    def __init__(self) -> None:
        super().__init__("recorder_node")
        config = self.config = declare(self, RecorderNodeConfig)
        topics = {**IMAGE_TOPICS, "joint_states": JOINT_TOPIC, "action": ACTION_TOPICS[config.action_source]}
        clock = self._seconds
        self._sources = Sources({source: topics[source] for source in SOURCES}, config.sampling, clock)
        try:
            self._recorder = LiveRecorder(
                config.recorder(),
                self._sources,
                extra={"action_source": config.action_source},
                clock=clock,
                on_event=self._log,
            )
        except (DatasetError, OSError) as error:
            raise ParameterError(f"recorder_node: {error}") from error
        self._recorder.instruction = config.instruction
        unhandled = NeverCalled()  # by the executor: some 500 messages a second are too many for it
        self._cameras = CameraSubscriptions(self, self._sources, config.image_transport, unhandled)
        self._pickers = {source: JointPicker() for source in ("joint_states", "action")}
        joints = [
            subscribe(
                self,
                JointState,
                topics[source],
                partial(self._on_joints, source),
                qos_profile_sensor_data,
                partial(self._sources.reject, source),
                callback_group=unhandled,
            )
            for source in self._pickers
        ]
        self._captures = DrainingThread(self, [*self._cameras.subscriptions, *joints])
        subscribe_instruction(self, self._on_instruction)
        self._optics = {view: PolledTopic(self, CameraInfo, f"{view}/camera_info", NEWEST) for view in VIEWS}
        self._commands = MutuallyExclusiveCallbackGroup()  # writing an episode to the disk must not stop the cameras
        self._offer("start", self._start)
        self._offer("stop", self._recorder.stop)
        self._offer("stop_success", partial(self._recorder.stop, True))
        self._offer("stop_failure", partial(self._recorder.stop, False))
        self._offer("discard", self._recorder.discard)
        self._offer("rerecord", self._recorder.rerecord)
        self._cpu, self._cpu_since = 0.0, (time.monotonic(), time.process_time())
        self._diagnostics = Diagnostics(self, self._report)
        self.get_logger().info(f"{counted(self._recorder.status().episodes, 'episode')} in {config.recorder().dataset}")

    def close(self) -> None:
        """Keep what there is of an episode in progress, release the dataset and destroy the node."""
        self._captures.close()
        self._recorder.close()
        self._diagnostics.destroy()
        self.destroy_node()

    def _seconds(self) -> float:
        return float(self.get_clock().now().nanoseconds) * 1e-9

    def _offer(self, name: str, command: Callable[[], str]) -> None:
        def answer(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            try:
                response.message, response.success = command(), True
            except RecorderError as error:
                response.message, response.success = str(error), False
            return response

        self.create_service(Trigger, f"recorder/{name}", answer, callback_group=self._commands)

    def _start(self) -> str:
        """An episode, with what the cameras say of their optics."""
        told = dict(self._recorder.extra.pop("camera_info", {}))
        for view, topic in self._optics.items():
            if (message := topic.take()) is None:
                continue
            try:
                told[view] = facts_from_message(message)
            except MessageError as error:
                told.pop(view, None)
                self.get_logger().warning(f"{view}/camera_info: {error}")
        if told:
            self._recorder.extra["camera_info"] = told
        return self._recorder.start()

    def _on_joints(self, source: str, message: JointState) -> None:
        try:
            positions, efforts, stamp = self._pickers[source].take(message)
        except OtherJointsError as error:
            self._sources.note(source, str(error))
            return
        except JointNamesError as error:
            self._sources.reject(source, str(error))
            return
        self._sources.add_joints(source, positions, stamp, efforts)

    def _on_instruction(self, instruction: str) -> None:
        self._recorder.instruction = instruction

    def _log(self, message: str, failed: bool) -> None:
        if failed:
            self.get_logger().warning(message)
        else:
            self.get_logger().info(message)

    def _report(self) -> Iterator[DiagnosticStatus]:
        recorder = self._recorder.status()
        values = asdict(recorder)
        state, last = values.pop("state"), values.pop("message")
        values.pop("failed")
        if state == RECORDING:
            level, message = (WARN, f"recording below {self.config.fps} Hz") if recorder.slow else (OK, "recording")
        elif recorder.blocked:
            level, message = WARN, f"cannot record: {recorder.blocked}"
        else:
            level, message = OK, "ready"
        if recorder.failed and state != RECORDING:
            level = ERROR
        values |= self._cameras.counts()
        values |= {f"{topic} stamps not believed": count for topic, count in self._sources.dropped().items()}
        cpu = self._cpu_percent()
        yield status(
            "recorder_node: episode", level, message, last=last, fps=self.config.fps, cpu_percent=cpu, **values
        )

    def _cpu_percent(self) -> float:
        """Of one core, over the last `_CPU_WINDOW` [%]."""
        wall, used = time.monotonic(), time.process_time()
        if wall - self._cpu_since[0] >= _CPU_WINDOW:
            self._cpu = 100.0 * (used - self._cpu_since[1]) / (wall - self._cpu_since[0])
            self._cpu_since = wall, used
        return self._cpu


def main() -> int:
    """Run the node until a signal asks it to end. Exit code 1 when a parameter is wrong or the dataset is unusable."""
    return run(RecorderNode, RecorderNode.close, num_threads=2)


if __name__ == "__main__":
    sys.exit(main())
