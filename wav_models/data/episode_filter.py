"""Which episodes of a dataset are used: "success and not recovering", "index < 40", "'bowl' in instruction"."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any, Final

from wav_models.configuration import did_you_mean
from wav_models.data.dataset import EpisodeInfo

_COMPARISONS: Final[dict[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda value, among: value in among,
    ast.NotIn: lambda value, among: value not in among,
}
_ARITHMETIC: Final[dict[type[ast.operator], Callable[[Any, Any], Any]]] = {ast.Mod: operator.mod}
QUALITIES: Final = ("skilled", "hesitant", "recovering", "failing")
"""Of a recorded demonstration, as its recorder noted it."""


class EpisodeFilter:
    """A condition on episodes: names, numbers, texts, lists, comparisons, % (remainder), and, or, not.

    Names: success, failure, unmarked; index, length, seed, instruction; the qualities of demonstrations.

    Raises:
        ValueError: the text is no such condition; names what is wrong.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
        except SyntaxError as error:
            raise ValueError(f"episodes: {text!r} is no condition: {error.msg}") from error
        facts = _facts(EpisodeInfo(0, "", 0, 0, None, None, None, {}, None, {}))  # type: ignore[arg-type]
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Name) and node.id not in facts:
                raise ValueError(f"episodes: unknown name {node.id!r}{did_you_mean(node.id, facts)}")
        self._value(self._tree, facts)

    def __call__(self, episode: EpisodeInfo) -> bool:
        """Whether the episode is used."""
        return bool(self._value(self._tree, _facts(episode)))

    def _value(self, node: ast.expr, facts: dict[str, Any]) -> Any:
        match node:
            case ast.Name(id=name):
                return facts[name]
            case ast.Constant(value=value) if isinstance(value, (int, float, str)):
                return value
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [self._value(item, facts) for item in items]
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=value)) if isinstance(value, (int, float)):
                return -value
            case ast.BoolOp(op=op, values=parts):
                values = [self._value(part, facts) for part in parts]  # all of them: each is checked
                return all(values) if isinstance(op, ast.And) else any(values)
            case ast.UnaryOp(op=ast.Not(), operand=part):
                return not self._value(part, facts)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return self._applied(_ARITHMETIC[type(op)], left, right, facts)
            case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in _COMPARISONS for op in ops):
                sides = [left, *others]
                pairs = zip(sides, ops, others, strict=False)
                values = [self._applied(_COMPARISONS[type(op)], a, b, facts) for a, op, b in pairs]
                return all(values)
        raise ValueError(
            f"episodes: {ast.unparse(node)!r} in {self.text!r} is no name, number, text, list, comparison, %, and, or, "
            "not"
        )

    def _applied(
        self, function: Callable[[Any, Any], Any], left: ast.expr, right: ast.expr, facts: dict[str, Any]
    ) -> Any:
        a, b = self._value(left, facts), self._value(right, facts)
        try:
            return function(a, b)
        except (TypeError, ZeroDivisionError) as error:
            raise ValueError(f"episodes: {ast.unparse(left)} and {ast.unparse(right)}: {error}") from error


def _facts(episode: EpisodeInfo) -> dict[str, Any]:
    quality = episode.extra.get("quality")
    return {
        "success": episode.success is True,
        "failure": episode.success is False,
        "unmarked": episode.success is None,
        "index": episode.index,
        "length": episode.length,
        "seed": -1 if episode.seed is None else episode.seed,
        "instruction": episode.instruction,
        **{name: quality == name for name in QUALITIES},
    }
