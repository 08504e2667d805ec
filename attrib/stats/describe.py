"""Each entry of a map over the samples."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from attrib.stats.summary import sample_dims


def describe(a: xr.DataArray, dim: Hashable | Sequence[Hashable] | None = None) -> xr.Dataset:
    """What each entry is like over the samples.

    Parameters
    ----------
    a : DataArray
        Attributions; NaN is left out.
    dim : str or sequence of str, optional
        The dims of the samples; default: those of `attrib.stats.sample_dims`.

    Returns
    -------
    Dataset
        Over the other dims: `mean`, `std` (of a sample, n - 1; NaN for fewer than two), `minimum`, `maximum`,
        `magnitude` (mean of the absolute values), all in the unit of `a`; `positive`, the share of samples above zero; `count`.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.stats import describe
    >>> found = describe(xr.DataArray([[1.0, 2.0], [-3.0, 2.0]], dims=("sample", "gene")))
    >>> found["mean"].values.tolist(), found.magnitude.values.tolist(), found.positive.values.tolist()
    ([-1.0, 2.0], [2.0, 2.0], [0.5, 1.0])
    """
    given: Any = sample_dims(a) if dim is None else dim
    dims = [given] if given in a.dims else list(given) if isinstance(given, list | tuple) else [given]
    missing = [d for d in dims if d not in a.dims]
    if missing or not dims:
        raise ValueError(f"`dim` is {dim!r}, expected dims of `a`, which has {a.dims}")
    values = a.astype(np.float64)
    count = values.notnull().sum(dims)
    centred = values - values.mean(dims)
    found = {
        "mean": values.mean(dims),
        "std": np.sqrt((centred**2).sum(dims) / (count - 1).where(count > 1)),
        "minimum": values.min(dims),
        "maximum": values.max(dims),
        "magnitude": abs(values).mean(dims),
    }
    made = xr.Dataset(
        {k: xr.DataArray(v).assign_attrs(units=a.attrs.get("units", "")) for k, v in found.items()}
    )
    made["positive"] = ((values > 0).sum(dims) / count.where(count > 0)).assign_attrs(
        units="share of samples"
    )
    return made.assign(count=count.assign_attrs(units="samples"))
