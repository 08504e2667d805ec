"""FASTA files, plain or gzip, read into a table of sequences and a table of problems.

Read here, not by Biopython: names, lines and problems of each record are needed, and no dependency.
"""

from __future__ import annotations

import codecs
import gzip
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import pandas as pd

from attrib.domains.sequences.alphabet import fault

INTERVAL = re.compile(r"\S+\t\d+\t\d+(\t|$)")  # a line of BED
PROBLEM_COLUMNS = ["record", "line", "problem", "kept"]


class Reading(NamedTuple):
    """Sequences read from a file, and the problems of the file.

    Attributes
    ----------
    sequences : DataFrame
        A row per sequence, by name (the index, called `sample`): `sequence`, and the file's other columns. `one_hot` takes
        it as it is.
    problems : DataFrame
        A row per problem: `record`, `line` (counted from 1), `problem` in words, and whether the record was `kept`.
    """

    sequences: pd.DataFrame
    problems: pd.DataFrame


def read_fasta(path: str | Path) -> Reading:
    """Read the sequences of a FASTA file.

    Parameters
    ----------
    path : path
        Plain or gzip, with lower or upper case, blank lines, and line ends of any system. Lines that begin with `;` are
        comments, and so are those with `#` before the first record.

    Returns
    -------
    Reading
        `sequences`: columns `sequence` and `description`. Records without letters, or with letters other than A, C, G,
        T, U, N, are left out and listed in `problems`. A repeated name gets a number (`x_2`), which is listed there too.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it is empty or not FASTA.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.fa"
    >>> _ = path.write_text(">one first\\nACG\\nTN\\n>two\\nACXT\\n")
    >>> reading = read_fasta(path)
    >>> reading.sequences
           sequence description
    sample
    one       ACGTN       first
    >>> reading.problems.problem[0]
    "letter 'X' at position 2 (counted from 0); expected A, C, G, T, U or N"
    """
    records = Records()
    for e in entries(path):
        records.add(e.name, e.line, {"sequence": e.sequence, "description": e.description})
    return records.reading()


class Entry(NamedTuple):
    """A record of a FASTA file.

    Attributes
    ----------
    name, description, sequence : str
        The header's first word, the rest of the header, and the letters joined to one line.
    line : int
        Number of the header's line, counted from 1.
    """

    name: str
    description: str
    sequence: str
    line: int


@contextmanager
def text_of(path: str | Path) -> Iterator[TextIO]:
    """A text file, plain or gzip, in UTF-8 or, as a mark at its beginning says, UTF-16, whatever its line ends.

    Raises
    ------
    FileNotFoundError
        If it does not exist.
    ValueError
        If it is empty, or begins like gzip and cannot be read as such.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    with path.open("rb") as raw:
        begin = raw.read(2)
    if not begin:
        raise ValueError(f"{path} is empty")
    opened = gzip.open if begin == b"\x1f\x8b" else open
    try:
        with opened(path, "rb") as raw:
            begin = raw.read(2)
        encoding = "utf-16" if begin in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
        with opened(path, "rt", encoding=encoding, errors="replace") as file:
            yield file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is a gzip file that cannot be read: {error}; copy it again") from error


def entries(path: str | Path) -> Iterator[Entry]:
    """The records of a FASTA file, one at a time.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it is empty or not FASTA.
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
            elif line.startswith(";") or (header is None and line.startswith("#")):
                continue  # a comment, as old programs write them
            elif header is not None:
                parts.append(line)
            elif line:
                shown = repr(line[:40]) if line.isprintable() or "\t" in line else "not text"
                bed = (
                    "; intervals are `bed`, beside the genome that they lie on"
                    if INTERVAL.match(line)
                    else ""
                )
                raise ValueError(f"{path} is no FASTA file: line {number} is {shown}, expected '>name'{bed}")
        if header is None:
            raise ValueError(f"{path} has no records; FASTA records begin with '>name'")
        yield _entry(header, parts)


def _entry(header: tuple[str, int], parts: list[str]) -> Entry:
    words = [*header[0].strip().split(maxsplit=1), "", ""]
    return Entry(words[0], words[1], "".join("".join(parts).split()), header[1])


class Records:
    """Collects records one by one: valid ones by a unique name, the others with their problem."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}
        self._count: dict[str, int] = {}
        self._rows: list[Mapping[str, Any]] = []
        self._problems: list[tuple[str, int, str, bool]] = []

    def add(self, name: str, line: int, row: Mapping[str, Any]) -> None:
        """Add a record if its `sequence` is valid. A repeated name gets a number."""
        wrong = fault(row["sequence"])
        if wrong:
            return self.refuse(name, line, wrong)
        self._names[self._unique(name, line)] = None
        self._rows.append(row)

    def refuse(self, name: str, line: int, problem: str) -> None:
        """Leave a record out, with the reason."""
        self._problems.append((name, line, problem, False))

    def _unique(self, name: str, line: int) -> str:
        unique = name or "unnamed"
        while unique in self._names:
            self._count[name] = self._count.get(name, 1) + 1
            unique = f"{name or 'unnamed'}_{self._count[name]}"
        if unique != name:
            why = f"the name {name!r} is used more than once" if name else "it has no name"
            self._problems.append((name, line, f"{why}; it is called {unique!r}", True))
        return unique

    def reading(self) -> Reading:
        """The sequences, and the problems in the order of the lines."""
        index = pd.Index(list(self._names), name="sample", dtype=object)
        columns = None if self._rows else ["sequence"]
        problems = pd.DataFrame(self._problems, columns=PROBLEM_COLUMNS)
        return Reading(
            pd.DataFrame(self._rows, index=index, columns=columns),
            problems.sort_values("line", kind="stable", ignore_index=True),
        )
