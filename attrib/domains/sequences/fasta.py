"""FASTA files, plain or gzip."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import pandas as pd

from attrib.domains.sequences.alphabet import fault


class Entry(NamedTuple):
    """A record of a FASTA file.

    Attributes
    ----------
    name, description, sequence : str
        The header's first word, what follows it, and the letters as they stand there, in one line.
    line : int
        The header's, counted from 1.
    """

    name: str
    description: str
    sequence: str
    line: int


@contextmanager
def text_of(path: str | Path) -> Iterator[TextIO]:
    """A text file, plain or gzip, whatever its line ends.

    Raises
    ------
    FileNotFoundError
        If it does not exist.
    ValueError
        If it is empty, or begins as gzip and is none.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    with path.open("rb") as raw:
        begin = raw.read(2)
    if not begin:
        raise ValueError(f"{path} is empty")
    opened = gzip.open if begin == b"\x1f\x8b" else open
    with opened(path, "rt", encoding="utf-8-sig", errors="replace") as file:
        try:
            yield file
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path} is a gzip file that cannot be read: {error}; copy it again") from error


def entries(path: str | Path) -> Iterator[Entry]:
    """The records of a FASTA file, one at a time.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it is empty or no FASTA.
    """
    with text_of(path) as file:
        header: tuple[str, int] | None = None
        parts: list[str] = []
        for number, line in enumerate(file, 1):
            line = line.strip()
            if line.startswith(">"):
                if header is not None:
                    yield _entry(header, parts)
                header, parts = (line[1:], number), []
            elif header is not None:
                parts.append(line)
            elif line:
                raise ValueError(f"{path} is no FASTA file: line {number} is {line[:40]!r}, expected '>name'")
        if header is None:
            raise ValueError(f"{path} has no records; FASTA records begin with '>name'")
        yield _entry(header, parts)


def _entry(header: tuple[str, int], parts: list[str]) -> Entry:
    words = [*header[0].strip().split(maxsplit=1), "", ""]
    return Entry(words[0], words[1], "".join("".join(parts).split()), header[1])


def read_fasta(path: str | Path) -> Reading:
    """The sequences of a FASTA file.

    Parameters
    ----------
    path : path
        Plain or gzip. Lower case, blank lines and line ends of Windows are fine.

    Returns
    -------
    Reading
        `sequences`: columns `sequence` and `description`. Records without letters, or with letters other than A, C, G,
        T, U, N, are left out and stand in `problems`. A name that occurs again gets a number (`x_2`), which stands there
        too.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it is empty or no FASTA.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.fa"
    >>> _ = path.write_text(">one first\\nACG\\nTN\\n>two\\nACXT\\n")
    >>> found = read_fasta(path)
    >>> found.sequences
           sequence description
    sample
    one       ACGTN       first
    >>> found.problems.problem[0]
    "letter 'X' at position 2 (counted from 0); expected A, C, G, T, U or N"
    """
    records = Records()
    for e in entries(path):
        records.add(e.name, e.line, {"sequence": e.sequence, "description": e.description})
    return records.reading()


# FOLDED attrib/domains/sequences/fasta.py: """What reading gives: the sequences as a table, and a list of what was wrong with the others."""
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
