"""A table with a row per method, target and sample."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

TARGET = "target"


def summary(a: xr.DataArray | xr.Dataset | Mapping[str, Any]) -> pd.DataFrame:
    """What each attribution adds up to and where its largest entry is.

    Parameters
    ----------
    a : DataArray, Dataset, or mapping of these
        Results of attrib's methods: one, one with several inputs, or several by name.

    Returns
    -------
    DataFrame
        A row per result, input, target and sample, with the columns

        - `result`: the name in the mapping, where it is not the method's; `method`; `input` for several inputs;
        - `target`, and one column per sample dim with its label;
        - `prediction`, the score explained (output units), and `delta` for complete methods;
        - `sum` and `absolute_sum` over the entries (the attribution's unit);
        - `largest`, the entry of largest magnitude, with its sign, and `at_DIM` per other dim: its labels.

    Notes
    -----
    Sums are taken in float64. A sample with NaN entries has NaN sums.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.stats import summary
    >>> a = xr.DataArray(
    ...     [[1.0, -3.0]], dims=("sample", "gene"), coords={"sample": ["cell-1"], "gene": ["INS", "GCG"]},
    ...     attrs={"method": "saliency"},
    ... )
    >>> summary(a)[["sample", "sum", "absolute_sum", "largest", "at_gene"]]
       sample  sum  absolute_sum  largest at_gene
    0  cell-1 -2.0           4.0     -3.0     GCG
    """
    if isinstance(a, xr.DataArray):
        return _table(a)
    if isinstance(a, xr.Dataset):
        parts = [_table(v).assign(input=str(k)) for k, v in a.data_vars.items() if k != "standard_error"]
        return _ordered(pd.concat(parts, ignore_index=True), "method", "input")
    parts = [summary(v).assign(result=k) for k, v in a.items()]
    if not parts:
        raise ValueError("`a` is empty, expected at least one result")
    table = pd.concat(parts, ignore_index=True)
    if (table["result"] == table["method"]).all():
        return table.drop(columns="result")
    return _ordered(table, "result")


def sample_dims(a: xr.DataArray) -> tuple[Hashable, ...]:
    """The dims along which samples lie: those of the coord `prediction`, or `"sample"`, or the first.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.stats import sample_dims
    >>> sample_dims(xr.DataArray([[1.0]], dims=("cell", "gene")))
    ('cell',)
    """
    others = tuple(d for d in a.dims if d != TARGET)
    if "prediction" in a.coords:
        found = tuple(d for d in others if d in a["prediction"].dims)
        if found:
            return found
    return ("sample",) if "sample" in others else others[:1]


def _table(a: xr.DataArray) -> pd.DataFrame:
    heads = (*((TARGET,) if TARGET in a.dims else ()), *sample_dims(a))
    rest = [d for d in a.dims if d not in heads]
    ordered = a.transpose(*heads, *rest)
    values = np.asarray(ordered.values, dtype=np.float64)
    rows = values.reshape(int(np.prod(values.shape[: len(heads)], dtype=int)), -1)
    columns = {"method": str(a.attrs.get("method", "")), **_head_columns(ordered, heads)}
    columns |= {"sum": rows.sum(1), "absolute_sum": np.abs(rows).sum(1)}
    table = pd.DataFrame(columns, index=range(len(rows)))
    return pd.concat([table, _largest(ordered, rest, rows)], axis=1)


def _head_columns(a: xr.DataArray, heads: tuple[Hashable, ...]) -> dict[str, Any]:
    """Target, sample labels, prediction and delta, one value per row."""
    found: dict[str, Any] = {}
    if TARGET not in heads:
        found[TARGET] = _spread(a, TARGET, heads) if TARGET in a.coords else _asked(a)
    for d in heads:
        found[str(d)] = _along(_labels(a, d), a, heads, (d,))
    for name in ("prediction", "delta"):
        if name in a.coords:
            found[name] = _spread(a, name, heads)
    return found


def _asked(a: xr.DataArray) -> Any:
    """The target in the method's parameters, where one was asked for and it is the same for all samples."""
    try:
        target = json.loads(a.attrs.get("params", "{}")).get(TARGET)
    except (TypeError, ValueError, AttributeError):
        return ""
    return target if isinstance(target, int | str) else ""


def _spread(a: xr.DataArray, name: str, heads: tuple[Hashable, ...]) -> np.ndarray:
    coord = a[name].transpose(*(d for d in heads if d in a[name].dims))
    return _along(coord.values, a, heads, coord.dims)


def _along(values: np.ndarray, a: xr.DataArray, heads: tuple, dims: tuple) -> np.ndarray:
    """Values along some of the heads, repeated over the others, one per row."""
    shape = [a.sizes[d] if d in dims else 1 for d in heads]
    return np.broadcast_to(np.reshape(values, shape), [a.sizes[d] for d in heads]).reshape(-1)


def _labels(a: xr.DataArray, dim: Hashable) -> np.ndarray:
    if dim not in a.coords:
        return np.arange(a.sizes[dim])
    labels = a.indexes[dim] if dim in a.indexes else pd.Index(np.asarray(a[dim].values))
    if isinstance(labels, pd.MultiIndex):
        return np.array([" / ".join(map(str, t)) for t in labels], dtype=object)
    return np.asarray(labels)


def _largest(a: xr.DataArray, rest: list[Hashable], rows: np.ndarray) -> pd.DataFrame:
    """The entry of largest magnitude per row, and its labels."""
    if rows.shape[1] == 0:
        return pd.DataFrame({"largest": np.full(len(rows), np.nan)})
    where = np.abs(rows).argmax(1)  # NaN counts as largest, so it shows
    found: dict[str, Any] = {"largest": rows[np.arange(len(rows)), where]}
    places = np.unravel_index(where, [a.sizes[d] for d in rest]) if rest else ()
    for d, place in zip(rest, places, strict=True):
        found[f"at_{d}"] = _labels(a, d)[place]
    return pd.DataFrame(found, index=range(len(rows)))


def _ordered(table: pd.DataFrame, *first: str) -> pd.DataFrame:
    return table[[*first, *(c for c in table.columns if c not in first)]]
