"""What reading gives: the sequences as a table, and a list of what was wrong with the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from attrib.domains.sequences.letters import fault

PROBLEM_COLUMNS = ["record", "line", "problem", "kept"]


class Reading(NamedTuple):
    """Sequences read from a file, and what was wrong.

    Attributes
    ----------
    sequences : DataFrame
        A row per sequence, by name (the index, called `sample`): `sequence`, and what else the file says of it.
        `one_hot` takes it as it is.
    problems : DataFrame
        A row per problem: `record`, `line` (counted from 1), `problem` in words, and whether the record was `kept`.
    """

    sequences: pd.DataFrame
    problems: pd.DataFrame


class Records:
    """Collects records one by one: the good ones with names of their own, the others with what is wrong with them."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}
        self._used: dict[str, int] = {}
        self._rows: list[Mapping[str, Any]] = []
        self._problems: list[tuple[str, int, str, bool]] = []

    def add(self, name: str, line: int, row: Mapping[str, Any]) -> None:
        """Take a record in if its `sequence` is one; a name that is taken gets a number."""
        wrong = fault(row["sequence"])
        if wrong:
            return self.refuse(name, line, wrong)
        self._names[self._own(name, line)] = None
        self._rows.append(row)

    def refuse(self, name: str, line: int, problem: str) -> None:
        """Leave a record out, and say why."""
        self._problems.append((name, line, problem, False))

    def _own(self, name: str, line: int) -> str:
        own = name or "unnamed"
        while own in self._names:
            self._used[name] = self._used.get(name, 1) + 1
            own = f"{name or 'unnamed'}_{self._used[name]}"
        if own != name:
            why = f"the name {name!r} is used more than once" if name else "it has no name"
            self._problems.append((name, line, f"{why}; it is called {own!r}", True))
        return own

    def reading(self) -> Reading:
        """All of it."""
        index = pd.Index(list(self._names), name="sample", dtype=object)
        columns = None if self._rows else ["sequence"]
        problems = pd.DataFrame(self._problems, columns=PROBLEM_COLUMNS)
        return Reading(
            pd.DataFrame(self._rows, index=index, columns=columns),
            problems.sort_values("line", kind="stable", ignore_index=True),
        )
