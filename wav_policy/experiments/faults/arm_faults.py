"""Arms and their buses: silent, swapped, deaf, tripped, without power, with another master or a corrupt flash."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any, Final

import numpy as np

from wav_models.types import ActionChunk
from wav_policy.experiments.faults.fault import GO_ON, HOLD, Fault, Testbed, call, heal, parameter, require_refusal
from wav_policy.experiments.faults.system import CampaignError
from wav_policy.experiments.faults.wall_time import wall_time
from wav_policy.monitor.snapshot import ARMS
from wav_policy.piper.arm import PiperArm
from wav_policy.piper.errors import ArmInUseError

_SILENT: Final = 0.2
"""Age of a measurement 0.1 s, one period of feedback, one tick [s]."""
_PAUSE: Final = 0.5
_RESTORE_TIMEOUT: Final = 60.0
_GRIPPER_PATIENCE: Final = 5.0
_ENABLE: Final = ("piper/enable",)
_RESET: Final = ("piper/reset", "piper/enable", "piper/home")
"""A reset lets the arms fall; what they then lean on may keep them from anything but `piper/home`."""


def _both(testbed: Testbed, fault: str) -> None:
    for side in ("left", "right"):
        testbed.observer.client.set_parameter("sim_node", f"fault.{side}", fault)


def _replug(testbed: Testbed, order: str) -> None:
    """Both adapters are pulled and come back, as each other ("swapped") or as themselves ("")."""
    _both(testbed, "unplug")
    testbed.observer.spin(_PAUSE)
    testbed.observer.client.set_parameter("sim_node", "fault.adapters", order)
    _both(testbed, "")


def _swap_adapters(testbed: Testbed) -> float:
    now = wall_time()
    _replug(testbed, "swapped")
    return now


def _stray_first_reading(testbed: Testbed) -> float:
    """The bus pauses; of the first joints' frame after it, one is off by 0.8 rad."""
    now = wall_time()
    client = testbed.observer.client
    client.set_parameter("sim_node", "fault.left", "silence")
    testbed.observer.spin(_PAUSE)
    client.set_parameter("sim_node", "fault.left", "stray 1")
    return now


def _hold(testbed: Testbed) -> float:
    testbed.observer.pause_chunks()
    return call("piper/hold")(testbed)


def _go_deaf(testbed: Testbed) -> float:
    """The left arm hears no joint target any more; both are led 0.3 rad on, and to rest there."""
    observer = testbed.observer
    observer.client.set_parameter("sim_node", "fault.left", "ignore_joints")
    observer.pause_chunks()
    chunk = observer.swing_chunk(observer.joints, wall_time())
    positions = np.tile(observer.joints, (len(chunk.positions), 1))
    positions[:, (0, 7)] += 0.3 * np.minimum(1.0, np.arange(1, len(positions) + 1) / 8)[:, None]
    now = wall_time()
    observer.publish(ActionChunk(positions, chunk.stamp, chunk.step))
    return now


def _clear_gripper(testbed: Testbed) -> None:
    """What the gripper's warning asks for: without the fault, piper/enable."""
    testbed.observer.client.set_parameter("sim_node", "fault.left", "")
    testbed.observer.client.switch("piper/enable", True)
    if not testbed.observer.wait(lambda: "gripper" not in testbed.observer.message(ARMS[0]), _GRIPPER_PATIENCE):
        raise CampaignError(f"piper/enable did not clear the gripper: {testbed.observer.message(ARMS[0])}")


def _corrupt_flash(testbed: Testbed) -> float:
    """`piper_node` and the arms are started anew, and there are impossible limits in the flash of one: it must not be
    enabled."""
    client = testbed.observer.client
    client.deactivate("piper_node", timeout=30.0)  # parks the arms
    client.clean_up("piper_node")
    now = wall_time()
    client.set_parameter("sim_node", "fault.left", "power_loss, corrupt_limits")
    testbed.observer.spin(_PAUSE)
    client.set_parameter("sim_node", "fault.left", "corrupt_limits")
    client.configure("piper_node", timeout=30.0)
    require_refusal(client.activate, "piper_node", "impossible limits in flash")
    return now


def _restore_flash(testbed: Testbed) -> None:
    """As the message asks for: the node lets go of the bus, then `wav arm restore-limits`."""
    client = testbed.observer.client
    command = re.search(r"`wav (arm restore-limits --channel ([^`]*))`", testbed.observer.heard + testbed.system.said)
    if command is None:
        raise CampaignError("nobody said how to restore the limits in flash")
    client.clean_up("piper_node")
    client.set_parameter("sim_node", "fault.left", "")
    words, channel = command.group(1).split(), command.group(2)
    done = subprocess.run(
        [sys.executable, "-m", "wav_policy.cli", *words],
        input=f"{channel}\n",  # typed to confirm
        capture_output=True,
        text=True,
        timeout=_RESTORE_TIMEOUT,
        check=False,
    )
    if done.returncode:
        raise CampaignError(f"wav {' '.join(words)}: {done.stdout}{done.stderr}")
    client.configure("piper_node", timeout=30.0)
    client.activate("piper_node")


def _drive_twice(testbed: Testbed) -> float:
    """A second driver wants the left arm: it must be refused, and told by whom it is driven."""
    now = wall_time()
    driver = PiperArm("left", "slcan", str(testbed.system.can_left))
    try:
        driver.connect()
    except ArmInUseError as error:
        if "process" not in str(error):
            raise CampaignError(f"the second driver is not told who drives the arm: {error}") from error
        return now
    driver.close()
    raise CampaignError("a second driver was let on the bus")


def _find_zero(testbed: Testbed) -> None:
    """As the message asks for where the joint is not where it says to be: that arm alone is reset, and falls."""
    client = testbed.observer.client
    client.set_parameter("sim_node", "fault.left", "")
    client.switch("piper/left/reset", True)


def _on_bus(name: str, side: str, fault: str, outcome: str = HOLD, **further: Any) -> Fault:
    """A fault of one simulated arm, which the campaign itself moves."""
    inject, undo = parameter(f"fault.{side}", fault), heal(f"fault.{side}")
    return Fault(name, inject, outcome, **{"limit": _SILENT, "heal": undo, "by_policy": False, **further})


ARM_FAULTS: Final = (
    _on_bus("left arm silent", "left", "silence", says="stale_measurement"),
    _on_bus("right arm bus-off", "right", "bus_off", says="right arm.*bus-off"),
    _on_bus("10 % of CAN frames missing", "left", "drop 0.1", GO_ON, by_policy=True),
    _on_bus("2 % of CAN frames garbled", "right", "garble 0.02", GO_ON, by_policy=True),
    Fault(
        "first reading after a pause 0.8 rad off", _stray_first_reading, GO_ON, heal=heal("fault.left"), by_policy=False
    ),
    # Pulled: no measurement
    Fault(
        "adapters pulled and swapped",
        _swap_adapters,
        HOLD,
        _SILENT,
        lambda testbed: _replug(testbed, ""),
        by_policy=False,
        says="joint[1-6] is at .* rad, .*piper/enable",
        way_back=_ENABLE,
    ),
    # 0.1 rad away for 0.3 s from a target that moves at 0.4 rad/s, and braking
    Fault(
        "left arm deaf (state 4)",
        _go_deaf,
        HOLD,
        2.0,
        heal("fault.left"),
        by_policy=False,
        says="left_joint1.* rad .*piper/enable",
        way_back=_ENABLE,
        displaced=(0,),
    ),
    _on_bus(
        "left joint 2 loses its zero",
        "left",
        "zero_lost 2",
        says="left_joint2 jumped.*piper/left/reset",
        heal=_find_zero,
        way_back=("piper/enable", "piper/home"),
        falls=True,
        displaced=(1,),
    ),
    _on_bus("left gripper trips", "left", "gripper_trip", GO_ON, heal=_clear_gripper, says="(?i)gripper.*piper/enable"),
    _on_bus("teach button of the left arm", "left", "teach", says="teach", way_back=_ENABLE),
    _on_bus(
        "right arm without power",
        "right",
        "power_loss",
        says="(?i)right arm.*(silent|feedback|not enabled)",
        way_back=("piper/enable", "piper/home"),
        falls=True,
    ),
    _on_bus(
        "second master on the left bus",
        "left",
        "leader_on_bus",
        says="two masters would fight",
        way_back=_RESET,
        falls=True,
    ),
    Fault("second driver for the left arm", _drive_twice, GO_ON, by_policy=False),
    _on_bus(
        "joint 2 stopped by a collision",
        "left",
        "collision 2",
        says="(?i)collision.*piper/reset",
        way_back=_RESET,
        falls=True,
    ),
    Fault("piper/stop", call("piper/stop"), HOLD, by_policy=False, says="piper/stop", way_back=_RESET, falls=True),
    Fault("piper/hold, and no further chunk", _hold, HOLD, by_policy=False, says="held by request"),
    Fault(
        "limits in flash corrupt at a restart",
        _corrupt_flash,
        HOLD,
        heal=_restore_flash,
        by_policy=False,
        says="(?i)limits.*wav arm restore-limits",
        way_back=("piper/home",),
        falls=True,
    ),
)
"""Of arms and buses."""
