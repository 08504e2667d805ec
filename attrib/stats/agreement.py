"""How far methods agree."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import xarray as xr

from attrib.stats.maps import rank_correlation


def agreement(results: Mapping[str, xr.DataArray], *, dim: str | None = "sample") -> xr.DataArray:
    """Rank correlation of each pair of methods, sample by sample, averaged.

    Parameters
    ----------
    results : mapping of str to DataArray
        Attributions of the same samples by method, of one shape.
    dim : str or None, default "sample"
        The samples; None: each result is one map.

    Returns
    -------
    DataArray (method, other)
        Mean of Spearman's correlation over the samples in which both maps vary, 1 on the diagonal, NaN where there are
        none. Coord `count` (method, other): how many samples that are.

    Raises
    ------
    ValueError
        If shapes differ, or there are no results.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.stats import agreement
    >>> a = xr.DataArray([[1.0, 2.0, 3.0]], dims=("sample", "x"))
    >>> agreement({"one": a, "other": -a}).values.tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    if not results:
        raise ValueError("`results` is empty, expected at least one")
    names = list(results)
    ordered = [a.expand_dims("one") if dim is None else _along(n, a, dim) for n, a in results.items()]
    mean, count = np.eye(len(names)), np.full((len(names), len(names)), len(ordered[0]))
    for i, j in combinations(range(len(names)), 2):
        pairs = zip(ordered[i], ordered[j].transpose(*ordered[i].dims), strict=True)
        found = np.array([rank_correlation(a, b) for a, b in pairs])
        known = found[np.isfinite(found)]
        mean[i, j] = mean[j, i] = known.mean() if len(known) else np.nan
        count[i, j] = count[j, i] = len(known)
    coords = {"method": names, "other": names, "count": (("method", "other"), count)}
    attrs = {"units": "1", "long_name": "mean rank correlation"}
    return xr.DataArray(mean, dims=("method", "other"), coords=coords, name="agreement", attrs=attrs)


def _along(name: str, a: xr.DataArray, dim: str) -> xr.DataArray:
    if dim not in a.dims:
        raise ValueError(
            f"`results`: {name!r} has dims {a.dims}, expected {dim!r} among them; or pass dim=None"
        )
    return a.transpose(dim, ...)
