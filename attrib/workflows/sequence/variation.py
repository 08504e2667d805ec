"""The effects of variants on the scores of the records that cover them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import xarray as xr

from attrib.domains.sequences import read_vcf, variant_effect
from attrib.workflows.sequence.convolution import by_length

SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
NUMBERS = ["before", "after", "difference"]
COLUMNS = ["variant", "record", "chrom", "position", "ref", "alt", "target", *NUMBERS]

Scores = Callable[[xr.DataArray], xr.DataArray]


class Variation(NamedTuple):
    """Variants, and those that are left out.

    Attributes
    ----------
    table : DataFrame
        After reading: as `attrib.domains.sequences.variant_effect` takes it. After scoring: a row per variant, record and target.
    problems : DataFrame
        `record` (the variant's name), `line`, `problem`, `kept`.
    """

    table: pd.DataFrame
    problems: pd.DataFrame


def read_variants(path: str | Path, genome: bool) -> Variation:
    """Variants of a VCF file, or of a table with `record`, `position`, `ref` and `alt` (or `chrom` and `pos`).

    Parameters
    ----------
    path : path
    genome : bool
        Whether the records have coordinates on a genome.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, it has no variants, or columns or coordinates are missing.
    """
    file = Path(path)
    variation = _vcf(file) if ".vcf" in file.suffixes else _table(file)
    if not len(variation.table):
        why = variation.problems.problem.iloc[0] if len(variation.problems) else "it has no rows"
        raise ValueError(f"`variants`: none in {file} can be used: {why}")
    if not {"sample", "position"} <= set(variation.table) and not genome:
        raise ValueError(
            f"`variants`: {file} has coordinates on chromosomes, the records have none; give `bed` with a genome `fasta`, or "
            "a table with record, position (from 0), ref and alt"
        )
    return variation


def _vcf(file: Path) -> Variation:
    variants = read_vcf(file)
    return Variation(variants.variants, variants.problems)


def _table(file: Path) -> Variation:
    if not file.is_file():
        raise FileNotFoundError(f"`variants`: there is no file {file}")
    if file.suffix not in SEPARATORS:
        raise ValueError(f"`variants` is {file}, expected .vcf, .vcf.gz, .csv or .tsv by its name")
    texts = dict.fromkeys(("record", "sample", "ref", "alt", "chrom"), str)
    try:
        table = pd.read_csv(file, sep=SEPARATORS[file.suffix], dtype=texts, keep_default_na=False)
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise ValueError(f"`variants`: {file} is no table that can be read: {error}") from error
    table = table.rename(columns={"record": "sample"})
    pairs = {"sample", "position"} <= set(table) or {"chrom", "pos"} <= set(table)
    if not pairs or not {"ref", "alt"} <= set(table):
        raise ValueError(
            f"`variants`: {file} has the columns {', '.join(map(str, table.columns))}; expected ref, alt, and record and "
            "position, or chrom and pos"
        )
    return Variation(table.assign(line=range(2, 2 + len(table))), pd.DataFrame())  # the header is line 1


def effects_of_variants(scores: Scores, x: xr.DataArray, variation: Variation) -> Variation:
    """Score the variants in the records, padded on the right to the longest; the table has no rows if no variant can be scored."""
    try:
        effect = variant_effect(partial(_of_lengths, scores), x, variation.table)
    except ValueError as error:
        refused = pd.DataFrame([("all", 0, str(error), False)], columns=["record", "line", "problem", "kept"])
        return Variation(pd.DataFrame(columns=COLUMNS), pd.concat([variation.problems, refused]))
    long = effect.effects[NUMBERS].to_dataframe(dim_order=["variant", "target"]).reset_index()
    table = long.rename(columns={"sample": "record", "at": "position"})
    columns = [c for c in COLUMNS if c in table]
    return Variation(table[columns], pd.concat([variation.problems, effect.problems], ignore_index=True))


def _of_lengths(scores: Scores, x: xr.DataArray) -> xr.DataArray:
    """Scores of sequences of any lengths, in their order."""
    coords = {"row": ("sample", range(x.sizes["sample"])), "record": ("sample", x["sample"].values)}
    bare = x.drop_vars("sample").assign_coords(coords)
    parts = [scores(some).assign_coords(row=some["row"]) for some in by_length(bare)]
    scores_of_all = xr.concat(parts, "sample", coords="minimal", compat="override")
    return scores_of_all.isel(sample=scores_of_all["row"].values.argsort()).drop_vars("row")
