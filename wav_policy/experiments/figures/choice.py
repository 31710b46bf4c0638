"""What there is to choose: the futures of the moment at which they differ most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from wav_models.types import FloatArray
from wav_policy.experiments.figures.inputs import Files, ReportInputs
from wav_policy.robot.cameras import VIEWS
from wav_policy.robot.joints import ARM_DOF

if TYPE_CHECKING:
    from wav_models.experiments.reader import FutureReader
    from wav_models.types import Observation

STEPS: Final = 60
"""Moments that are looked at, 0.1 s apart."""
DENOISING: Final = 8
"""Passes for the pictures."""
HEAD: Final = VIEWS.index("head")


@dataclass(frozen=True)
class _Moment:
    """M futures of one observation.

    Attributes:
        actions: joint targets that lead to them, [M, H, 14].
        scores, means: by the planner's score, and mean value, [M].
    """

    step: int
    seen: Observation
    actions: FloatArray
    scores: FloatArray
    means: FloatArray

    @property
    def moved(self) -> FloatArray:
        """Largest joint motion of the left and the right arm by the end of the chunk, [M, 2], rad."""
        motion = np.abs(self.actions[:, -1] - self.seen.joint_state).reshape(-1, 2, ARM_DOF)
        return motion[..., :-1].max(axis=-1)

    @property
    def spread(self) -> float:
        """How much the futures' motions differ, rad."""
        return float(self.moved.std(axis=0).max())


def measure_futures(inputs: ReportInputs) -> Files:
    """An episode of the scripted operator; of every moment, the futures of a first round and their scores."""
    from wav_models.checkpoint import load_planner_config
    from wav_policy.experiments.branching_world import BranchingWorld, watch_operator
    from wav_policy.experiments.diagnose_command import make_reader

    inputs.require_simulated()
    planner = load_planner_config(inputs.checkpoint)
    reader = make_reader(inputs.checkpoint, planner)
    noise = reader.video_noise(planner.num_video_samples, torch.Generator().manual_seed(inputs.seed))
    cell = BranchingWorld(inputs.tasks[0])
    episode = watch_operator(cell, reader.engine.config, cell.reset(inputs.seed), STEPS)
    moments = []
    for step, seen in episode:
        inputs.tell(step, STEPS)
        moments.append(_look(reader, noise, step, seen, inputs.seed))
    chosen = max(moments, key=lambda moment: moment.spread)
    latents = reader.engine.denoise(reader.observe(chosen.seen), noise, DENOISING)
    frames = [reader.engine.decode_images(future[None])[HEAD, -1] for future in latents]
    data: dict[str, Any] = {
        "task": inputs.tasks[0],
        "time": chosen.step / 10,
        "score": planner.score,
        "now": chosen.seen.images[HEAD, -1],
        "frames": np.stack(frames),
        "scores": chosen.scores,
        "means": chosen.means,
        "moved_rad": chosen.moved,
    }
    return {"futures.npz": {"seeds": [inputs.seed], **data}}


def _look(reader: FutureReader, noise: torch.Tensor, step: int, seen: Observation, seed: int) -> _Moment:
    from wav_models.planner.scoring import make_score

    generator = torch.Generator().manual_seed(seed)
    reading = reader.imagined(reader.observe(seen), noise)
    value_noise = reader.value_noise(reader.planner.num_value_samples, generator)
    values = torch.from_numpy(reader.values(reading, value_noise))
    actions = reader.actions(reading, seen.joint_state, value_noise[0], reader.action_noise(1, generator)[0])
    own = make_score(reader.planner.score, reader.planner.snr_eps)
    scores, means = (score.futures(score.pairs(values)).numpy() for score in (own, make_score("mean")))
    return _Moment(step, seen, actions, scores, means)
