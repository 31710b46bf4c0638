"""The scripted operator at two simulated leader arms, each on a pseudo-terminal of its own.

A leader arm sends nothing but its own joints, as the commands 0x151, 0x155-0x157 and 0x159 that a follower on its bus
would obey, and is silent while it does not move.
"""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path
from typing import Final

import numpy as np

from wav_models.types import FloatArray
from wav_policy.piper.frames import Frame
from wav_policy.robot.joints import SIDES
from wav_policy.sim.firmware.device_link import DeviceLink
from wav_policy.sim.firmware.feedback import leader_frames
from wav_policy.sim.firmware.slcan_port import SlcanPort
from wav_policy.sim.operator import ACTION_PERIOD, arm_part
from wav_policy.sim.ticks import ticks
from wav_policy.sim.world import World

_FRAME_PERIOD: Final = 0.01
"""Of a moving leader [s]."""

_FRAMES_PER_ACTION: Final = round(ACTION_PERIOD / _FRAME_PERIOD)


class LeaderArm:
    """One leader: moves in straight lines to where it is led, and says where it is while it moves.

    Args:
        link: symbolic link to create, pointing to the pseudo-terminal; an older link is replaced.
        position: joints and stroke at the start, shape [7], rad and m.
    """

    def __init__(self, link: Path, position: FloatArray) -> None:
        self._link = DeviceLink(link)
        self._port = SlcanPort()
        self._link.point_to(self._port.path)
        self._position = np.array(position, dtype=np.float64)
        self._sent: deque[list[Frame]] = deque(maxlen=2)

    def advance(self, target: FloatArray, fraction: float) -> None:
        """Go this fraction of the way to `target` [7]; tell every place twice, so that no damaged frame is the last."""
        self._position = self._position + fraction * (target - self._position)
        self._port.receive()
        frames = leader_frames(self._position)
        if not self._port.is_open:
            self._sent.clear()
        elif self._sent.count(frames) < 2:
            self._sent.append(frames)
            self._port.send(frames)

    def close(self) -> None:
        """Unplug the adapter."""
        self._link.remove()
        self._port.close()


class Teleoperator(threading.Thread):
    """Does the task in real time at both leaders when asked; then rests until asked again.

    Args:
        world: what the operator looks at.
        links: of the leaders' pseudo-terminals by side.

    Attributes:
        fault: what ended the thread; None while all is well.
    """

    def __init__(self, world: World, links: dict[str, Path]) -> None:
        super().__init__(name="teleoperator", daemon=True)
        self.fault: BaseException | None = None
        self._world = world
        self._operator = world.task.make_operator()
        self._target = world.joint_positions
        self._leaders = {side: LeaderArm(links[side], arm_part(self._target, side)) for side in SIDES}
        self._working = False
        self._stopping = threading.Event()

    def operate(self) -> None:
        """Do the task that lies on the table, from now on until it is done."""
        with self._world.lock:
            self._operator = self._world.task.make_operator()
            self._working = True

    def rest(self) -> None:
        """Hold the leaders still."""
        self._working = False

    def stop(self) -> None:
        """End the thread and unplug the leaders."""
        self._stopping.set()
        self.join()
        for leader in self._leaders.values():
            leader.close()

    def run(self) -> None:
        try:
            self._work()
        except Exception as error:
            self.fault = error

    def _work(self) -> None:
        frames_left = 0
        for _ in ticks(_FRAME_PERIOD, self._stopping):
            if frames_left == 0:
                self._decide()
                frames_left = _FRAMES_PER_ACTION
            for side, leader in self._leaders.items():
                leader.advance(arm_part(self._target, side), 1.0 / frames_left)
            frames_left -= 1

    def _decide(self) -> None:
        with self._world.lock:
            self._working = self._working and not self._world.success()
            if self._working:
                self._target = self._operator.act(self._world)
