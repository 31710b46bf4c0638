"""The paper's figures from data files; nothing is computed here but means, and no number is written here.

Every function takes the plain data of one file and returns a matplotlib figure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Data = dict[str, Any]
BLUE, ORANGE, GREY = "#2a6fbb", "#d9822b", "#8a8f98"
CONDITION_COLOURS: Final = {
    "k0-zero": "#c9ccd1",
    "k0": GREY,
    "shrunk": "#5c6068",
    "worst": ORANGE,
    "best": "#3a9a5b",
    "k1": "#9cc0e7",
    "k3": BLUE,
    "k5": "#173f6b",
}
"""Named conditions from left to right: controls without planning are grey, rounds of planning blue."""


def success_bars(data: Data) -> Figure:
    """Fig. 2: success rate per task and condition, 95 % Wilson intervals; what `wav evaluate --json` wrote will do."""
    tasks = data["tasks"]
    run_names = dict.fromkeys(name for task in tasks.values() for name in task["conditions"])
    names = [*(n for n in CONDITION_COLOURS if n in run_names), *(n for n in run_names if n not in CONDITION_COLOURS)]
    figure, axes = _axes(width=1.6 + 0.42 * len(names) * len(tasks))
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        run = [place for place, task in enumerate(tasks.values()) if name in task["conditions"]]
        rows = [task["conditions"][name] for task in tasks.values() if name in task["conditions"]]
        rates = np.array([row["success_rate"] for row in rows])
        low, high = np.array([row["interval_95"] for row in rows]).T
        places = np.array(run) + (i - (len(names) - 1) / 2) * width
        axes.bar(places, 100 * rates, 0.92 * width, label=name, color=CONDITION_COLOURS.get(name, _cycle(i)))
        axes.errorbar(places, 100 * rates, _bars(rates, low, high), fmt="none", ecolor="black", lw=1, capsize=2)
    axes.set_xticks(range(len(tasks)), [f"{task} (n={_episodes(result)})" for task, result in tasks.items()])
    axes.set(ylabel="success [%]", ylim=(0, 105))
    axes.legend(fontsize=7, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    return figure


def sweep_curves(data: Data) -> Figure:
    """Figs. 4, 5 and 7: success against one or several planner parameters, one panel each."""
    figure, panels = _axes(len(data["sweeps"]), width=3.0 * len(data["sweeps"]))
    for axes, sweep in zip(np.atleast_1d(panels), data["sweeps"], strict=True):
        for i, (task, result) in enumerate(sweep["tasks"].items()):
            rows = [result["conditions"][str(value)] for value in sweep["values"]]
            rates = np.array([row["success_rate"] for row in rows])
            low, high = np.array([row["interval_95"] for row in rows]).T
            axes.errorbar(
                sweep["values"], 100 * rates, _bars(rates, low, high), marker="o", ms=4, lw=1.4, capsize=2,
                label=task, color=_cycle(i),
            )  # fmt: skip
        axes.set(xlabel=sweep["label"], ylim=(0, 105), xticks=sweep["values"])
    np.atleast_1d(panels)[0].set_ylabel("success [%]")
    np.atleast_1d(panels)[0].legend(fontsize=7, frameon=False)
    return figure


def cost_curves(data: Data) -> Figure:
    """Fig. 6: planning time and memory against K."""
    figure, (left, right) = _axes(2, width=7.0)
    rounds = [row["num_iterations"] for row in data["rows"]]
    times, memory = ([row[name] for row in data["rows"]] for name in ("plan_ms_p50", "peak_memory_mb"))
    left.plot(rounds, times, "o-", color=BLUE)
    left.set(xlabel="K", ylabel=f"plan, median [ms] ({data['engine']})", xticks=rounds, ylim=(0, 1.1 * max(times)))
    right.plot(rounds, memory, "o-", color=ORANGE)
    right.set(xlabel="K", ylabel="peak memory of the process [MB]", xticks=rounds, ylim=(0, 1.1 * max(memory)))
    return figure


def value_curves(data: Data) -> Figure:
    """Fig. 8: predicted and labelled return along episodes."""
    curves = data["curves"]
    figure, panels = _axes(len(curves), width=2.9 * len(curves))
    for axes, curve in zip(np.atleast_1d(panels), curves, strict=True):
        time, mean, std = (np.array(curve[name]) for name in ("time", "mean", "std"))
        axes.plot(time, curve["true"], color="black", lw=1.4, label="labelled")
        axes.plot(time, mean, color=BLUE, lw=1.4, label="predicted")
        axes.fill_between(time, mean - std, mean + std, color=BLUE, alpha=0.2, lw=0)
        outcome = {True: "success", False: "failure", None: "unknown"}[curve["success"]]
        axes.set(xlabel="time [s]", title=f"{outcome}, seed {curve['seed']}")
        axes.title.set_fontsize(8)
    np.atleast_1d(panels)[0].set_ylabel("discounted return")
    np.atleast_1d(panels)[0].legend(fontsize=7, frameon=False)
    return figure


def feasibility_curves(data: Data) -> Figure:
    """Lemma 4.1 and Proposition 4.2: probability of being feasible up to step h, on a logarithmic axis."""
    figure, axes = _axes(width=4.6)
    steps = np.arange(1, data["horizon"] + 1)
    floor = 0.5 / data["sequences"]
    for i, (name, curve) in enumerate(data["survival"].items()):
        seen = np.array(curve)
        axes.semilogy(steps, np.maximum(seen, floor), "o-", ms=3, lw=1.4, color=_cycle(i), label=name)
    axes.axhline(floor, color=GREY, lw=0.8, ls=":")
    axes.text(steps[-1], floor * 1.1, "none of the sequences", ha="right", fontsize=7, color=GREY)
    axes.set(xlabel="horizon h [steps of 0.1 s]", ylabel="P(feasible up to h)", ylim=(floor * 0.8, 1.3))
    axes.legend(fontsize=7, frameon=False)
    return figure


def reward_terms(data: Data) -> Figure:
    """Table 2: all weighted terms of the robot over an episode, their sum and the discounted return."""
    time = np.array(data["time"])
    series = [*zip(data["names"], np.array(data["weighted"]).T, strict=True)]
    series += [("reward (sum)", np.array(data["reward"])), ("discounted return", np.array(data["return"]))]
    figure, panels = _axes(len(series), width=11.0, columns=6, height=1.5)
    for axes, (name, values) in zip(panels, series, strict=False):
        axes.plot(time, values, color=BLUE, lw=1)
        axes.set_title(name, fontsize=7)
        axes.tick_params(labelsize=6)
    for axes in panels[len(series) :]:
        axes.set_visible(False)
    figure.supxlabel("time [s]", fontsize=8)
    figure.supylabel("share of the reward, without a unit; every panel has its own scale", fontsize=8)
    return figure


def rollout_quality(data: Data) -> Figure:
    """Fig. 9, in numbers: PSNR and SSIM of imagined frames over the horizon, per view; dotted: last frame repeated."""
    figure, (left, right) = _axes(2, width=7.0)
    for v, view in enumerate(data["views"]):
        left.plot(data["times"], data["psnr"][v], "o-", ms=3, lw=1.3, color=_cycle(v), label=view)
        left.plot(data["times"], data["copy_psnr"][v], ":", lw=1, color=_cycle(v))
        right.plot(data["times"], data["ssim"][v], "o-", ms=3, lw=1.3, color=_cycle(v))
    left.set(xlabel="ahead [s]", ylabel="PSNR [dB] (dotted: last frame repeated)")
    right.set(xlabel="ahead [s]", ylabel="SSIM", ylim=(0, 1))
    left.legend(fontsize=7, frameon=False)
    return figure


def rollout_frames(data: Data) -> Figure:
    """Fig. 9: true frames above imagined ones, for all views."""
    true, imagined = data["true"], data["imagined"]
    views, frames = true.shape[:2]
    figure, panels = _axes(2 * views * frames, width=1.05 * frames + 0.9, columns=frames, height=1.05)
    grid = np.array(panels).reshape(2 * views, frames)
    for v in range(views):
        for row, (label, images) in enumerate((("true", true[v]), ("imagined", imagined[v]))):
            for f in range(frames):
                axes = grid[2 * v + row, f]
                axes.imshow(images[f])
                axes.set(xticks=[], yticks=[])
                if f == 0:
                    axes.set_ylabel(f"{data['views'][v]}\n{label}", fontsize=6)
                if v == 0 and row == 0:
                    axes.set_title(f"+{data['times'][f]:.1f} s", fontsize=7)
    return figure


def futures_by_score(data: Data) -> Figure:
    """What the head camera sees, and imagined futures of that moment, the highest score first; framed in the colour of
    the arm that moves more."""
    order = np.argsort(-data["scores"])
    columns = -(-(len(order) + 1) // 2)
    figure, panels = _axes(len(order) + 1, width=1.75 * columns, columns=columns, height=2.0)
    panels[0].imshow(data["now"])
    panels[0].set_title(f"{data['task']}, {data['time']:.1f} s, seed {int(data['seeds'][0])}", fontsize=7)
    for axes, m in zip(panels[1:], order, strict=False):
        left, right = data["moved_rad"][m]
        axes.imshow(data["frames"][m])
        axes.set_title(
            f"{data['score']} {data['scores'][m]:+.3f} (mean {data['means'][m]:.3f})\n"
            f"left moves {left:.1f} rad, right {right:.1f} rad",
            fontsize=6,
            color=BLUE if left > right else ORANGE,
        )
        for spine in axes.spines.values():
            spine.set(visible=True, linewidth=3, color=BLUE if left > right else ORANGE)
    for place, axes in enumerate(panels):
        axes.set(xticks=[], yticks=[])
        axes.set_visible(place <= len(order))
    return figure


FIGURES: dict[str, tuple[Callable[[Data], Figure], str]] = {
    "success": (success_bars, "Success per task and condition (Fig. 2)"),
    "search": (sweep_curves, "Success against K, M and N (Figs. 4, 7)"),
    "refit": (sweep_curves, "Sensitivity to alpha, beta and the elites (Fig. 5)"),
    "cost": (cost_curves, "Planning time and memory against K (Fig. 6)"),
    "value": (value_curves, "Value against ground truth (Fig. 8)"),
    "rollout": (rollout_frames, "Imagined against true video (Fig. 9)"),
    "rollout_quality": (rollout_quality, "Imagined against true video: PSNR and SSIM over the horizon (Fig. 9)"),
    "futures": (futures_by_score, "Imagined futures of the moment at which they differ most, best first"),
    "feasibility": (feasibility_curves, "Feasible action sequences over the horizon (Lemma 4.1, Proposition 4.2)"),
    "rewards": (reward_terms, "The reward terms of Table 2 over an episode"),
}
"""Name of a figure -> what draws it, and its caption."""


def _axes(count: int = 1, *, width: float, columns: int | None = None, height: float = 2.9) -> tuple[Figure, Any]:
    """A figure without a global state, and its axes: one, or an array."""
    from matplotlib.figure import Figure

    columns = columns or count
    rows = -(-count // columns)
    figure = Figure(figsize=(max(width, 3.2), rows * height + 0.4), layout="constrained", dpi=130)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
        _tidy(axes)
    return figure, panels[0] if count == 1 else panels


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_fontsize(8)
    axes.yaxis.label.set_fontsize(8)


def _bars(rates: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Lengths below and above [2, n], %."""
    return 100 * np.clip(np.stack([rates - low, high - rates]), 0, None)


def _cycle(index: int) -> str:
    return (BLUE, ORANGE, "#3a9a5b", "#a04fb0", "#c03a3a", "#6b5b2e", "#17a2a2", "#444444")[index % 8]


def _episodes(result: Data) -> int:
    return int(next(iter(result["conditions"].values()))["episodes"])
