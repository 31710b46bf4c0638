"""Results of several evaluations of one checkpoint as one: their conditions side by side, compared where they ran on
the same engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from wav_models.configuration import parse_json
from wav_models.evaluation.trials import compare_pairs

COMMON: Final = ("checkpoint", "checkpoint_sha256", "seeds", "split", "phrasing", "instruction_of", "settings")
"""What must be the same in all results, for their trials to be pairs."""


def join_results(paths: Sequence[Path]) -> dict[str, Any]:
    """What `wav evaluate --json` wrote to `paths`, as one result of all tasks and conditions.

    A condition that several files have of a task is that of the first one. Conditions that ran on different engines or
    in different number formats are not compared: what one gains may be the engine's.

    Raises:
        ValueError: a file is not such a result, or is one of other seeds, weights, settings or planners; names it.
    """
    joined: dict[str, Any] = {}
    tasks: dict[str, dict[str, Any]] = {}
    for path in paths:
        result = _load(path)
        # Results without a "stack" are from before there was one: of the bare rows.
        common = {**{name: result[name] for name in COMMON}, "stack": result.get("stack")}
        if not joined:
            joined = {**common, "results": [p.name for p in paths], "planners": {}}
        _require_same(common, joined, path, paths[0])
        for name, planner in result["planners"].items():
            if joined["planners"].setdefault(name, planner) != planner:
                raise ValueError(f"{path}: its {name!r} is another planner than that of the files before it")
        for task, its in result["tasks"].items():
            conditions = tasks.setdefault(task, {})
            conditions |= {name: row for name, row in its["conditions"].items() if name not in conditions}
    order = list(joined["planners"])
    ordered = {task: dict(sorted(rows.items(), key=lambda item: order.index(item[0]))) for task, rows in tasks.items()}
    return {**joined, "tasks": {task: _compared(rows) for task, rows in ordered.items()}}


def _load(path: Path) -> dict[str, Any]:
    try:
        result = parse_json(path.read_text(encoding="utf-8"))
        rows = _rows(result)
        rows_fit = all({"seed", "success"} <= trial.keys() for row in rows for trial in row["trials"])
        rows_fit = rows_fit and all("engines" in row for row in rows)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"{path}: no result of `wav evaluate --json` ({error!r})") from error
    missing = [name for name in (*COMMON, "planners") if name not in result]
    if missing or not rows or not rows_fit:
        raise ValueError(f"{path}: no result of `wav evaluate --json` (missing: {', '.join(missing) or 'trials'})")
    return dict(result)


def _rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The conditions of all tasks."""
    return [row for task in result["tasks"].values() for row in task["conditions"].values()]


def _require_same(common: Mapping[str, Any], first: Mapping[str, Any], path: Path, first_path: Path) -> None:
    for name, value in common.items():
        if value != first[name]:
            raise ValueError(f"{path}: {name} is {value}, {first_path} has {first[name]}; they cannot be compared")


def _compared(conditions: Mapping[str, Any]) -> dict[str, Any]:
    outcomes = {name: [trial["success"] for trial in row["trials"]] for name, row in conditions.items()}
    engines = {name: row["engines"] for name, row in conditions.items()}
    pairs = [pair for pair in compare_pairs(outcomes) if engines[pair["first"]] == engines[pair["second"]]]
    return {"conditions": dict(conditions), "comparisons": pairs}
