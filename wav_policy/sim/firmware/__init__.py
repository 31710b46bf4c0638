"""The arms below the CAN frame: Piper firmware on a pseudo-terminal."""

from __future__ import annotations

from wav_policy.sim.firmware.arm_firmware import PiperFirmware
from wav_policy.sim.firmware.faults import FAULT_NAMES, FaultSet
from wav_policy.sim.firmware.feedback import FeedbackRates
from wav_policy.sim.firmware.flash import Flash
from wav_policy.sim.firmware.simulated_arm import SimulatedArm
from wav_policy.sim.firmware.slcan_port import SlcanPort

__all__ = ["FAULT_NAMES", "FaultSet", "FeedbackRates", "Flash", "PiperFirmware", "SimulatedArm", "SlcanPort"]
