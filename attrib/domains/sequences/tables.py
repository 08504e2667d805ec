"""Tables with a column of sequences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from attrib.domains.sequences.alphabet import other_strand
from attrib.domains.sequences.evaluation import Subject
from attrib.domains.sequences.fasta import Reading, Records
from attrib.domains.sequences.variants import place_of

_SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t", ".tab": "\t"}


def read_table(path: str | Path, *, column: str = "sequence", name: str | None = None) -> Reading:
    """The sequences in a column of a table.

    Parameters
    ----------
    path : path
        .csv, .tsv, .txt or .tab (tabs), these compressed (.gz), or .parquet.
    column : str, default "sequence"
        The column of sequences.
    name : str, optional
        The column of names; default: the rows' numbers, counted from 0.

    Returns
    -------
    Reading
        `sequences`: `sequence`, and the table's other columns. Rows without a sequence, or with letters other than A, C,
        G, T, U, N, are left out and stand in `problems`, with `line` the row's number counted from 1, without the header.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, it is no table, it has no rows or not these columns.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.csv"
    >>> _ = path.write_text("id,utr,label\\nx,ACGT,1\\ny,,0\\n")
    >>> found = read_table(path, column="utr", name="id")
    >>> found.sequences
           sequence  label
    sample
    x          ACGT      1
    >>> found.problems[["record", "problem"]].values.tolist()
    [['y', 'it has no letters']]
    """
    table = _table(Path(path), column, name)
    for wanted in filter(None, (column, name)):
        if wanted not in table:
            raise ValueError(
                f"{path} has no column {wanted!r}; its columns: {', '.join(map(str, table.columns))}"
            )
    if not len(table):
        raise ValueError(f"{path} has no rows")
    names = [str(k) for k in range(len(table))] if name is None else table[name].map(str).tolist()
    records = Records()
    rows = table.drop(columns=[name] if name else []).rename(columns={column: "sequence"}).to_dict("records")
    for number, (own, row) in enumerate(zip(names, rows, strict=True), 1):
        records.add(own, number, {str(k): v for k, v in row.items()})
    return records.reading()


def _table(path: Path, column: str, name: str | None) -> pd.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    suffix = (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()
    if suffix == ".parquet":
        table = pd.read_parquet(path)
        return table.assign(**{str(c): table[c].map(_text) for c in (column, name) if c in table})
    if suffix not in _SEPARATORS:
        raise ValueError(f"{path} is no table by its name; expected .csv, .tsv, .txt, .tab or .parquet")
    how: dict[str, Any] = {"sep": _SEPARATORS[suffix], "encoding": "utf-8-sig"}
    try:
        table = pd.read_csv(path, **how)
        # "NA" is a name and N, A two letters: these columns are read again, as the text that stands there
        texts = pd.read_csv(
            path, usecols=lambda c: c in (column, name), dtype=str, keep_default_na=False, **how
        )
        return table.assign(**{str(c): texts[c].map(_text) for c in texts})
    except pd.errors.EmptyDataError as error:
        raise ValueError(f"{path} is empty") from error
    except (pd.errors.ParserError, UnicodeDecodeError, EOFError, OSError) as error:
        raise ValueError(f"{path} is no table that can be read: {error}") from error


def _text(value: object) -> str:
    missing = value is None or (isinstance(value, float) and np.isnan(value))
    return "" if missing else str(value).strip()


# FOLDED attrib/domains/sequences/tables.py: """Where a variant lies in labelled sequences."""
class Edit(NamedTuple):
    """A variant in one of the sequences, as it is read there.

    Attributes
    ----------
    name : str
    sample, place : int
        Numbers of the sequence and of the position where it begins.
    ref, alt : str
        Alleles on the sequence's strand.
    """

    name: str
    sample: int
    place: int
    ref: str
    alt: str


Find = Callable[[str, dict, str, str], list[Edit]]


def finder(subject: Subject, variants: pd.DataFrame) -> Find:
    """How to find a variant's place: by chromosome, or by sample."""
    missing = [c for c in ("ref", "alt") if c not in variants]
    by_chrom, by_sample = ({*pair} <= set(variants) for pair in (("chrom", "pos"), ("sample", "position")))
    if missing or not (by_chrom or by_sample):
        raise ValueError(
            f"`variants` has the columns {list(variants)}, expected ref and alt, "
            "and chrom and pos, or sample and position"
        )
    if by_sample:
        return _BySample(subject)
    lacking = [c for c in ("chrom", "locus") if c not in subject.x.coords]
    if lacking:
        raise ValueError(
            f"`x` lacks the coords {lacking}, which one_hot(read_bed(...).sequences) has; "
            "or give variants by sample and position"
        )
    return _ByPlace(subject)


class _BySample:
    """Finds variants by the sample's name and the position's label."""

    def __init__(self, subject: Subject) -> None:
        x, d = subject.x, subject.sample
        self._samples = x.indexes[d] if d in x.indexes else pd.RangeIndex(subject.count)
        self._places = x.indexes.get("position", pd.RangeIndex(x.sizes["position"]))
        self._mask = subject.mask

    def __call__(self, name: str, row: dict, ref: str, alt: str) -> list[Edit]:
        sample, place = row["sample"], row["position"]
        if sample not in self._samples or place not in self._places:
            raise ValueError(f"there is no sample {sample!r} with a position {place!r}")
        k, p = self._samples.get_loc(sample), self._places.get_loc(place)
        if not isinstance(k, int) or not isinstance(p, int):
            raise ValueError(f"sample {sample!r} or position {place!r} is there more than once")
        if not self._mask[k, p : p + len(ref)].all() or p + len(ref) > self._mask.shape[1]:
            raise ValueError(f"sample {sample!r} ends before the end of {ref}")
        return [Edit(name, k, p, ref, alt)]


class _ByPlace:
    """Finds variants by chromosome and position, in all sequences that cover them."""

    def __init__(self, subject: Subject) -> None:
        x = subject.x.transpose(subject.sample, "nucleotide", "position")
        self._locus = np.where(subject.mask, x["locus"].values, -1)
        rows, last = np.arange(subject.count), self._locus.shape[1] - 1 - subject.mask[:, ::-1].argmax(1)
        ends = self._locus[rows, subject.mask.argmax(1)], self._locus[rows, last]
        single = (x["strand"].values == "-") if "strand" in x.coords else False
        self._minus = np.where(ends[0] == ends[1], single, ends[0] > ends[1])
        low = np.where(self._locus < 0, np.iinfo(np.int64).max, self._locus).min(1)
        table = pd.DataFrame({"chrom": x["chrom"].values, "low": low, "high": self._locus.max(1)})
        self._chroms = {c: t.sort_values("low") for c, t in table.groupby("chrom")}
        self._width = self._locus.shape[1]

    def __call__(self, name: str, row: dict, ref: str, alt: str) -> list[Edit]:
        begin = place_of(row) - 1
        table = self._chroms.get(str(row["chrom"]))
        near = [] if table is None else self._near(table, begin, begin + len(ref))
        found = [e for k in near if (e := self._edit(k, begin, name, ref, alt)) is not None]
        if not found:
            raise ValueError(f"no sequence covers {row['chrom']}:{row['pos']} and its {len(ref)} letters")
        return found

    def _near(self, table: pd.DataFrame, begin: int, end: int) -> list[int]:
        """Samples whose places may hold `begin` to `end`, in their order."""
        low = table["low"].to_numpy()
        some = table.iloc[np.searchsorted(low, begin - self._width) : np.searchsorted(low, begin, "right")]
        return sorted(some.index[(some["high"] >= end - 1).to_numpy()].tolist())

    def _edit(self, k: int, begin: int, name: str, ref: str, alt: str) -> Edit | None:
        """The variant as sample `k` reads it, if all of it is there."""
        if self._minus[k]:
            ref, alt = other_strand(ref), other_strand(alt)
        wanted = begin + np.arange(len(ref))[:: -1 if self._minus[k] else 1]
        place = int(np.argmax(self._locus[k] == wanted[0]))
        there = self._locus[k, place : place + len(ref)]
        return Edit(name, k, place, ref, alt) if np.array_equal(there, wanted) else None
