"""What single operations of the driver cost, beside what they cost through python-can and piper_sdk as delivered."""

from __future__ import annotations

import os
import time
import tty
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import can
import numpy as np
from can.interfaces.slcan import slcanBus
from piper_sdk import C_PiperInterface_V2, LogLevel

from wav_models.types import FloatArray
from wav_policy.piper import frames, units
from wav_policy.piper.feedback import FeedbackReader
from wav_policy.piper.frames import FrameId
from wav_policy.piper.setpoints import setpoint_frames
from wav_policy.piper.slcan_bus import BatchedSlcanBus
from wav_policy.robot.joints import ARM_DOF

_REPEAT: Final = 150
_FRAMES: Final = (
    (FrameId.STATUS, bytes((1, 0, 1, 0, 0, 0, 0, 0))),
    (FrameId.JOINTS_12, bytes(8)),
    (FrameId.JOINTS_34, bytes(8)),
    (FrameId.JOINTS_56, bytes(8)),
    (FrameId.GRIPPER, bytes(8)),
)
_TEXT: Final = b"".join(b"t%03X8%s\r" % (number, data.hex().encode()) for number, data in _FRAMES)
_EFFORT: Final = 1.0


@dataclass(frozen=True)
class FrameCosts:
    """Processor time [us].

    Attributes:
        receive: one frame from a serial line to identifier and data.
        receive_python_can: the same by python-can's slcan bus.
        decode: one frame of feedback, with its share of a reading.
        decode_piper_sdk: the same by `ParseCANFrame`.
        set_point: the four frames of one arm's target, encoded and written.
        set_point_piper_sdk: the same by `JointCtrl` and `GripperCtrl`.
    """

    receive: float
    receive_python_can: float
    decode: float
    decode_piper_sdk: float
    set_point: float
    set_point_piper_sdk: float


def measure_frame_costs() -> FrameCosts:
    """Takes about a second."""
    controller, client = os.openpty()
    try:
        tty.setraw(client)
        path = os.ttyname(client)
        return FrameCosts(
            *_receiving(controller, path),
            *_decoding(BatchedSlcanBus(path, sleep_after_open=0.0)),
            *_sending(controller, path),
        )
    finally:
        os.close(controller)
        os.close(client)


def _receiving(controller: int, path: str) -> tuple[float, float]:
    ours, theirs = BatchedSlcanBus(path, sleep_after_open=0.0), slcanBus(path, sleep_after_open=0.0)

    def read_ours() -> None:
        os.write(controller, _TEXT)
        count = 0
        while count < len(_FRAMES):
            count += len(ours.receive(1.0))

    def read_theirs() -> None:
        os.write(controller, _TEXT)
        count = 0
        while count < len(_FRAMES):
            count += theirs.recv(1.0) is not None

    return _cost(read_ours) / len(_FRAMES), _cost(read_theirs) / len(_FRAMES)


def _decoding(bus: BatchedSlcanBus) -> tuple[float, float]:
    sdk = _sdk("cost of decoding")
    reader = FeedbackReader(bus, sdk, "cost", time.monotonic, lambda: None, max_gap=10.0)
    messages = [can.Message(arbitration_id=n, data=d, is_extended_id=False) for n, d in _FRAMES]

    def ours() -> None:
        reader.take(_FRAMES)

    def theirs() -> None:
        for message in messages:
            sdk.ParseCANFrame(message)

    return _cost(ours) / len(_FRAMES), _cost(theirs) / len(_FRAMES)


def _sending(controller: int, path: str) -> tuple[float, float]:
    ours = BatchedSlcanBus(path, sleep_after_open=0.0)
    sdk = _sdk("cost of sending")
    transport = sdk.GetCanBus()
    transport.recv_bus = transport.send_bus = slcanBus(path, sleep_after_open=0.0)
    position: FloatArray = np.linspace(-0.3, 0.03, ARM_DOF, dtype=np.float64)

    def send_ours() -> None:
        ours.transmit(setpoint_frames(position, _EFFORT))
        os.read(controller, 4096)

    def send_theirs() -> None:
        sdk.JointCtrl(*units.millidegrees_from_radians(position[:-1]))
        stroke = units.micrometres_from_metres(position[-1])
        sdk.GripperCtrl(stroke, units.effort_counts_from_newton_metres(_EFFORT), frames.GRIPPER_ON, 0)
        os.read(controller, 4096)

    return _cost(send_ours), _cost(send_theirs)


def _cost(operation: Callable[[], None]) -> float:
    """Median processor time of one call [us]; the median sheds what other processes disturb."""
    times = []
    for _ in range(_REPEAT):
        began = time.thread_time()
        operation()
        times.append(time.thread_time() - began)
    return 1e6 * float(np.median(times))


def _sdk(name: str) -> C_PiperInterface_V2:
    sdk = C_PiperInterface_V2(name, judge_flag=False, can_auto_init=False, logger_level=LogLevel.CRITICAL)
    sdk.CreateCanBus(name, bustype="virtual", judge_flag=False)
    return sdk
