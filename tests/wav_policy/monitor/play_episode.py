"""Serves the monitor's page, bar included, as if the robot of a recorded episode were running; for pictures of it.

    python -m tests.wav_policy.monitor.play_episode DATASET [PORT] [STATE]

STATE: `moving`, `hold`, `stop` or `camera_lost`. docs/monitor.png is made of it with `take_screenshot`.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path

from wav_models import project_files
from wav_policy.bringup.arguments import DEFAULT_CHECKPOINT
from wav_policy.monitor import commands
from wav_policy.monitor.open_recording import open_recording
from wav_policy.monitor.operator_bar import OperatorBar
from wav_policy.monitor.page import MonitorPage
from wav_policy.monitor.replay import Replay
from wav_policy.monitor.server import Address, PageServer
from wav_policy.monitor.snapshot import ARMS, CONTROL, ERROR, OK, PLANNING, WARN, Heard, Snapshot, StatusReport
from wav_policy.nodes.messages.images import rgb_from_any
from wav_policy.policy.wav_policy import WAVPolicy

AVAILABLE = frozenset(
    {commands.STOP, commands.START, commands.HOLD, commands.HOME, commands.RESET}
    | {commands.INSTRUCT, commands.RESET_TASK}
)
TOUCH = "left link6 and right gripper: would come within 0.0010 m of each other, allowed 0.0030 m: braking"
INTERVENTIONS = {"interventions_velocity_limit": "12", "interventions_collision": "3", "control_rate_hz": "100"}
LOOPS = {
    "moving": StatusReport(OK, "following the chunk", INTERVENTIONS),
    "hold": StatusReport(WARN, "holding: collision", INTERVENTIONS | {"reason": "collision", "detail": TOUCH}),
    "stop": StatusReport(ERROR, "stopped: piper/stop", INTERVENTIONS | {"reason": "stopped", "detail": "piper/stop"}),
}
LOST = "no command: head/image_raw: newest message is 1.12 s old, allowed 0.25 s"


class Nobody:
    """Obeys nothing."""

    def obey(self, command: str, text: str = "") -> str:
        raise commands.CommandError("this robot is a recording")


def reports(state: str) -> dict[str, StatusReport]:
    """What a robot in this state says of itself."""
    arm = StatusReport(OK, "enabled", {"feedback_rate_hz": "200"})
    policy = StatusReport(OK, "planning", {"plan_ms_p50": "216", "plan_ms_p99": "299", "rounds": "3"})
    loop = LOOPS.get(state, LOOPS["moving"])
    if state == "camera_lost":
        loop, policy = StatusReport(WARN, "holding: no command", INTERVENTIONS), StatusReport(WARN, LOST, {})
    return {CONTROL: loop, PLANNING: policy, **dict.fromkeys(ARMS, arm)}


def as_live(recorded: Snapshot, state: str) -> Snapshot:
    """A moment of a recording as that of a running robot."""
    real = {view: image for view, image in recorded.real.items() if (state, view) != ("camera_lost", "head")}
    nothing_known = {"recorded_values": None, "recorded_actions": None}  # of what will become of the plan
    return dataclasses.replace(
        recorded, real=real, reports=reports(state), available=AVAILABLE, title="", **nothing_known
    )


def main(dataset: str, port: str = "8080", state: str = "moving") -> None:
    """Until Ctrl-C."""
    policy = WAVPolicy.load(project_files.resolve(DEFAULT_CHECKPOINT), engine="torch", num_threads=1)
    config = policy.config
    recording = open_recording(Path(dataset), 0, config.latent.image_size, config.horizon.step_hz, rgb_from_any)
    replay = Replay(recording, policy)
    page = MonitorPage(Nobody())
    said = reports(state)
    bar = OperatorBar(Nobody(), lambda name: Heard(time.monotonic(), said[name]) if name in said else None)
    server = PageServer(Address(port=int(port)), page, bar)
    print(server.url, flush=True)
    began, index = time.monotonic(), 0
    while True:
        if replay.num_imagined == replay.num_plans:
            index = int(recording.fps * (time.monotonic() - began)) % len(recording)
        page.show(as_live(replay.snapshot(index), state if time.monotonic() - began > 10 else "moving"))
        bar.show(False, AVAILABLE)
        time.sleep(1 / recording.fps)


if __name__ == "__main__":
    main(*sys.argv[1:])
