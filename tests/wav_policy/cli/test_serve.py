"""`wav serve` takes of a checkpoint what `policy_node` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wav_policy.cli.serve import ServeArguments, load_policy
from wav_policy.policy.wav_policy import WAVPolicy

Asked = list[tuple[Path, float | None]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Checkpoints that graphs were asked for, and the deadline of the search."""
    found: Asked = []

    def make(checkpoint: Path, planner: Any, tell: Any) -> None:
        found.append((checkpoint, planner.deadline))

    monkeypatch.setattr("wav_policy.policy.wav_policy.make_missing", make)
    return found


@pytest.mark.ros
def test_graphs_that_are_missing_are_made_as_the_node_makes_them(random_checkpoint: Path, asked: Asked) -> None:
    node = pytest.importorskip("wav_policy.nodes.policy_node", exc_type=ImportError)
    served = load_policy(ServeArguments(deadline=5.0), random_checkpoint)
    at_home = node.load_policy(node.PolicyNodeConfig(str(random_checkpoint), make_graphs=True, deadline=5.0))
    assert asked == [(random_checkpoint, 5.0)] * 2
    assert served.planner == at_home.planner
    assert served.description.split("; loaded in")[0] == at_home.description.split("; loaded in")[0]


@pytest.mark.parametrize(("engine", "dtype"), [("torch", "auto"), ("torch", "fp32"), ("auto", "fp32")])
def test_none_are_made_that_would_not_be_taken(random_checkpoint: Path, asked: Asked, engine: str, dtype: str) -> None:
    load_policy(ServeArguments(engine=engine, dtype=dtype), random_checkpoint)
    assert not asked


def test_who_only_looks_makes_none(random_checkpoint: Path, asked: Asked) -> None:
    WAVPolicy.load(random_checkpoint, dtype="auto")
    assert not asked
