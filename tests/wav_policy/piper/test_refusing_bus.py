"""A bus that carries an arm's feedback and refuses our targets: simulated arms, driver and control loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from wav_policy.control.control_loop import ControlLoop
from wav_policy.control.safety import SafetyLimits
from wav_policy.piper.bimanual import BimanualPiper
from wav_policy.piper.frames import Frame

JOINT_TARGETS = range(0x155, 0x158)
ANY = range(0x800)


@pytest.mark.parametrize("refused", [JOINT_TARGETS, ANY])
def test_an_arm_that_was_moved_meanwhile_is_not_commanded_until_told(
    make_rig: Callable[..., Any], tmp_path: Path, wait_until: Any, refused: range, monkeypatch: pytest.MonkeyPatch
) -> None:
    rigs = [make_rig(tmp_path / side) for side in ("left", "right")]
    robot = BimanualPiper("slcan", str(tmp_path / "left"), str(tmp_path / "right"))
    with closing(robot):
        robot.connect()
        robot.enable()
        loop = ControlLoop(robot, 100.0, SafetyLimits())
        with closing(loop):
            loop.start()
            assert loop.engage()
            wait_until(lambda: loop.state().reason == "no_command")
            bus = robot.left.link._bus
            transmit = bus.transmit

            def refuse(frames: list[Frame]) -> None:
                if any(identifier in refused for identifier, _ in frames):
                    raise OSError(105, "No buffer space available")
                transmit(frames)

            monkeypatch.setattr(rigs[0].plant, "command", lambda position, stroke: None)  # it gives way
            with monkeypatch.context() as full:
                full.setattr(bus, "transmit", refuse)
                wait_until(lambda: loop.state().reason in ("targets missed", "set-points not sent"))
                for _ in range(40):
                    rigs[0].plant.position = rigs[0].plant.position + 0.005
                    time.sleep(0.02)
            wait_until(lambda: loop.state().reason == "not where it was")
            state = loop.state()
            assert not state.engaged
            assert "left_joint" in state.detail
            assert "call piper/enable" in state.detail
            robot.enable()
            assert loop.engage()
            wait_until(lambda: loop.state().reason == "no_command")
