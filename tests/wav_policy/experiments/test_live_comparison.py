"""The live comparison: every seed once with each number of rounds, resumed where it ended, paired by seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from wav_policy.experiments.live_comparison import ComparisonArguments, LiveError, compare, table


class Demo:
    """Planning succeeds at every seed but those divisible by 5; without it, at even ones."""

    def __init__(self) -> None:
        self.runs: list[tuple[int, int, int]] = []
        self.fails_at = -1
        self.sha256 = "a"

    def __call__(self, arguments: Sequence[str]) -> dict[str, Any]:
        options = dict(zip(arguments[::2], arguments[1::2], strict=True))
        k = int(options["--planner"].removeprefix("num_iterations="))
        first, count = int(options["--seed"]), int(options["--episodes"])
        if len(self.runs) == self.fails_at:
            raise LiveError("wav demo ended with 1 and without a result")
        self.runs.append((k, first, count))
        results = [
            {"seed": seed, "success": seed % 5 != 0 if k else seed % 2 == 0} for seed in range(first, first + count)
        ]
        return {
            "results": results,
            "task": options["--task"],
            "planner": options["--planner"],
            "checkpoint_sha256": self.sha256,
            "planned": 10 * count,
            "rounds_mean": 2.5 if k else 0.0,
            "plans_without_round": count if k else 0,
            "plans_shed": 0,
            "plan_ms_p50": 100.0 + first,
            "plan_ms_p99": None,
            "control_hz": 100.0,
            "real_time_factor": 1.0,
        }


def test_blocks_take_turns_and_are_paired_by_seed(tmp_path: Path) -> None:
    demo, arguments = Demo(), ComparisonArguments(episodes=10, seed=0, block=4, out=tmp_path)
    said = table(arguments, compare(arguments, demo))
    assert demo.runs == [(0, 0, 4), (3, 0, 4), (0, 4, 4), (3, 4, 4), (0, 8, 2), (3, 8, 2)]
    without, planned, paired = said.splitlines()
    assert without.startswith("K = 0: 5/10 [")
    assert planned.startswith("K = 3: 8/10 [")
    assert "2.50 rounds a plan, 10.0% of 100 plans without a round, 0.0% with less than asked; " in planned
    assert "; plan 108 / nan ms, control 100.0 Hz" in planned
    assert paired.startswith("K = 3 against 0: +4 -1, McNemar p = 0.38")


def test_what_was_interrupted_goes_on_and_more_seeds_may_be_added(tmp_path: Path) -> None:
    arguments = ComparisonArguments(episodes=8, seed=0, block=4, out=tmp_path)
    first = Demo()
    first.fails_at = 3
    with pytest.raises(LiveError, match="without a result"):
        compare(arguments, first)
    second = Demo()
    compare(ComparisonArguments(episodes=9, seed=0, block=4, out=tmp_path), second)
    assert second.runs == [(3, 4, 4), (0, 8, 1), (3, 8, 1)]


def test_other_measurements_are_not_mixed(tmp_path: Path) -> None:
    compare(ComparisonArguments(episodes=2, seed=0, out=tmp_path), Demo())
    other = Demo()
    other.sha256 = "b"
    with pytest.raises(LiveError, match="has checkpoint_sha256 'a', now it is 'b'; move it away"):
        compare(ComparisonArguments(episodes=4, seed=0, out=tmp_path), other)
    for told in ('{"episodes": 12}', '{"blocks": [', "[]"):
        (tmp_path / "live_drawer_k0.json").write_text(told)
        with pytest.raises(LiveError, match=r"live_drawer_k0\.json is no file of this measurement"):
            compare(ComparisonArguments(out=tmp_path), Demo())
