"""Attributions of all records, chunk by chunk and computed once, and the effects of the variants that they cover."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from attrib.domains.sequences import read_vcf, variant_effect
from attrib.functional import prepare
from attrib.io import load, save
from attrib.scale.loading import first_line
from attrib.workflows.folder import earlier_part
from attrib.workflows.runner import Outcome, Study
from attrib.workflows.sequence.convolution import by_length
from attrib.workflows.sequence.settings import Chunk, Settings, check_outputs, importance
from attrib.workflows.study import Done, attribute, deletion_curve, trial

ROWS = 32  # records of a chunk, the most that Ctrl-C can lose
MOST = 10  # outputs for which there are deletion curves
REFUSED = "refused"  # attr of a part: records of its chunk that could not be explained, and why
FILL = {"mask": False, "locus": -1}

Results = dict[str, xr.DataArray]

SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
NUMBERS = ["before", "after", "difference"]
COLUMNS = ["variant", "record", "chrom", "position", "ref", "alt", "target", *NUMBERS]

Scores = Callable[[xr.DataArray], xr.DataArray]


class Attributed(NamedTuple):
    """Results of all records that could be explained.

    Attributes
    ----------
    x : DataArray
        One-hot, padded with zeros to the longest.
    results : dict of str to DataArray
        By method, padded with NaN; records in the order of the file; with a leading dim `target` for several outputs.
    refused : dict of str to str
        Records that could not be explained by name, and why.
    """

    x: xr.DataArray
    results: Results
    refused: dict[str, str]

    @property
    def outputs(self) -> list[Any]:
        """Labels of the outputs if there are several."""
        first = next(iter(self.results.values()))
        return first["target"].values.tolist() if "target" in first.dims else []

    def of(self, output: Any) -> Attributed:
        """The results of one of several outputs."""
        return self._replace(results={m: a.sel(target=output) for m, a in self.results.items()})


@dataclass(frozen=True)
class Sequences(Study):
    """A run's model and settings, and what is done with a chunk of records.

    Attributes
    ----------
    model : callable
    settings : Settings
    folder : Path
        Of the parts.
    record : mapping
        Everything that the results depend on, beside the records.
    faults : dict of int to str
        Why the model does not take sequences of a length, of those that were tried; empty if it does.
    """

    model: Callable[..., Any]
    settings: Settings
    folder: Path
    record: Mapping[str, Any]
    faults: dict[int, str] = field(default_factory=dict)

    program, what = "attrib sequence", "records"

    def identity(self) -> Mapping[str, Any]:
        """What must be equal for a run to be continued."""
        return self.record

    def weight(self, chunk: Chunk) -> int:
        """How many records a chunk has."""
        return len(chunk.records)

    def opened(self, device: str | None = None) -> Sequences:
        """The same, in another process; what is learned of the model holds for all records of a length."""
        return replace(self, model=prepare(self.model), faults={})

    def part(self, chunk: Chunk) -> Path:
        """The file of a chunk's results."""
        return self.folder / f"{chunk.key}.nc"

    def is_done(self, chunk: Chunk) -> bool:
        """Whether an earlier run wrote a chunk."""
        earlier = earlier_part(self.part(chunk))
        return isinstance(earlier, dict) and "x" in earlier

    def do(self, block: Sequence[Chunk]) -> list[Outcome]:
        """Explain chunks.

        Raises
        ------
        ValueError
            For a first chunk none of whose records can be explained: an error of all is not caused by a record.
        """
        return [outcome for chunk in block for outcome in self._outcomes(chunk)]

    def _outcomes(self, chunk: Chunk) -> list[Outcome]:
        """Write a chunk's results, with the records that are refused in an attr; without results these are the outcomes."""
        length = chunk.length
        if length not in self.faults:
            self.faults[length] = _fault(self.model, chunk.one_hot(self.settings.dims), self.settings)
        if self.faults[length]:
            return [Outcome(str(n), refused=self.faults[length]) for n in chunk.records.index]
        results, bad = _explained(self.model, chunk, self.settings)
        if results:
            x = results["x"].assign_attrs({REFUSED: json.dumps(bad)}) if bad else results["x"]
            save({**results, "x": x}, self.part(chunk))
            return []
        if len(bad) > 1 and not any(self.folder.glob("*.nc")):
            raise ValueError(f"no record can be explained: {next(iter(bad.values()))}")
        return [Outcome(n, refused=why) for n, why in bad.items()]


def attributed(
    study: Sequences, pieces: Mapping[str, Chunk], records: pd.DataFrame, refused: Mapping[str, str]
) -> Attributed:
    """The results of all chunks in one; a chunk that was refused as a whole stands for its records.

    Raises
    ------
    ValueError
        If no record could be explained, with the first reason.
    """
    reasons: dict[str, str] = {}
    for name, why in refused.items():
        reasons |= dict.fromkeys(map(str, pieces[name].records.index), why) if name in pieces else {name: why}
    results: list[Results] = []
    for chunk in pieces.values():
        if study.part(chunk).is_file():
            results.append(load(study.part(chunk)))
            reasons |= json.loads(results[-1]["x"].attrs.pop(REFUSED, "{}"))
    if not results:
        raise ValueError(f"no record can be explained: {next(iter(reasons.values()))}")
    merged = joined(results)
    names = pd.Index(merged["x"]["sample"].values)
    order = names.get_indexer([n for n in map(str, records.index) if n in names])
    ordered = {name: a.isel(sample=order) for name, a in merged.items()}
    return Attributed(ordered.pop("x"), ordered, reasons)


def _fault(model: Callable[..., Any], x: xr.DataArray, settings: Settings) -> str:
    """Why the model does not take sequences of this length; empty if it does."""
    try:
        trial(model, x, settings.device, settings.context)
    except ValueError as error:
        return f"it has {x.sizes['position']} letters: {str(error).partition('; ')[0]}{_other_order(model, x, settings)}"
    check_outputs(model, x, settings)
    return ""


def _other_order(model: Callable[..., Any], x: xr.DataArray, settings: Settings) -> str:
    """What to do where the model takes letters and positions the other way round; else nothing."""
    sample, first, second = settings.dims
    try:
        trial(model, x.transpose(sample, second, first), settings.device, settings.context)
    except ValueError:
        return ""
    return f"; it takes them with `dims` {sample},{second},{first}"


def _explained(model: Callable[..., Any], chunk: Chunk, settings: Settings) -> tuple[Results, dict[str, str]]:
    """Results of a chunk; if a method fails, of each record separately."""
    try:
        return _results(model, chunk.one_hot(settings.dims), settings), {}
    except OSError:
        raise
    except Exception as error:  # the user's model
        if len(chunk.records) == 1:
            return {}, {str(chunk.records.index[0]): first_line(error)}
    results: list[Results] = []
    bad: dict[str, str] = {}
    for k in range(len(chunk.records)):
        result, why = _explained(model, chunk._replace(records=chunk.records.iloc[k : k + 1]), settings)
        bad |= why
        results += [result] if result else []
    return (joined(results) if results else {}), bad


def _results(model: Callable[..., Any], x: xr.DataArray, settings: Settings) -> Results:
    """Results of a chunk, each with the coord `deletion_z`: its deletion curve against random orders."""
    results, plan = {"x": x}, settings.plan(x)
    for outcome in attribute(model, x, plan):
        if isinstance(outcome, Done) and isinstance(outcome.result, xr.DataArray):
            a = outcome.result
            if a.sizes.get("target", 1) <= MOST:
                curve = deletion_curve(model, x, importance(outcome.method, a, x), plan)
                a = a.assign_coords(deletion_z=curve["z"].variable)
            results[outcome.method] = a
    return results


def joined(parts: list[Results]) -> Results:
    """Results concatenated along the records; shorter ones are padded, letters with zeros and attributions with NaN."""
    size = max(p["x"].sizes["position"] for p in parts)
    return {
        name: xr.concat(
            [_padded(p[name], size, 0.0 if name == "x" else np.nan) for p in parts],
            "sample", coords="minimal", compat="override", combine_attrs="override", join="override",
        )
        for name in parts[0]
    }  # fmt: skip


def _padded(a: xr.DataArray, size: int, fill: float) -> xr.DataArray:
    if a.sizes["position"] == size:
        return a
    fills = {a.name: fill} | {k: v for k, v in FILL.items() if k in a.coords}
    return a.reindex(position=np.arange(size), fill_value=fills)


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
