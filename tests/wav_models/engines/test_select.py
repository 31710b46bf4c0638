"""A backend that cannot run is one clear sentence."""

from __future__ import annotations

import importlib.util

import pytest

from wav_models.engines.base import EngineError
from wav_models.engines.names import RUNTIMES
from wav_models.engines.runtimes import get_runtime
from wav_models.engines.select import make_engine


def test_the_names_are_those_of_the_modules_that_run_graphs() -> None:
    assert len(RUNTIMES) > 1
    assert [get_runtime(name).name for name in RUNTIMES] == list(RUNTIMES)


def test_unknown_engine_names_the_nearest() -> None:
    with pytest.raises(EngineError, match=r"unknown engine 'tensort'; did you mean 'tensorrt'\? Valid: auto, onnx"):
        make_engine("tensort", None)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", RUNTIMES)
def test_engine_without_runtime_names_the_package(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(EngineError, match=f"engine '{name}' needs the Python package {name}.* not installed"):
        make_engine(name, None)  # type: ignore[arg-type]
