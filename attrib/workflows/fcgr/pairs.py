"""Pairs of a miRNA and a target as a table, with bad rows listed apart; which are explained, and which form the background."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from attrib._arguments import refuse_unnamed, whole_seed
from attrib.domains.draws import drawn_evenly
from attrib.domains.fcgr import CORNERS, fcgr
from attrib.domains.fcgr.images import checked
from attrib.domains.sequences.tables import text_of
from attrib.io.place import file_names

BRANCHES = ("mirna", "mrna")
NAMES = {  # of published tables; the first that is there is taken
    "mirna": ("mirna", "noncodingrna", "mirna_sequence"), "mrna": ("target", "mrna", "gene", "target_sequence"), "label": ("label",),
}  # fmt: skip
SEPARATORS = {".tsv": "\t", ".tab": "\t", ".txt": "\t"}
LABELS = {"true": "1", "false": "0", "1.0": "1", "0.0": "0"}
ID = ("id", "sample")
LONGEST = 30  # letters that a miRNA may have; most have 22


class Images(NamedTuple):
    """The form of the images of sequences.

    Attributes
    ----------
    k : int
        Letters per k-mer.
    scale, corners, leading : str
        See `attrib.domains.fcgr.fcgr`.
    """

    k: int = 6
    scale: str = "count"
    corners: str = CORNERS
    leading: str = "last"

    def of(self, table: pd.DataFrame) -> xr.Dataset:
        """Both images of each pair: mirna and mrna, (sample, channel, y, x), with the coord `label`."""
        images = {}
        for name in BRANCHES:
            image = fcgr(
                table[name].tolist(), k=self.k, scale=self.scale, corners=self.corners, leading=self.leading,  # type: ignore[arg-type]
                samples=table.index.to_numpy(dtype=str),
            )  # fmt: skip
            coords = {c: f"{name}_{c}" for c in ("sequence", "skipped")}
            images[name] = image.rename(coords).expand_dims(channel=["count"], axis=1)
        return xr.Dataset(images).assign_coords(label=("sample", table["label"].to_numpy()))


class Pairs(NamedTuple):
    """The content of a file of pairs.

    Attributes
    ----------
    table : DataFrame
        Index: names of the pairs, as text. Columns mirna, mrna (text) and label (0 or 1).
    bad : dict of str to str
        Pairs that cannot be used, and why.
    order : tuple of str
        Names of all rows, as in the file.
    """

    table: pd.DataFrame
    bad: dict[str, str]
    order: tuple[str, ...] = ()


def read_pairs(path: str | Path, k: int, columns: Mapping[str, str] | None = None) -> Pairs:
    """Pairs from a table.

    Parameters
    ----------
    path : path
        .csv (between commas, semicolons or tabs, as its first line has them), .tsv, .tab or .txt (tabs); plain or gzip. With the
        columns mirna (or noncodingRNA), target (or mrna, gene) and label (0, 1, true, false); names of the pairs in id or sample,
        else the rows' numbers from 0. Other columns are ignored.
    k : int
        Least number of letters of a sequence.
    columns : mapping, optional
        Which columns hold `mirna`, `target`, `label` and `id`, where they have other names.

    Returns
    -------
    Pairs

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If columns are missing or look exchanged, a name occurs twice, or no row can be used.
    """
    checked(k)
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"`data`: there is no file {file}")
    try:
        options = {"dtype": str, "keep_default_na": False, "skipinitialspace": True}
        with text_of(file) as text:
            raw = pd.read_csv(text, sep=_separator(file), **options)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, EOFError, OSError) as error:
        raise ValueError(f"`data`: {file} is no table in CSV: {error}") from error
    table = _columns(raw, file, dict(columns or {}))
    bad = {str(n): r for n, r in zip(table.index, map(_wrong, *(table[c] for c in NAMES), [k] * len(table)), strict=True) if r}  # fmt: skip
    good = table[[n not in bad for n in table.index]].copy()
    if good.empty:
        why = next((f"{name}: {reason}" for name, reason in bad.items()), "it has no rows")
        raise ValueError(f"`data`: no pair of {file} can be used; {why}")
    mirna, mrna = (good[c].str.len().median() for c in ("mirna", "mrna"))
    if mirna > max(mrna, LONGEST):
        raise ValueError(
            f"`data`: in {file} miRNAs have {mirna:g} letters and their targets {mrna:g} (medians); are the two columns exchanged? "
            "Then `columns` says which is which: mirna=...,target=..."
        )
    good["label"] = good["label"].astype(float).astype(int)
    return Pairs(good, bad, tuple(map(str, table.index)))


def _separator(file: Path) -> str:
    """What stands between the columns: by the suffix, else what the first line has most of."""
    suffix = (file.with_suffix("") if file.suffix == ".gz" else file).suffix.lower()
    if suffix in SEPARATORS:
        return SEPARATORS[suffix]
    try:
        with text_of(file) as text:
            head = text.readline()
    except ValueError as error:
        raise ValueError(f"`data`: {error}") from error
    return max(",", ";", "\t", key=head.count)


def _columns(raw: pd.DataFrame, file: Path, named: Mapping[str, str]) -> pd.DataFrame:
    columns = {str(c).strip().lower(): c for c in raw.columns}
    unknown = [n for n in named if n not in ("mirna", "target", "label", "id")]
    if unknown:
        raise ValueError(f"`columns` names {unknown[0]!r}, expected mirna, target, label or id")
    lacking = [c for c in named.values() if c.strip().lower() not in columns]
    if lacking:
        raise ValueError(
            f"`columns`: {file} has no column {lacking[0]!r}; it has {', '.join(map(str, raw.columns))}"
        )
    for name, column in named.items():
        place = "mrna" if name == "target" else name
        columns = {
            k: v
            for k, v in columns.items()
            if k not in (NAMES.get(place) or ID) or k == column.strip().lower()
        }
        columns[(NAMES.get(place) or ID)[0]] = next(
            c for c in raw.columns if str(c).strip().lower() == column.strip().lower()
        )
    chosen = {name: next((columns[w] for w in words if w in columns), None) for name, words in NAMES.items()}
    missing = [" or ".join(NAMES[n]) for n, c in chosen.items() if c is None]
    if missing:
        raise ValueError(
            f"`data`: {file} lacks the column {', '.join(missing)}; it has {', '.join(map(str, raw.columns))}"
        )
    shared = [c for c in chosen.values() if list(chosen.values()).count(c) > 1]
    if shared:
        both = " and ".join(
            NAMES[n][0] if n != "mrna" else "target" for n, c in chosen.items() if c == shared[0]
        )
        raise ValueError(f"`columns`: {shared[0]!r} of {file} stands for {both}, expected a column for each")
    index_column = next((columns[w] for w in ID if w in columns), None)
    index = pd.Index(
        raw[index_column].str.strip() if index_column is not None else map(str, range(len(raw))),
        name="sample",
    )
    if not index.is_unique:
        raise ValueError(f"`data`: {file} has the {index_column} {index[index.duplicated()][0]!r} twice")
    table = pd.DataFrame({n: raw[c].str.strip().to_numpy() for n, c in chosen.items()}, index=index)
    table["label"] = table["label"].map(lambda v: LABELS.get(v.lower(), v))
    for name in BRANCHES:
        table[name] = table[name].str.upper().str.replace("U", "T")
    return table


def _wrong(mirna: str, mrna: str, label: str, k: int) -> str:
    """What is wrong with a row; empty if nothing is."""
    for name, text in (("mirna", mirna), ("mrna", mrna)):
        if not text:
            return f"{name} is empty"
        strange = re.findall(r"[^A-Z]", text)
        if strange:
            return f"{name} has {strange[0]!r}, expected letters"
        if len(text) < k:
            return f"{name} has {len(text)} letters, expected at least k = {k}"
        if not re.search(f"[ACGT]{{{k}}}", text):
            return f"{name} has no {k} letters of A, C, G, T in a row"
    if label.removesuffix(".0") not in ("0", "1"):
        return f"label is {label!r}, expected 0 or 1"
    return ""


def file_prefixes(names: Sequence[str]) -> dict[str, str]:
    """A distinct beginning of file names for each pair's name."""
    return {name: f"sample_{plain}" for name, plain in file_names(names).items()}


def chosen(
    pairs: Pairs, samples: Sequence[str] | None, count: int, seed: int
) -> tuple[list[str], dict[str, str]]:
    """Names of the pairs to explain, and the bad pairs with their reasons.

    Parameters
    ----------
    pairs : Pairs
    samples : sequence of str or None
        Names; None: `count` pairs, evenly of both labels.
    count, seed : int

    Raises
    ------
    ValueError
        For names that do not exist, and if none of the named pairs can be used.
    """
    if samples is not None:
        return _by_name(pairs, list(dict.fromkeys(str(s) for s in samples)))
    return drawn_of(pairs, list(map(str, pairs.table.index)), count, seed), pairs.bad


def drawn_of(pairs: Pairs, names: Sequence[str], count: int | None, seed: int) -> list[str]:
    """At most so many of the named pairs, evenly of both labels, in their order."""
    labels = pairs.table.loc[list(names), "label"].tolist()
    return [names[k] for k in drawn_evenly(labels, count, seed)]


def _by_name(pairs: Pairs, names: list[str]) -> tuple[list[str], dict[str, str]]:
    table = pairs.table
    rows = [*pairs.order]
    names = [
        rows[int(s)] if s not in rows and s.isdecimal() and int(s) < len(rows) else s for s in names
    ]  # a row's number, where no pair has it for a name
    refuse_unnamed("samples", names, [*table.index, *pairs.bad])
    good = [s for s in names if s in table.index]
    bad = {s: pairs.bad[s] for s in names if s in pairs.bad}
    if not good:
        raise ValueError(f"`samples`: none can be used; {next(iter(bad))}: {next(iter(bad.values()))}")
    return good, bad


def background(pairs: Pairs, count: int, seed: int) -> list[str]:
    """Pairs of the background, the same for all explained pairs."""
    order = np.random.default_rng([whole_seed(seed), 12]).permutation(len(pairs.table))
    return [str(n) for n in pairs.table.index[order[:count]]]
