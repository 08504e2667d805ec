"""The records of a study: read, sorted by length, and those that cannot be used."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import xarray as xr

from attrib.domains.draws import drawn_evenly
from attrib.domains.sequences import Reading, one_hot, read_bed, read_fasta, read_seqdata, read_table

Problem = dict[str, Any]
TAKEN = ("sample", "nucleotide", "position", "length", "mask", "locus", "target", "baseline", "prediction", "delta", "standard_error", "n_steps", "record", "score", "seqlets", "deletion_z")  # fmt: skip

LABELS = ("label", "class")  # columns over which records are drawn evenly


class Source(NamedTuple):
    """The files of the sequences.

    Attributes
    ----------
    fasta, table, bed : path, optional
        A FASTA file; a table, or SeqData (.zarr); a BED file of intervals in the FASTA file.
    column : str
        The table's column of sequences.
    name : str, optional
        The table's column of names.
    width : int, optional
        Bases around the middle of a BED interval.
    summits : bool
        Whether around the summit of a narrowPeak file.
    """

    fasta: str | Path | None = None
    table: str | Path | None = None
    bed: str | Path | None = None
    column: str = "sequence"
    name: str | None = None
    width: int | None = None
    summits: bool = False


def read_records(source: Source, max_records: int | None = None, seed: int = 0) -> Reading:
    """Read the sequences: all, or at most so many, drawn evenly over the labels if there is a column `label` or `class`.

    Raises
    ------
    ValueError
        Unless exactly one of a FASTA file and a table is named, for options of other files, and if no record can be used.
    FileNotFoundError
        If there is no such file.
    """
    if (source.fasta is None) == (source.table is None):
        raise ValueError("pass either `fasta` or `table`")
    if source.bed is not None and source.fasta is None:
        raise ValueError("`bed` needs `fasta`: the genome that the intervals lie in")
    if source.table is None and (source.column != Source().column or source.name is not None):
        raise ValueError(f"`column` and `name` are of a table, and {source.fasta} is none; leave them out")
    if source.bed is None and (source.width is not None or source.summits):
        raise ValueError("`width` and `summits` are of intervals; pass `bed` too, or leave them out")
    if max_records is not None and max_records < 1:
        raise ValueError(f"`max_records` is {max_records}, expected a positive number")
    reading = _read(source)
    if not len(reading.sequences):
        first = reading.problems.problem.iloc[0] if len(reading.problems) else "it is empty"
        raise ValueError(f"none of {len(reading.problems)} records can be used: {first}")
    records = reading.sequences
    by = next((c for c in records.columns if str(c).lower() in LABELS), None)
    labels = [""] * len(records) if by is None else records[by].astype(str).tolist()
    return reading._replace(sequences=_named(records.iloc[drawn_evenly(labels, max_records, seed)]))


def _named(records: pd.DataFrame) -> pd.DataFrame:
    """Rename other columns so that a file can hold them and they do not collide with results."""
    names: dict[str, str] = {}
    for column in map(str, records.columns):
        plain = re.sub(r"\W+", "_", column).strip("_") or "column"
        plain = f"{plain}_given" if plain in TAKEN else plain
        names[column] = f"{plain}_{len(names)}" if plain in names.values() else plain
    return records.rename(columns=names)


def _read(source: Source) -> Reading:
    if source.table is not None and Path(source.table).suffix == ".zarr":
        column = None if source.column == Source().column else source.column
        return read_seqdata(source.table, column=column, name=source.name)
    if source.table is not None:
        return read_table(source.table, column=source.column, name=source.name)
    assert source.fasta is not None
    if source.bed is not None:
        return read_bed(source.bed, source.fasta, width=source.width, summits=source.summits)
    return read_fasta(source.fasta)


class Chunk(NamedTuple):
    """Some records of one length.

    Attributes
    ----------
    records : DataFrame
        Rows of `Reading.sequences`.
    key : str
        Digest of the records' names, letters and settings.
    """

    records: pd.DataFrame
    key: str

    @property
    def length(self) -> int:
        """Letters of each record."""
        return len(self.records["sequence"].iloc[0])

    def one_hot(self, dims: Sequence[str]) -> xr.DataArray:
        """The letters as the network's input."""
        return one_hot(self.records).transpose(*dims)


def chunks(records: pd.DataFrame, size: int, settings: str) -> Iterator[Chunk]:
    """Chunks of at most `size` records of one length, in the order of the lengths' first records."""
    lengths = records["sequence"].str.len()
    for length in lengths.unique():
        some = records[lengths == length]
        for start in range(0, len(some), size):
            part = some.iloc[start : start + size]
            yield Chunk(part, key_of(part, settings))


def key_of(records: pd.DataFrame, settings: str) -> str:
    """A digest of the records and the settings, which identifies their results."""
    text = settings + "\n" + records.to_csv()
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def problem_entries(problems: pd.DataFrame) -> list[Problem]:
    """Records with a problem, as `run.json` lists them."""
    return [
        {"record": str(p.record), "line": int(p.line), "problem": str(p.problem), "kept": bool(p.kept)}
        for p in problems.itertuples()
    ]


def refusal_entries(names: Mapping[str, str]) -> list[Problem]:
    """Records that the model or a method refused, by name."""
    return [{"record": n, "line": 0, "problem": why, "kept": False} for n, why in names.items()]
