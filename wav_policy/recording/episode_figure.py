"""An episode on one page: what the cameras saw, what the joints did, what it was worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from wav_models.data.dataset import Episode
from wav_models.data.joint_names import side_of
from wav_models.embodiment import Embodiment
from wav_models.words import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURES: Final = 8
"""Of every camera, evenly spread over the episode."""


def draw_episode(episode: Episode, robot: Embodiment, path: Path) -> None:
    """Write a PNG: measured values are solid lines, targets of joints dashed, limits dotted.

    Raises:
        VideoError: a video is damaged.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    labelled, groups, views = episode.values is not None, _groups(robot), robot.view_names
    heights = [1.1] * len(views) + [2.0] * len(groups) + [1.4] * labelled
    figure = Figure(figsize=(14, 1.35 * sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(heights), 1, gridspec_kw={"height_ratios": heights})
    success = {True: "success", False: "failure", None: "not marked"}[episode.info.success]
    figure.suptitle(
        f"episode {episode.info.index}: {episode.instruction!r}, {counted(len(episode), 'frame')} "
        f"at {episode.fps} Hz, {success}"
    )
    frames = np.linspace(0, len(episode) - 1, min(PICTURES, len(episode))).round().astype(int).tolist()
    times = np.arange(len(episode)) / episode.fps
    for axes, view in zip(panels, views, strict=False):
        axes.imshow(np.concatenate(list(episode.images(view, frames)), axis=1))
        axes.set_ylabel(view)
        axes.set_xticks([])
        axes.set_yticks([])
    panels[0].set_title("pictures at " + ", ".join(f"{times[frame]:.1f}" for frame in frames) + " s", fontsize=9)
    for axes, (title, columns) in zip(panels[len(views) :], groups.items(), strict=False):
        _draw_joints(axes, episode, columns, robot)
        axes.set_ylabel(title)
    if episode.values is not None:
        from wav_models.rewards.terms import reward

        panels[-1].plot(times, reward(robot, episode.values[:, :-1]), label="reward")
        panels[-1].plot(times, episode.values[:, -1], label="return")
        panels[-1].legend(loc="upper left", fontsize=8, ncol=2)
        panels[-1].set_ylabel("reward")
    panels[-1].set_xlabel("time [s]")
    for axes in panels[len(views) :]:
        axes.set_xlim(0, times[-1] if len(times) > 1 else 1.0)
        axes.grid(alpha=0.3)
    figure.savefig(path, format=path.suffix[1:] or "png", dpi=80)


def _groups(robot: Embodiment) -> dict[str, list[int]]:
    """Columns of the state that are drawn together, by title: each arm's, the grippers'; of one unit each."""
    groups: dict[str, list[int]] = {}
    for column, joint in enumerate(robot.state):
        side = side_of(joint.name)
        what = "grippers" if joint.gripper else f"{side} arm" if side else "arm"
        groups.setdefault(f"{what} [{joint.unit}]", []).append(column)
    return dict(sorted(groups.items(), key=lambda group: group[0].startswith("grippers")))


def _draw_joints(axes: Axes, episode: Episode, joints: list[int], robot: Embodiment) -> None:
    """Joints of one unit; a joint's limits in its colour, where they are not far outside of what is drawn."""
    times = np.arange(len(episode)) / episode.fps
    for joint in joints:
        channel = robot.state[joint]
        (line,) = axes.plot(times, episode.states[:, joint], label=channel.name, linewidth=1.2)
        if robot.relative_to_state:
            axes.plot(times, episode.actions[:, joint], "--", color=line.get_color(), linewidth=0.8)
        for limit in (channel.lower, channel.upper):
            axes.axhline(limit, color=line.get_color(), linestyle=":", linewidth=0.8, alpha=0.7)
    axes.legend(loc="upper right", fontsize=7, ncol=len(joints))
