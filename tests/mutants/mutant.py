"""One deliberate fault, and the tests that must notice it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


class MutantError(ValueError):
    """A mutant that does not fit the source any more; the message names it and its file."""


@dataclass(frozen=True)
class Mutant:
    """One changed snippet.

    Attributes:
        name: unique.
        file: relative to the repository's root.
        old: a snippet that is in the file exactly once.
        new: what takes its place.
        tests: pytest arguments, quick ones first; at least one of these tests must fail.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def check(self, root: Path) -> None:
        """Make sure that the snippet can be replaced in the tree at `root`.

        Raises:
            MutantError: the file is gone, the snippet is not in it exactly once, or the result is no Python.
        """
        try:
            ast.parse(self._mutated(root))
        except SyntaxError as error:
            raise MutantError(f"{self.name}: {self.new!r} makes no valid Python of {self.file}: {error}") from None

    @contextmanager
    def applied(self, root: Path) -> Iterator[None]:
        """The tree at `root` has the fault meanwhile.

        Raises:
            MutantError: as `check`.
        """
        path = root / self.file
        mutated = self._mutated(root)
        source = path.read_text(encoding="utf-8")
        path.write_text(mutated, encoding="utf-8")
        try:
            yield
        finally:
            path.write_text(source, encoding="utf-8")

    def _mutated(self, root: Path) -> str:
        path = root / self.file
        if not path.is_file():
            raise MutantError(f"{self.name}: there is no {self.file}; name the file that its subject moved to")
        source = path.read_text(encoding="utf-8")
        count = source.count(self.old)
        if count != 1:
            raise MutantError(
                f"{self.name}: {self.file} has {self.old!r} {count} times; a snippet that is there once fits"
            )
        missing = [test for test in self.tests if not (root / test.split("::")[0]).exists()]
        if missing or not self.tests:
            raise MutantError(f"{self.name}: no tests at {missing or self.tests}; name those that should notice it")
        return source.replace(self.old, self.new)


def mutants_of(
    file: str, tests: tuple[str, ...], changes: Mapping[str, tuple[str, str]], *, prefix: str = ""
) -> list[Mutant]:
    """Mutants of one file.

    Args:
        file: relative to the repository's root.
        tests: for all of them, quick ones first.
        changes: by name: the snippet and what takes its place.
        prefix: of the names; the file's own name if empty.
    """
    prefix = prefix or Path(file).stem
    return [Mutant(f"{prefix}.{name}", file, old, new, tests) for name, (old, new) in changes.items()]
