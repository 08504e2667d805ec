"""Files of sequences as tables: FASTA, plain or gzip, CSV and Parquet with a column of sequences, and SeqData.

Read here, not by Biopython: names, lines and problems of each record are needed, and no dependency.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
import pandas as pd
import xarray as xr

from attrib._claims import refuse_codecs
from attrib._public import public
from attrib.domains.sequences.encoding import fault

ROW_NAMES = "row.names"  # as R calls them
SEQDATA = ("seq", "sequence", "ohe_seq")  # as SeqData and EUGENe name the variable of sequences
IDS = ("id", "name", "seq_id", "seqname")  # and that of names
_SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t", ".tab": "\t"}

INTERVAL = re.compile(r"\S+\t\d+\t\d+(\t|$)")  # a line of BED
PROBLEM_COLUMNS = ["record", "line", "problem", "kept"]


@public
def read_table(path: str | Path, *, column: str = "sequence", name: str | None = None) -> Reading:
    """Read the sequences in a column of a table.

    Parameters
    ----------
    path : path
        .csv, .tsv, .txt or .tab (tabs), these compressed (.gz), or .parquet.
    column : str, default "sequence"
        The column of sequences.
    name : str, optional
        The column of names; default: the row names that R writes in front, else the rows' numbers, counted from 0.

    Returns
    -------
    Reading
        `sequences`: `sequence`, and the table's other columns. Rows without a sequence, or with letters other than A, C,
        G, T, U, N, are left out and listed in `problems`. There `line` is the row's number, counted from 1 without the header.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it is not a table, has no rows, or lacks a column.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.csv"
    >>> _ = path.write_text("id,utr,label\\nx,ACGT,1\\ny,,0\\n")
    >>> reading = read_table(path, column="utr", name="id")
    >>> reading.sequences
           sequence  label
    sample
    x          ACGT      1
    >>> reading.problems[["record", "problem"]].values.tolist()
    [['y', 'it has no letters']]
    """
    table = _table(Path(path), column, name)
    table.columns = [str(c).strip() for c in table.columns]
    for wanted in filter(None, (column, name)):
        if wanted not in table:
            raise ValueError(
                f"{path} has no column {wanted!r}; its columns: {', '.join(map(str, table.columns))}"
            )
    if not len(table):
        raise ValueError(f"{path} has no rows")
    if name is None and ROW_NAMES in table and column != ROW_NAMES:
        name = ROW_NAMES
    names = [str(k) for k in range(len(table))] if name is None else table[name].map(str).tolist()
    records = Records()
    rows = table.drop(columns=[name] if name else []).rename(columns={column: "sequence"}).to_dict("records")
    for number, (label, row) in enumerate(zip(names, rows, strict=True), 1):
        records.add(label, number, {str(k): v for k, v in row.items()})
    return records.reading()


def _table(path: Path, column: str, name: str | None) -> pd.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    suffix = (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()
    if suffix == ".parquet":
        try:
            table = pd.read_parquet(path)
        except ImportError as error:
            raise ImportError("reading parquet needs pyarrow: pip install pyarrow") from error
        return table.assign(**{str(c): table[c].map(_text) for c in (column, name) if c in table})
    if suffix not in _SEPARATORS:
        raise ValueError(f"{path} is no table by its name; expected .csv, .tsv, .txt, .tab or .parquet")
    try:
        content = _rectangular(path, _SEPARATORS[suffix])
        table = pd.read_csv(io.StringIO(content))
        # these columns are read again as plain text: "NA" may be a name, or a sequence of two letters
        texts = pd.read_csv(
            io.StringIO(content),
            usecols=lambda c: c in (column, name, ROW_NAMES),
            dtype=str,
            keep_default_na=False,
        )
        table = table.assign(**{str(c): texts[c].map(_text) for c in texts})
        return table.assign(chrom=table["chrom"].map(_chromosome)) if "chrom" in table else table
    except pd.errors.EmptyDataError as error:
        raise ValueError(f"{path} is empty") from error
    except (pd.errors.ParserError, UnicodeDecodeError, EOFError, OSError, csv.Error, zlib.error) as error:
        raise ValueError(f"{path} is no table that can be read: {error}") from error


def _rectangular(path: Path, separator: str) -> str:
    """The table as CSV with as many names as columns.

    R writes row names without a name of their own, one field more than the header: they become the column `row.names`. Other
    programs end each line with a separator: the empty column is dropped. Neither may shift the columns.

    Raises
    ------
    ValueError
        For lines of other lengths, naming the line.
    """
    with text_of(path) as file:
        first = file.readline()
        file.seek(0)
        if (
            separator == "," and ";" in first and "," not in first
        ):  # as spreadsheets write where the comma is in numbers
            separator = ";"
        rows = [
            (reader.line_num, row)
            for reader in [csv.reader(file, delimiter=separator, strict=True)]
            for row in reader
            if row
        ]
    if not rows:
        raise ValueError(f"{path} is empty")
    header, body = rows[0][1], rows[1:]
    while (
        header and not header[-1].strip() and all(not "".join(r[len(header) - 1 :]).strip() for _, r in body)
    ):
        header = header[:-1]
    if body and all(len(r) == len(header) + 1 for _, r in body) and any(r[-1].strip() for _, r in body):
        header = [ROW_NAMES, *header]
    lines = [header]
    for number, row in body:
        if len(row) > len(header) and "".join(row[len(header) :]).strip():
            raise ValueError(
                f"{path} is no table that can be read: line {number} has {len(row)} fields, the header {len(header)}"
            )
        lines.append([*row[: len(header)], *[""] * (len(header) - len(row))])
    text = io.StringIO()
    csv.writer(text).writerows(lines)
    return text.getvalue()


def _chromosome(value: object) -> str:
    """A chromosome's name as text, also of one that reads as a number."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None or (isinstance(value, float) and np.isnan(value)) else str(value)


def _text(value: object) -> str:
    missing = value is None or (isinstance(value, float) and np.isnan(value))
    return "" if missing else str(value).strip()


@public
def read_seqdata(path: str | Path, *, column: str | None = None, name: str | None = None) -> Reading:
    """Read the sequences of SeqData, the Zarr stores of EUGENe and SeqDatasets.

    Parameters
    ----------
    path : path
        A Zarr store.
    column : str, optional
        The variable of sequences: texts, letters one by one, or one-hot in the order A, C, G, T along a dim of four; default: `seq`,
        `sequence` or `ohe_seq`, whichever there is.
    name : str, optional
        The variable of names, one a sequence; default: `id`, `name`, `seq_id` or `seqname` if there is one with distinct values, else
        distinct texts along the dim of the sequences, as SeqData has them of FASTA files, else the sequences' numbers from 0 on.

    Returns
    -------
    Reading
        `sequences`: `sequence`, and the other variables with one value a sequence, such as labels. Sequences without letters, or with
        letters other than A, C, G, T, U, N, are listed in `problems`; there `line` is the sequence's number, counted from 1.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such store, or no such variable, or it holds no sequences, or asks for a codec that runs code.

    References
    ----------
    Klie et al. (2023), doi:10.1038/s43588-023-00544-w (EUGENe).

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np, xarray as xr
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.zarr"
    >>> letters = np.array([list("ACGT"), list("GGGT")], dtype="S1")
    >>> data = {"seq": (("_sequence", "length"), letters), "target": ("_sequence", [0.5, 2.0])}
    >>> _ = xr.Dataset(data).to_zarr(path, zarr_format=2)
    >>> read_seqdata(path).sequences
           sequence  target
    sample
    0          ACGT     0.5
    1          GGGT     2.0
    """
    if not Path(path).is_dir():
        raise FileNotFoundError(f"there is no Zarr store {path}")
    try:
        refuse_codecs(Path(path))
        with xr.open_zarr(_with_text_fills(path), chunks=None) as opened:
            ds = opened.load()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no Zarr store that can be read: {error}") from error
    for wanted in filter(None, (column, name)):
        if wanted not in ds.variables:
            raise ValueError(f"{path} has no variable {wanted!r}; it has {', '.join(map(str, ds.variables))}")
    column = column or next((v for v in SEQDATA if v in ds.variables), None)
    if column is None:
        raise ValueError(f"{path} has none of the variables {', '.join(SEQDATA)}; it has {', '.join(map(str, ds.variables))}")  # fmt: skip
    texts, lead = _spelled(ds[column], path)
    rows = {
        str(v): _plain(ds[v].values)
        for v in ds.variables
        if ds[v].dims == (lead,) and v not in (column, lead)
    }
    if name is not None and (ds[name].dims != (lead,) or name == column):
        raise ValueError(
            f"{path}: {name} has dims {dict(ds[name].sizes)}, expected a name for each of the {len(texts)} sequences of {column}; "
            f"one of {', '.join(rows) or 'none'}"
        )
    index = [str(lead)] if lead in ds.variables and ds[lead].dtype.kind in "SUOT" else []
    choices = [*(v for v in IDS if v in rows), *index]
    column_of_names = name or next((v for v in choices if len(set(_plain(ds[v].values))) == len(texts)), None)
    names = range(len(texts)) if column_of_names is None else _plain(ds[column_of_names].values)
    rows = {v: values for v, values in rows.items() if v != column_of_names}
    records = Records()
    for k, text in enumerate(texts):
        records.add(str(names[k]), k + 1, {"sequence": text, **{v: values[k] for v, values in rows.items()}})
    return records.reading()


def _with_text_fills(path: str | Path) -> Any:
    """The store, in which the fill value of texts is a text: SeqData's own writer leaves 0 there, which zarr 3 refuses."""
    from zarr.storage import LocalStore

    class Store(LocalStore):
        async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
            content = await super().get(key, prototype, byte_range)
            if content is None or not key.endswith((".zarray", ".zmetadata")):
                return content
            described = json.loads(content.to_bytes())
            for entry in (described, *described.get("metadata", {}).values()):
                if entry.get("dtype") == "|O" and entry.get("fill_value") == 0:
                    entry["fill_value"] = ""
            return type(content).from_bytes(json.dumps(described).encode())

    return Store(path, read_only=True)


def _spelled(a: xr.DataArray, path: str | Path) -> tuple[list[str], Hashable]:
    """The sequences as texts, and their dim."""
    lead = a.dims[0] if a.ndim else ""
    values = a.values
    if a.ndim == 1 and values.dtype.kind in "SUOT":
        return [str(t) for t in _plain(values)], lead
    if a.ndim == 2 and values.dtype.kind in "SUOT":
        return ["".join(map(str, _plain(row))) for row in values], lead
    fours = [k for k in (1, 2) if a.ndim == 3 and a.shape[k] == 4]
    if not fours or values.dtype.kind not in "biuf":
        raise ValueError(
            f"{path}: {a.name} has dims {dict(a.sizes)} of {values.dtype}, expected texts, letters, or one-hot with a dim of 4"
        )
    hot = np.moveaxis(values, fours[-1] if str(a.dims[fours[-1]]).strip("_") != "length" else fours[0], -1)
    alphabet = np.array(list("ACGTN"))
    letters = alphabet[np.where(hot.sum(-1) > 0, hot.argmax(-1), 4)]
    return ["".join(row).rstrip("N") for row in letters], lead


def _plain(values: np.ndarray) -> list[Any]:
    """Values for a table: texts for bytes."""
    return [v.decode() if isinstance(v, bytes) else v for v in values.tolist()]


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


@public
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
