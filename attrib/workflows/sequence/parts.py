"""Attributions of all records, chunk by chunk; a chunk that is there is not done again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from attrib.io import load, save
from attrib.workflows.attribute import Done, Tell, attribute, trial
from attrib.workflows.loading import first_line
from attrib.workflows.sequence.asked import Asked
from attrib.workflows.sequence.outputs import check_outputs
from attrib.workflows.sequence.records import Chunk, chunks

ROWS = 32  # records of a chunk: what Ctrl-C can lose
FILL = {"mask": False, "locus": -1}

Results = dict[str, xr.DataArray]


class Attributed(NamedTuple):
    """Results of all records that could be explained.

    Attributes
    ----------
    x : DataArray
        One-hot, padded with zeros to the longest.
    results : dict of str to DataArray
        By method, padded with NaN; records in the order of the file; with a leading dim `target` for several outputs.
    refused : dict of str to str
        Records by name, and why not.
    """

    x: xr.DataArray
    results: Results
    refused: dict[str, str]

    @property
    def outputs(self) -> list[Any]:
        """Labels of the outputs, if several were asked for."""
        first = next(iter(self.results.values()))
        return first["target"].values.tolist() if "target" in first.dims else []

    def of(self, output: Any) -> Attributed:
        """The results of one of several outputs."""
        return self._replace(results={m: a.sel(target=output) for m, a in self.results.items()})


def attributed(
    model: Callable[..., Any],
    records: pd.DataFrame,
    asked: Asked,
    folder: Path,
    key: str,
    *,
    tell: Tell | None = None,
) -> Attributed:
    """Explain all records.

    Parameters
    ----------
    model : callable
    records : DataFrame
        `Reading.sequences`.
    asked : Asked
    folder : Path
        For the parts.
    key : str
        Everything the results depend on, beside the records.
    tell : callable, optional
        Gets ("records", done, in all).

    Raises
    ------
    ValueError
        If no record can be explained, with the first reason; for a model that gives no scores.
    """
    found: list[Results] = []
    refused: dict[str, str] = {}
    faults: dict[int, str] = {}
    done = 0
    for chunk in chunks(records, ROWS, key):
        made, bad = _chunk(model, chunk, asked, folder / f"{chunk.key}.nc", faults)
        found += [made] if made else []
        refused |= bad
        done += len(chunk.records)
        if tell is not None:
            tell("records", done, len(records))
        whole = len(bad) == len(chunk.records) > 1 and not faults.get(chunk.length)
        if whole and not found:  # what all refuse is no fault of the records
            break
    if not found:
        raise ValueError(f"no record can be explained: {next(iter(refused.values()))}")
    return _merged(found, records, refused)


def _chunk(
    model: Callable[..., Any], chunk: Chunk, asked: Asked, part: Path, faults: dict[int, str]
) -> tuple[Results, dict[str, str]]:
    """Results of a chunk, of an earlier run or new, and the records that are refused."""
    if part.is_file() and (earlier := _earlier(part)) is not None:
        return earlier, {}
    if chunk.length not in faults:
        faults[chunk.length] = _fault(model, chunk.one_hot(asked.dims), asked)
    if faults[chunk.length]:
        return {}, {str(n): faults[chunk.length] for n in chunk.records.index}
    made, bad = _explained(model, chunk, asked)
    if made:
        save(made, part)
    return made, bad


def _earlier(part: Path) -> Results | None:
    """What an earlier run left, if it is whole."""
    try:
        found = load(part)
    except (OSError, ValueError, KeyError):
        return None
    return found if isinstance(found, dict) and "x" in found else None


def _fault(model: Callable[..., Any], x: xr.DataArray, asked: Asked) -> str:
    """Why the model does not take sequences of this length; empty if it does."""
    try:
        trial(model, x, asked.device)
    except ValueError as error:
        return f"it has {x.sizes['position']} letters: {str(error).partition('; ')[0]}"
    check_outputs(model, x, asked)
    return ""


def _explained(model: Callable[..., Any], chunk: Chunk, asked: Asked) -> tuple[Results, dict[str, str]]:
    """Results of a chunk; if a method refuses, of each record by itself."""
    try:
        return _results(model, chunk.one_hot(asked.dims), asked), {}
    except (ValueError, NotImplementedError, FloatingPointError) as error:
        if len(chunk.records) == 1:
            return {}, {str(chunk.records.index[0]): first_line(error)}
    made: list[Results] = []
    bad: dict[str, str] = {}
    for k in range(len(chunk.records)):
        one, why = _explained(model, chunk._replace(records=chunk.records.iloc[k : k + 1]), asked)
        bad |= why
        made += [one] if one else []
    return (joined(made) if made else {}), bad


def _results(model: Callable[..., Any], x: xr.DataArray, asked: Asked) -> Results:
    found = {"x": x}
    for one in attribute(model, x, asked.plan(x)):
        if isinstance(one, Done) and isinstance(one.result, xr.DataArray):
            found[one.method] = one.result
    return found


def joined(parts: list[Results]) -> Results:
    """Results along the records, shorter ones padded: letters with zeros, attributions with NaN."""
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


def _merged(found: list[Results], records: pd.DataFrame, refused: Mapping[str, str]) -> Attributed:
    whole = joined(found)
    there = pd.Index(whole["x"]["sample"].values)
    order = there.get_indexer([n for n in map(str, records.index) if n in there])
    results = {name: a.isel(sample=order) for name, a in whole.items()}
    return Attributed(results.pop("x"), results, dict(refused))
