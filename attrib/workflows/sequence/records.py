"""The records of a study: read, sorted by length, and those that cannot be used."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import xarray as xr

from attrib.domains.draws import drawn_evenly, label_among
from attrib.domains.sequences import Reading, one_hot, read_bed, read_fasta, read_seqdata, read_table
from attrib.domains.sequences.tables import text_of

Problem = dict[str, Any]
TABLES = (".csv", ".tsv", ".tab", ".txt", ".parquet", ".zarr")
TAKEN = ("sample", "nucleotide", "position", "length", "mask", "locus", "target", "baseline", "prediction", "delta", "standard_error", "n_steps", "record", "score", "seqlets", "deletion_z")  # fmt: skip


class Source(NamedTuple):
    """The files of the sequences.

    Attributes
    ----------
    data : path
        FASTA, a table, or SeqData (.zarr).
    bed : path, optional
        Intervals in `data`, which is then a genome.
    columns : mapping, optional
        A table's columns of the `sequence` and the `name`; default: `sequence`, of SeqData what it has, and the rows' numbers.
    width : int, optional
        Bases around the middle of a BED interval; default: the interval as it is.
    summits : bool
        Whether `width` goes around the summit of a narrowPeak file.
    """

    data: str | Path
    bed: str | Path | None = None
    columns: Mapping[str, str] = {}
    width: int | None = None
    summits: bool = False


def read_records(source: Source, max_samples: int | None = None, seed: int = 0) -> Reading:
    """Read the sequences: all, or at most so many, drawn evenly over the labels if there is a column `label` or `class`.

    Raises
    ------
    ValueError
        For arguments that do not fit the file, and if no record can be used.
    FileNotFoundError
        If there is no such file.
    """
    if max_samples is not None and max_samples < 1:
        raise ValueError(f"`max_samples` is {max_samples}, expected a positive number")
    reading = _read(source)
    if not len(reading.sequences):
        first = reading.problems.problem.iloc[0] if len(reading.problems) else "it is empty"
        raise ValueError(f"none of {len(reading.problems)} records can be used: {first}")
    records = reading.sequences
    by = label_among(records.columns)
    labels = [""] * len(records) if by is None else records[by].astype(str).tolist()
    return reading._replace(sequences=_named(records.iloc[drawn_evenly(labels, max_samples, seed)]))


def _named(records: pd.DataFrame) -> pd.DataFrame:
    """Rename other columns so that a file can hold them and they do not collide with results."""
    names: dict[str, str] = {}
    for column in map(str, records.columns):
        plain = re.sub(r"\W+", "_", column).strip("_") or "column"
        plain = f"{plain}_given" if plain in TAKEN else plain
        names[column] = f"{plain}_{len(names)}" if plain in names.values() else plain
    return records.rename(columns=names)


def _read(source: Source) -> Reading:
    path, column, name = Path(source.data), *map(source.columns.get, ("sequence", "name"))
    unknown = [c for c in source.columns if c not in ("sequence", "name")]
    if unknown:
        raise ValueError(f"`columns` names {unknown[0]!r}, expected sequence or name")
    if source.bed is None and (source.width is not None or source.summits):
        raise ValueError("`width` and `summits` are of intervals; pass `bed` too, or leave them out")
    if _is_table(path):
        if source.bed is not None:
            raise ValueError(f"`bed` holds intervals of a genome, but `data` is {path}, a table by its name")
        if path.suffix == ".zarr":
            return read_seqdata(path, column=column, name=name)
        return read_table(path, column=column or "sequence", name=name)
    if source.columns:
        raise ValueError(f"`columns` are of a table, and {path} is none by its name; leave them out")
    if source.bed is not None:
        return read_bed(source.bed, path, width=source.width, summits=source.summits)
    return read_fasta(path)


def _is_table(path: Path) -> bool:
    """Whether it is a table or SeqData by its name, and does not begin as FASTA does."""
    if Path(path.name.removesuffix(".gz")).suffix.lower() not in TABLES:
        return False
    if not path.is_file() or path.suffix == ".parquet":
        return True
    with text_of(path) as text:
        return not text.read(1).startswith(">")


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
