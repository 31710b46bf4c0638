"""Parameters of `piper_node`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np

from wav_models.configuration import NotNegative, Positive, Range
from wav_policy.control.chunk_executor import ChunkingConfig
from wav_policy.control.minimum_jerk import joint_speeds
from wav_policy.control.safety import SafetyLimits
from wav_policy.piper.arm_driver import ArmConfig
from wav_policy.piper.bus import INTERFACES
from wav_policy.robot.joints import JOINT_DIM, SIDES, both_arms


@dataclass(frozen=True)
class PiperNodeConfig:
    """Parameters of the node.

    Attributes:
        can_interface: "socketcan" or "slcan".
        can_left, can_right: network interfaces (socketcan) or serial devices (slcan).
        usb_left, usb_right: USB serial numbers of the adapters, which are then found whatever they are called; "": the
            names above are believed. `wav arm find` tells them.
        arms: "both"; "left" or "right" runs that arm alone. The other one is then not opened, and its joints are said
            to be where they were sent.
        control_rate: targets per second; two of its periods must fit safety.max_tick [Hz].
        realtime_priority: of all threads, under SCHED_FIFO, where that is permitted; 0: an ordinary process.
        home: pose of piper/home, shape [14], rad and m.
        home_speed: largest joint speed on the way home [rad/s]; grippers at most a tenth of it [m/s].
        park_speed: largest joint speed on the way to the home pose on deactivation, grippers as they are [rad/s]; 0:
            brake and hold where the arms are.
        publish_description: the URDF on robot_description, latched; robot_state_publisher, where it runs, does so.
    """

    can_interface: str = "socketcan"
    can_left: str = "can_left"
    can_right: str = "can_right"
    usb_left: str = ""
    usb_right: str = ""
    arms: str = "both"
    control_rate: Annotated[float, Range(10.0, 500.0)] = 200.0
    realtime_priority: Annotated[int, Range(0, 99)] = 50
    home: tuple[float, ...] = (
        *(0.0, 1.1716, -0.6219, 0.0, 1.1084, -1.5708, 0.07),
        *(0.0, 1.1716, -0.6219, 0.0, 1.1084, 1.5708, 0.07),
    )
    home_speed: Positive = 0.5
    park_speed: NotNegative = 0.8
    publish_description: bool = False
    arm: ArmConfig = field(default_factory=ArmConfig)
    safety: SafetyLimits = field(default_factory=SafetyLimits)
    chunking: ChunkingConfig = field(default_factory=ChunkingConfig)

    def __post_init__(self) -> None:
        """ValueError naming the field that is not usable."""
        if self.can_interface not in INTERFACES:
            raise ValueError(f"can_interface '{self.can_interface}' is not one of: {', '.join(INTERFACES)}")
        if self.arms not in ("both", *SIDES):
            raise ValueError(f"arms '{self.arms}' is not one of: both, {', '.join(SIDES)}")
        if self.safety.max_tick < 2.0 / self.control_rate:
            raise ValueError(
                f"safety.max_tick {self.safety.max_tick:g} s must be at least two periods of control_rate "
                f"{self.control_rate:g} Hz: every tick would count as late, and the arms would only creep"
            )
        if (joint_speeds(self.home_speed) > both_arms(self.safety.velocity)).any():
            raise ValueError(f"home_speed must be within safety.velocity, grippers at a tenth, got {self.home_speed}")
        if self.park_speed > min(self.safety.velocity[:-1]):
            raise ValueError(f"park_speed must be within safety.velocity, got {self.park_speed}")
        home = np.array(self.home)
        if home.shape != (JOINT_DIM,) or not ((home >= self.safety.lower) & (home <= self.safety.upper)).all():
            raise ValueError(f"home must be {JOINT_DIM} values inside the safety limits, got {self.home}")
        if self.arm.gripper_effort > self.safety.gripper_effort:
            raise ValueError(
                f"arm.gripper_effort {self.arm.gripper_effort:g} N m is above safety.gripper_effort "
                f"{self.safety.gripper_effort:g} N m"
            )
