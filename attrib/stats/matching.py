"""Values of users by their labels: one per sample in the order of the samples, and tables of pandas as arrays with labels."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib.labels.matching import refuse_other_labels


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


def by_labels(values: Any, name: str, dims: Sequence[Hashable]) -> xr.DataArray:
    """A DataArray as it is; a Series or a DataFrame as one with its labels, along the first of `dims`.

    Raises
    ------
    TypeError
        For anything else.
    """
    if isinstance(values, xr.DataArray):
        return values
    if not isinstance(values, pd.Series | pd.DataFrame):
        raise TypeError(
            f"`{name}` is a {type(values).__name__}, expected a DataArray, a Series or a DataFrame; an array of NumPy becomes "
            f"one by xr.DataArray({name}, dims=...)"
        )
    along = tuple(dims)[: values.ndim]
    labels = {
        d: (d, index.to_numpy())
        for d, index in zip(along, values.axes, strict=True)
        if not isinstance(index, pd.RangeIndex)
    }
    return xr.DataArray(values.to_numpy(), dims=along, coords=labels)
