"""One value per sample, brought into the order of the samples by its labels."""

from __future__ import annotations

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
