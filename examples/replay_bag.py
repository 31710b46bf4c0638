"""What the policy would have done with a recorded moment: python examples/replay_bag.py RECORDING [SECOND]

RECORDING: a rosbag2 directory, an .mcap or .db3 file, or a LeRobot dataset (its first episode). `wav replay RECORDING`
shows the same in the browser.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from wav_models import project_files
from wav_models.alignment import memory_rows
from wav_models.types import Observation
from wav_policy.bringup.arguments import DEFAULT_CHECKPOINT
from wav_policy.monitor.open_recording import check_recording, open_recording
from wav_policy.nodes.messages.images import rgb_from_any
from wav_policy.policy.wav_policy import WAVPolicy
from wav_policy.robot.cameras import VIEWS

if len(sys.argv) < 2:
    sys.exit(__doc__)
check_recording(Path(sys.argv[1]), 0)
policy = WAVPolicy.load(project_files.resolve(DEFAULT_CHECKPOINT), engine="torch")
horizon = policy.config.horizon
recording = open_recording(Path(sys.argv[1]), 0, policy.config.latent.image_size, horizon.step_hz, rgb_from_any)
row = min(round(float(sys.argv[2]) * horizon.step_hz) if len(sys.argv) > 2 else 0, len(recording) - 1)
rows = memory_rows(row, horizon)
images = np.stack([recording.model_images[view][rows] for view in VIEWS])
plan = policy.plan(Observation(images, recording.states[row], recording.instruction))

print(f"{recording.title}, {row / horizon.step_hz:.1f} s after its start: {recording.instruction!r}")
print(f"predicted value at the end of the horizon: {plan.values[-1]:.3f}")
ahead = min(row + len(plan.chunk.positions), len(recording) - 1)
difference = np.abs(plan.chunk.positions[ahead - row - 1] - recording.states[ahead]) if ahead > row else np.zeros(14)
seconds = (ahead - row) / horizon.step_hz
print(f"largest distance from the recorded joints {seconds:.1f} s later: {difference.max():.3f} rad or m")
