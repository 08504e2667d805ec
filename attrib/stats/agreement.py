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
        Attributions of the same samples by method, of one shape. Entries are matched by their labels, where there are
        some, in any order.
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
        If shapes or labels differ, or there are no results.

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
    ordered = [ordered[0], *(_like(ordered[0], a, n) for a, n in zip(ordered[1:], names[1:], strict=True))]
    mean, count = np.eye(len(names)), np.full((len(names), len(names)), len(ordered[0]))
    for i, j in combinations(range(len(names)), 2):
        pairs = zip(ordered[i], ordered[j], strict=True)
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


def _like(first: xr.DataArray, a: xr.DataArray, name: str) -> xr.DataArray:
    """The map with its entries in the order of the first."""
    if dict(a.sizes) != dict(first.sizes):
        raise ValueError(
            f"`results`: {name!r} has {dict(a.sizes)}, expected {dict(first.sizes)} as the first"
        )
    for d in first.dims:
        here, there = first.indexes.get(d), a.indexes.get(d)
        if here is None or there is None or here.equals(there):
            continue
        if here.has_duplicates or set(here) != set(there):
            raise ValueError(
                f"`results`: {name!r} has other labels along {d!r} than the first; select the same in all"
            )
        a = a.sel({d: here})
    return a.transpose(*first.dims)
