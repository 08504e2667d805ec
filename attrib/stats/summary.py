"""Attributions in few numbers: per sample, per entry over the samples, and per group of samples."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib._public import public
from attrib.labels.frames import is_anndata, text_along
from attrib.stats.matching import Labelled, by_labels, grouped

TARGET = "target"
OF_SAMPLES = (
    "prediction",
    "delta",
    "n_steps",
    "segments",
    "evaluations",
    "area",
    "random_area",
    "z",
)  # a number a sample
OF_RESULTS = (
    TARGET,
    *OF_SAMPLES,
    "standard_error",
    "affine",
    "layer",
)  # coords that methods and measures add
NEVER_SAMPLES = ("nucleotide", "position", "token", "feature", "channel", "y", "x", "z", "i", "j", "k")


@public
def summary(a: Labelled | xr.Dataset | Mapping[str, Any]) -> pd.DataFrame:
    """The sum of each attribution and its largest entry, as a table with a row per method, target and sample.

    Parameters
    ----------
    a : DataArray, DataFrame, Dataset, or mapping of these
        Results of attrib's methods: one, one with several inputs, or several by name.

    Returns
    -------
    DataFrame
        A row per result, input, target and sample, with the columns

        - `result`: the name in the mapping, where it is not the method's; `method`; `input` for several inputs;
        - `target`, and one column per sample dim with its label;
        - `prediction`, the explained score (output units), and `delta`, the completeness error of complete methods;
        - `sum` and `absolute_sum` over the entries (the attribution's unit);
        - `largest`, the entry of largest magnitude, with its sign, and its labels: `at_DIM` per other dim.

    Raises
    ------
    ValueError
        For an empty mapping.

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
    if isinstance(a, pd.Series | pd.DataFrame) or is_anndata(a):
        a = by_labels(a, "a")
    if isinstance(a, xr.DataArray):
        return _table(a)
    if isinstance(a, xr.Dataset):
        parts = [_table(v).assign(input=str(k)) for k, v in a.data_vars.items() if k != "standard_error"]
        return _ordered(pd.concat(parts, ignore_index=True), "method", "input")
    if not isinstance(a, Mapping):
        raise TypeError(
            f"`a` is a {type(a).__name__}, expected a result, or a mapping of names to results, such as {{'saliency': a}}"
        )
    parts = [summary(v).assign(result=k) for k, v in a.items()]
    if not parts:
        raise ValueError("`a` is empty, expected at least one result")
    table = pd.concat(parts, ignore_index=True)
    if (table["result"] == table["method"]).all():
        return table.drop(columns="result")
    return _ordered(table, "result")


@public
def sample_dims(a: Labelled) -> tuple[Hashable, ...]:
    """The dims along which samples lie.

    Parameters
    ----------
    a : DataArray, Series, DataFrame or AnnData
        An attribution.

    Returns
    -------
    tuple of str
        The dims of the coord `prediction`, if there is one; else `"sample"`; else the first dim. Never `target`.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.stats import sample_dims
    >>> sample_dims(xr.DataArray([[1.0]], dims=("cell", "gene")))
    ('cell',)
    """
    a = by_labels(a, "a")
    others = tuple(d for d in a.dims if d != TARGET)
    if "prediction" in a.coords:
        dims = tuple(d for d in others if d in a["prediction"].dims)
        if dims:
            return dims
    return ("sample",) if "sample" in others else others[:1]


def with_samples(a: xr.DataArray) -> xr.DataArray:
    """A result of one selected sample with that sample as a dim again, and a mean over all samples with a dim ``sample``.

    Examples
    --------
    >>> import xarray as xr
    >>> a = xr.DataArray([[1.0, 2.0]], dims=("cell", "gene"), coords={"cell": ["c1"], "prediction": ("cell", [3.0])})
    >>> with_samples(a.sel(cell="c1")).dims
    ('cell', 'gene')
    """
    others = [d for d in a.dims if d != TARGET]
    if "prediction" in a.coords:
        if set(a["prediction"].dims) & set(others):
            return a
        # the coords of the dims come first, so the sample's label is the first that stands alone
        label = next((c for c in a.coords if not a[c].ndim and c not in OF_RESULTS), "sample")
    elif "sample" in others or (len(others) > 1 and others[0] not in NEVER_SAMPLES):
        return a
    else:
        label = "sample"
    lone = a.expand_dims(label, axis=0)
    one_each = [c for c in OF_SAMPLES if c in a.coords and set(a[c].dims) <= {TARGET}]
    return lone.assign_coords({c: a[c].expand_dims(label) for c in one_each})


@public
def describe(a: Labelled, dim: Hashable | Sequence[Hashable] | None = None) -> xr.Dataset:
    """Mean, spread and sign of each entry over the samples.

    Parameters
    ----------
    a : DataArray, Series, DataFrame or AnnData
        Attributions; NaN entries are left out.
    dim : str or sequence of str, optional
        The dims of the samples; default: those of `attrib.stats.sample_dims`.

    Returns
    -------
    Dataset
        Over the other dims: `mean`, `std` (of a sample, n - 1; NaN for fewer than two), `minimum`, `maximum`,
        `magnitude` (mean of the absolute values), all in the unit of `a`; `positive`, the share of samples above zero;
        `count`, the number of samples without NaN.

    Raises
    ------
    ValueError
        If `dim` is not among the dims of `a`.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.stats import describe
    >>> entries = describe(xr.DataArray([[1.0, 2.0], [-3.0, 2.0]], dims=("sample", "gene")))
    >>> entries["mean"].values.tolist(), entries.magnitude.values.tolist(), entries.positive.values.tolist()
    ([-1.0, 2.0], [2.0, 2.0], [0.5, 1.0])
    """
    a = by_labels(a, "a")
    wanted: Any = sample_dims(a) if dim is None else dim
    dims = [wanted] if wanted in a.dims or not isinstance(wanted, list | tuple) else list(wanted)
    missing = [d for d in dims if d not in a.dims]
    if missing or not dims:
        raise ValueError(f"`dim` is {dim!r}, expected dims of `a`, which has {a.dims}")
    values = a.astype(np.float64)
    count = values.notnull().sum(dims)
    centred = values - values.mean(dims)
    figures = {
        "mean": values.mean(dims),
        "std": np.sqrt((centred**2).sum(dims) / (count - 1).where(count > 1)),
        "minimum": values.min(dims),
        "maximum": values.max(dims),
        "magnitude": abs(values).mean(dims),
    }
    entries = xr.Dataset(
        {k: xr.DataArray(v).assign_attrs(units=a.attrs.get("units", "")) for k, v in figures.items()}
    )
    entries["positive"] = ((values > 0).sum(dims) / count.where(count > 0)).assign_attrs(
        units="share of samples"
    )
    return entries.assign(count=count.assign_attrs(units="samples"))


@public
def mean_by(a: Labelled, by: Any) -> xr.DataArray:
    """Mean attribution of the samples that share a label.

    ``m_g = mean of a_n over the samples n with label g``

    Parameters
    ----------
    a : DataArray, DataFrame, Series or AnnData
        Attributions.
    by : str or array
        A coord along one dim, such as the classes of the samples, or one value per sample (a DataArray or a Series is matched by
        their labels); each of its values is a group.

    Returns
    -------
    DataArray
        Dims of `a`, with the samples' dim replaced by one called `by`: groups in ascending order. The coord `count` holds
        the number of samples per group. Unit and attrs of `a`. Samples without a label (NaN) are left out.

    Raises
    ------
    ValueError
        If there is no such coord, it does not lie along exactly one dim, or `by` lacks samples.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.stats import mean_by
    >>> a = xr.DataArray([1.0, 3.0, 7.0], dims="sample", coords={"tissue": ("sample", ["b", "b", "a"])})
    >>> mean_by(a, "tissue").to_series().to_dict()
    {'a': 7.0, 'b': 2.0}
    """
    a = by_labels(a, "a")
    a, by = grouped(a, by, sample_dims(a)[0])
    if by not in a.coords or a[by].ndim != 1:
        along = [str(c) for c in a.coords if a[c].ndim == 1]
        raise ValueError(
            f"`by` is {by!r}, expected a coord along one dim; there are {', '.join(along) or 'none'}"
        )
    (dim,) = a[by].dims
    labels, group, counts = _groups(np.asarray(a[by].values))
    values = np.moveaxis(np.asarray(a.values, dtype=np.float64), a.dims.index(dim), 0)
    total = np.zeros((len(labels), *values.shape[1:]))
    np.add.at(total, group[group >= 0], values[group >= 0])
    mean = total / counts.reshape(-1, *[1] * (values.ndim - 1))
    entry_dims = [d for d in a.dims if d != dim]
    coords = {k: c for k, c in a.coords.items() if dim not in c.dims and k != by}
    out = xr.DataArray(mean, dims=(by, *entry_dims), coords=coords, name=a.name, attrs=a.attrs)
    out = out.assign_coords({by: (by, labels, a[by].attrs), "count": (by, counts)})
    return out.transpose(*(by if d == dim else d for d in a.dims)).astype(a.dtype)


def _table(a: xr.DataArray) -> pd.DataFrame:
    a = with_samples(a)
    heads = (*((TARGET,) if TARGET in a.dims else ()), *sample_dims(a))
    entry_dims = [d for d in a.dims if d not in heads]
    ordered = a.transpose(*heads, *entry_dims)
    values = np.asarray(ordered.values, dtype=np.float64)
    rows = values.reshape(int(np.prod(values.shape[: len(heads)], dtype=int)), -1)
    columns = {"method": str(a.attrs.get("method", "")), **_head_columns(ordered, heads)}
    columns |= {"sum": rows.sum(1), "absolute_sum": np.abs(rows).sum(1)}
    table = pd.DataFrame(columns, index=range(len(rows)))
    return pd.concat([table, _largest(ordered, entry_dims, rows)], axis=1)


def _head_columns(a: xr.DataArray, heads: tuple[Hashable, ...]) -> dict[str, Any]:
    """Target, sample labels, prediction and delta, one value per row."""
    columns: dict[str, Any] = {}
    if TARGET not in heads:
        columns[TARGET] = _spread(a, TARGET, heads) if TARGET in a.coords else _target_parameter(a)
    for d in heads:
        columns[str(d)] = _along(_labels(a, d), a, heads, (d,))
    for name in ("prediction", "delta"):
        if name in a.coords:
            columns[name] = _spread(a, name, heads)
    return columns


def _target_parameter(a: xr.DataArray) -> Any:
    """The target in the method's parameters, if there was one for all samples; else an empty text."""
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


def _largest(a: xr.DataArray, dims: list[Hashable], rows: np.ndarray) -> pd.DataFrame:
    """The entry of largest magnitude per row, and its labels."""
    if rows.shape[1] == 0:
        return pd.DataFrame({"largest": np.full(len(rows), np.nan)})
    where = np.abs(rows).argmax(1)  # NaN counts as largest, so it shows
    columns: dict[str, Any] = {"largest": rows[np.arange(len(rows)), where]}
    positions = np.unravel_index(where, [a.sizes[d] for d in dims]) if dims else ()
    for d, position in zip(dims, positions, strict=True):
        columns[f"at_{d}"] = _labels_at(a, dims, d, position)
    return pd.DataFrame(columns, index=range(len(rows)))


def _labels_at(a: xr.DataArray, dims: list[Hashable], dim: Hashable, positions: np.ndarray) -> np.ndarray:
    """The label of one position of a dim in each row."""
    texts = text_along(a, dim)
    if texts is None:
        return _labels(a, dim)[positions]
    heads = [d for d in a.dims if d not in dims]
    one_each = a.isel(dict.fromkeys(set(dims) - {dim}, 0), drop=True)
    words = texts.broadcast_like(one_each).transpose(*heads, dim).values.reshape(len(positions), -1)
    return words[np.arange(len(positions)), positions]


def _ordered(table: pd.DataFrame, *first: str) -> pd.DataFrame:
    return table[[*first, *(c for c in table.columns if c not in first)]]


def _groups(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels in ascending order, the number of each sample's label (-1 where missing), and samples per label."""
    missing = labels != labels
    names, number = np.unique(labels[~missing], return_inverse=True)
    group = np.full(len(labels), -1)
    group[~missing] = number
    return names, group, np.bincount(number, minlength=len(names))
