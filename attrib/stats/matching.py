"""Values of users by their labels: one per sample in the order of the samples, and tables of pandas as arrays with labels."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib._arguments import real_numbers, refuse_empty
from attrib.labels.frames import annotated_array, as_coord, is_anndata, refuse_other_labels, table_array
from attrib.labels.frames import labels_of as of_axis

Labelled = xr.DataArray | pd.Series | pd.DataFrame | Any  # the last: AnnData


def labels_of(values: Any) -> pd.Index | None:
    """The labels of a Series, or of a DataArray along its one dim; None if there are none."""
    if isinstance(values, xr.DataArray):
        return values.indexes.get(values.dims[0]) if values.ndim == 1 else None
    return values.index if isinstance(values, pd.Series) else None


def in_order(values: Any, wanted: pd.Index | None, name: str, other: str, dim: Any = "sample") -> np.ndarray:
    """Values as an array in the order of the labels `wanted`; as they are where one of both has none.

    Raises
    ------
    ValueError
        For labels that are missing, others, or not unique: they are named.
    """
    labels = labels_of(values)
    array = np.asarray(values)
    if labels is None or wanted is None or labels.equals(wanted):
        return array
    refuse_other_labels(labels, wanted, name, dim, other)
    return array[labels.get_indexer(wanted)]


def complete(values: np.ndarray, name: str) -> np.ndarray:
    """Values of which none is missing.

    Raises
    ------
    ValueError
        For None and NaN among them.
    """
    missing = int(pd.isna(values).sum())
    if missing:
        raise ValueError(f"`{name}` lacks {missing} of {values.size} values; leave these samples out")
    return values


def by_labels(
    values: Any, name: str, dims: Sequence[Hashable] = ("sample", "feature"), *, exact: bool = False
) -> xr.DataArray:
    """A DataArray as it is; a Series, a DataFrame or an AnnData object as one with its labels.

    Rows lie along the first of `dims`. Columns, and the values of a Series, lie along the dim that they are called, or the next of
    `dims`; with `exact` always along `dims`. Levels of an index, an index of rows that has a name and columns of AnnData are coords.

    Raises
    ------
    TypeError
        For anything else, and values that are no real numbers.
    ValueError
        For an array without entries.
    """
    if isinstance(values, xr.DataArray):
        refuse_empty(name, values)
        a = real_numbers(name, values)
        return a.astype(np.float32) if a.dtype == np.float16 else a  # whose sums overflow
    if is_anndata(values):
        return annotated_array(values, dims if exact else (dims[0], "var"), name=name).compute()
    if not isinstance(values, pd.Series | pd.DataFrame):
        raise TypeError(
            f"`{name}` is a {type(values).__name__}, expected a DataArray, a Series, a DataFrame or AnnData; an array of NumPy "
            f"becomes one by xr.DataArray({name}, dims=...)"
        )
    along = list(dims)[: values.ndim]
    title = values.axes[-1].name
    if title is not None and not exact and title not in dims:
        along[-1] = title
    a = table_array(values, along, name)
    index = values.index.name
    if index is None or index in (*along, *a.coords):
        return a
    return a.assign_coords({index: (along[0], a.indexes[along[0]])})


def samples_along(a: xr.DataArray, dim: str, required: bool = True) -> str:
    """The dim of the samples: `dim`, or where that is "sample" and a result of attrib calls it otherwise, its own.

    Raises
    ------
    ValueError
        Where there is no such dim, and the samples are `required`.
    """
    along = [d for d in a["prediction"].dims if d in a.dims] if "prediction" in a.coords else []
    along = [d for d in along if d != "target"]
    dim = str(along[0]) if dim == "sample" and dim not in a.dims and len(along) == 1 else dim
    if required and dim not in a.dims:
        raise ValueError(
            f"`a` has dims {a.dims}, expected {dim!r} among them; name the samples' dim with dim="
        )
    return dim


def rank_of(values: Any) -> int:
    """How many dims a labelled value has."""
    return len(getattr(values, "shape", ()))


def values_along(values: Any, a: xr.DataArray, dim: Hashable, name: str) -> np.ndarray:
    """A value for each entry of `a` along `dim`, in its order.

    Parameters
    ----------
    values : str, Series, DataArray or array
        A coord of `a`; values matched by the labels, of which there may be more than `a` has; values in the order of `a`.

    Raises
    ------
    ValueError
        For coords that do not exist or lie along other dims, and labels that are missing or come twice.
    """
    if isinstance(values, str):
        if values not in a.coords or a[values].dims != (dim,):
            coords = ", ".join(str(c) for c in a.coords if a[c].dims == (dim,)) or "none"
            raise ValueError(f"`{name}` is {values!r}, expected a coord along {dim!r}; there are {coords}")
        return a[values].values
    if isinstance(values, pd.Series):
        index = of_axis(values.index, dim, name)
        values = xr.DataArray(values.to_numpy(), dims=(dim,), coords={dim: index})
    if not isinstance(values, xr.DataArray):
        return np.asarray(values)
    if values.dims != (dim,):
        raise ValueError(f"`{name}` has dims {values.dims}, expected {dim!r} alone")
    labels, wanted = values.indexes.get(dim), a.indexes.get(dim)
    if labels is None or wanted is None or labels.equals(wanted):
        return values.values
    missing = wanted.difference(labels)
    if len(missing):
        raise ValueError(
            f"`{name}` lacks {len(missing)} of the {a.sizes[dim]} samples of `a`, such as {missing[0]!r}"
        )
    if labels.has_duplicates:
        raise ValueError(f"`{name}` has a sample more than once; pass one value for each")
    return values.values[labels.get_indexer(wanted)]


def grouped(a: xr.DataArray, by: Any, dim: Hashable) -> tuple[xr.DataArray, str]:
    """The array with its groups as a coord, and the coord's name: `by` itself, or that of values for each sample."""
    if isinstance(by, str):
        return a, by
    values = values_along(by, a, dim, "by")
    if values.shape != (a.sizes[dim],):
        raise ValueError(f"`by` has shape {values.shape}, expected {a.sizes[dim]}, one value per sample")
    name = str(getattr(by, "name", None) or "group")
    return a.assign_coords({name: (dim, as_coord(values))}), name
