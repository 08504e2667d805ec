"""Attributions of all records, chunk by chunk; a chunk that is there is not done again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from attrib.io import load, save
from attrib.workflows.attribute import Done, Tell, attribute, trial
from attrib.workflows.loading import first_line
from attrib.workflows.plan import Plan
from attrib.workflows.sequence.records import Chunk, chunks

MUTATIONS = "in_silico_mutagenesis"
ROWS = 32  # records of a chunk: what Ctrl-C can lose
FILL = {"mask": False, "locus": -1}

Results = dict[str, xr.DataArray]
Asking = Callable[[xr.DataArray], Plan]


class Attributed(NamedTuple):
    """Results of all records that could be explained.

    Attributes
    ----------
    x : DataArray
        One-hot, padded with zeros to the longest.
    results : dict of str to DataArray
        By method, padded with NaN; records in the order of the file.
    refused : dict of str to str
        Records by name, and why not.
    """

    x: xr.DataArray
    results: Results
    refused: dict[str, str]


def attributed(
    model: Callable[..., Any],
    records: pd.DataFrame,
    asking: Asking,
    asked: str,
    folder: Path,
    *,
    dims: Sequence[str] = ("sample", "nucleotide", "position"),
    device: str | None = None,
    tell: Tell | None = None,
) -> Attributed:
    """Explain all records.

    Parameters
    ----------
    model : callable
    records : DataFrame
        `Reading.sequences`.
    asking : callable
        Gives the plan for an input, whose baselines depend on it.
    asked : str
        Everything the results depend on, beside the records.
    folder : Path
        For the parts.
    dims : sequence of str
        Their order in the model's input.
    device : str, optional
    tell : callable, optional
        Gets ("records", done, in all).

    Raises
    ------
    ValueError
        If no record can be explained, with the first reason.
    """
    found: list[Results] = []
    refused: dict[str, str] = {}
    lengths: dict[int, str] = {}
    done = 0
    for chunk in chunks(records, ROWS, asked):
        length = len(chunk.records["sequence"].iloc[0])
        part = folder / f"{chunk.key}.nc"
        if part.is_file() and (earlier := _earlier(part)) is not None:
            found.append(earlier)
        elif lengths.setdefault(length, _fault(model, chunk.one_hot(dims), device)):
            refused |= {str(n): lengths[length] for n in chunk.records.index}
        else:
            made, bad = _explained(model, chunk, asking, dims)
            refused |= bad
            if made:
                save(made, part)
                found.append(made)
            elif (
                not found and len(bad) == len(chunk.records) > 1
            ):  # what all refuse is no fault of the records
                break
        done += len(chunk.records)
        if tell is not None:
            tell("records", done, len(records))
    if not found:
        raise ValueError(f"no record can be explained: {next(iter(refused.values()))}")
    return _merged(found, records, refused)


def _earlier(part: Path) -> Results | None:
    """What an earlier run left, if it is whole."""
    try:
        found = load(part)
    except (OSError, ValueError, KeyError):
        return None
    return found if isinstance(found, dict) and "x" in found else None


def _fault(model: Callable[..., Any], x: xr.DataArray, device: str | None) -> str:
    """Why the model does not take sequences of this length; empty if it does."""
    try:
        trial(model, x, device)
    except ValueError as error:
        return f"it has {x.sizes['position']} letters: {str(error).partition('; ')[0]}"
    return ""


def _explained(
    model: Callable[..., Any], chunk: Chunk, asking: Asking, dims: Sequence[str]
) -> tuple[Results, dict[str, str]]:
    """Results of a chunk; if a method refuses, of each record by itself."""
    try:
        return _results(model, chunk.one_hot(dims), asking), {}
    except (ValueError, NotImplementedError, FloatingPointError) as error:
        if len(chunk.records) == 1:
            return {}, {str(chunk.records.index[0]): first_line(error)}
    made: list[Results] = []
    bad: dict[str, str] = {}
    for k in range(len(chunk.records)):
        one, why = _explained(model, chunk._replace(records=chunk.records.iloc[k : k + 1]), asking, dims)
        bad |= why
        made += [one] if one else []
    return (joined(made) if made else {}), bad


def _results(model: Callable[..., Any], x: xr.DataArray, asking: Asking) -> Results:
    found = {"x": x}
    for one in attribute(model, x, asking(x)):
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
