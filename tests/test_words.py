"""Names say what they hold: words that say nothing are counted."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import attrib

PACKAGE = Path(attrib.__file__).parent
EMPTY = {
    "found", "own", "made", "known", "one", "given", "told", "said", "asked", "there", "rest", "whole", "shown", "kept",
}  # fmt: skip
LIMIT = 20


def empty_names(code: str) -> list[str]:
    """Arguments and assigned names without a meaning of their own."""
    nodes = list(ast.walk(ast.parse(code)))
    names = [n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    names += [n.arg for n in nodes if isinstance(n, ast.arg)]
    return [name for name in names if name in EMPTY]


def test_arguments_loops_and_assignments_count() -> None:
    code = "def f(one, two):\n    found = [own for own in two]\n    for rest in found: print(rest)\n    return found.kept"
    assert sorted(empty_names(code)) == ["found", "one", "own", "rest"]


def test_names_say_what_they_hold() -> None:
    files = {file.relative_to(PACKAGE): empty_names(file.read_text()) for file in PACKAGE.rglob("*.py")}
    counts = Counter({str(file): len(names) for file, names in files.items() if names})
    assert counts.total() <= LIMIT, f"name these by what they are: {counts.most_common()}"
