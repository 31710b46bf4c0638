"""An episode on one page: what the cameras saw, what the joints did, what it was worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from wav_models.data.conventions import JointLimits
from wav_models.data.dataset import Episode
from wav_models.types import ANGLES, ARM_DOF, JOINT_NAMES, VIEWS
from wav_policy.robot.joints import GRIPPERS, SIDES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURES: Final = 8
"""Of every camera, evenly spread over the episode."""


def draw_episode(episode: Episode, limits: JointLimits, path: Path) -> None:
    """Write a PNG: measured values are solid lines, commanded ones dashed, limits dotted.

    Raises:
        VideoError: a video is damaged.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    labelled = episode.values is not None
    heights = [1.1] * len(VIEWS) + [2.0, 2.0, 1.2] + [1.4] * labelled
    figure = Figure(figsize=(14, 1.35 * sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(heights), 1, gridspec_kw={"height_ratios": heights})
    success = {True: "success", False: "failure", None: "not marked"}[episode.info.success]
    figure.suptitle(
        f"episode {episode.info.index}: {episode.instruction!r}, {len(episode)} frames at {episode.fps} Hz, {success}"
    )
    frames = np.linspace(0, len(episode) - 1, min(PICTURES, len(episode))).round().astype(int).tolist()
    times = np.arange(len(episode)) / episode.fps
    for axes, view in zip(panels, VIEWS, strict=False):
        axes.imshow(np.concatenate(list(episode.images(view, frames)), axis=1))
        axes.set_ylabel(view)
        axes.set_xticks([])
        axes.set_yticks([])
    panels[0].set_title("pictures at " + ", ".join(f"{times[frame]:.1f}" for frame in frames) + " s", fontsize=9)
    for number, side in enumerate(SIDES):
        axes = panels[len(VIEWS) + number]
        _draw_joints(axes, episode, [joint for joint in ANGLES if joint // ARM_DOF == number], limits)
        axes.set_ylabel(f"{side} arm [rad]")
    grippers = panels[len(VIEWS) + len(SIDES)]
    _draw_joints(grippers, episode, GRIPPERS, limits)
    grippers.set_ylabel("grippers [m]")
    if episode.values is not None:
        from wav_models.rewards.terms import reward

        panels[-1].plot(times, reward(episode.values[:, :-1]), label="reward")
        panels[-1].plot(times, episode.values[:, -1], label="return")
        panels[-1].legend(loc="upper left", fontsize=8, ncol=2)
        panels[-1].set_ylabel("reward")
    panels[-1].set_xlabel("time [s]")
    for axes in panels[len(VIEWS) :]:
        axes.set_xlim(0, times[-1] if len(times) > 1 else 1.0)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=80)


def _draw_joints(axes: Axes, episode: Episode, joints: list[int], limits: JointLimits) -> None:
    """Joints of one unit; a joint's limits in its colour, where they are not far outside of what is drawn."""
    times = np.arange(len(episode)) / episode.fps
    for joint in joints:
        (line,) = axes.plot(times, episode.states[:, joint], label=JOINT_NAMES[joint], linewidth=1.2)
        axes.plot(times, episode.actions[:, joint], "--", color=line.get_color(), linewidth=0.8)
        for limit in (limits.lower[joint], limits.upper[joint]):
            axes.axhline(limit, color=line.get_color(), linestyle=":", linewidth=0.8, alpha=0.7)
    axes.legend(loc="upper right", fontsize=7, ncol=len(joints))
