"""What a module says it offers is there."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


def _declares_exports(path: Path) -> bool:
    targets = [t for node in ast.parse(path.read_text(encoding="utf-8")).body for t in getattr(node, "targets", [])]
    return any(getattr(target, "id", "") == "__all__" for target in targets)


MODULES = [
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
    for package in ("wav_models", "wav_policy")
    for path in sorted((REPOSITORY / package).rglob("*.py"))
    if _declares_exports(path)
]


def test_modules_with_exports_are_found() -> None:
    assert {"wav_models.planner", "wav_policy.control.safety"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_every_name_in_all_exists(name: str) -> None:
    module = importlib.import_module(name)
    missing = [export for export in module.__all__ if not hasattr(module, export)]
    assert missing == []
    assert len(set(module.__all__)) == len(module.__all__), "a name is listed twice"


def test_a_name_is_of_one_class_only() -> None:
    """In both packages; private classes are their own modules' affair."""
    found: dict[str, list[str]] = {}
    for package in ("wav_models", "wav_policy"):
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    found.setdefault(node.name, []).append(str(path.relative_to(REPOSITORY)))
    assert {name: places for name, places in found.items() if len(places) > 1} == {}
