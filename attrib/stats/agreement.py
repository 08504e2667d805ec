"""Quality of attributions without a truth: how far two agree, how concentrated one is, and where its mass lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import xarray as xr

from attrib.labels.matching import matched


def agreement(results: Mapping[str, xr.DataArray], *, dim: str | None = "sample") -> xr.DataArray:
    """Rank correlation of each pair of methods, averaged over the samples.

    Parameters
    ----------
    results : mapping of str to DataArray
        Attributions of the same samples by method, all of one shape. Where they have labels, entries are matched by them,
        in any order.
    dim : str or None, default "sample"
        The samples; None where each result is a single attribution.

    Returns
    -------
    DataArray (method, other)
        Mean of Spearman's correlation over the samples in which both attributions vary; 1 on the diagonal, NaN where there
        are no such samples. Coord `count` (method, other): the number of these samples.

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
    ordered = [a.expand_dims("sample") if dim is None else _along(n, a, dim) for n, a in results.items()]
    ordered = [ordered[0], *(_like(ordered[0], a, n) for a, n in zip(ordered[1:], names[1:], strict=True))]
    mean, count = np.eye(len(names)), np.full((len(names), len(names)), len(ordered[0]))
    for i, j in combinations(range(len(names)), 2):
        pairs = zip(ordered[i], ordered[j], strict=True)
        correlations = np.array([rank_correlation(a, b) for a, b in pairs])
        defined = correlations[np.isfinite(correlations)]
        mean[i, j] = mean[j, i] = defined.mean() if len(defined) else np.nan
        count[i, j] = count[j, i] = len(defined)
    coords = {"method": names, "other": names, "count": (("method", "other"), count)}
    attrs = {"units": "1", "long_name": "mean rank correlation"}
    return xr.DataArray(mean, dims=("method", "other"), coords=coords, name="agreement", attrs=attrs)


def entropy(a: xr.DataArray, dims: Sequence[str] = ("y", "x")) -> xr.DataArray:
    """Entropy of an attribution's magnitudes over its positions, as a share of the largest possible.

    ``- sum(p log p) / log(positions)``, ``p = |a| / sum |a|``

    Parameters
    ----------
    a : DataArray
        Attributions, with any other dims; a position with NaN is left out.
    dims : sequence of str, default ("y", "x")
        The dims of the positions.

    Returns
    -------
    DataArray
        Over the other dims. 0: one position has everything; 1: all have the same. NaN where all are zero.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.stats import entropy
    >>> entropy(xr.DataArray([[1.0, 1.0], [1.0, 1.0]], dims=("y", "x"))).item()
    1.0
    """
    size = abs(a).fillna(0)
    p = size / size.sum(dims).where(lambda s: s > 0)
    nats = -(p * np.log(p.where(p > 0, 1.0))).sum(dims, skipna=False)
    return nats / np.log(a.notnull().sum(dims))


def mass_inside(a: xr.DataArray, mask: xr.DataArray, dims: Sequence[str] = ("y", "x")) -> xr.DataArray:
    """Share of an attribution's positive mass that lies inside a mask.

    Parameters
    ----------
    a : DataArray
        Attributions, with any other dims.
    mask : DataArray
        True or nonzero inside; some or all dims of `a`, matched by their labels where both have them.
    dims : sequence of str, default ("y", "x")
        The dims of the positions.

    Returns
    -------
    DataArray
        Over the other dims, from 0 to 1; NaN where no value is positive.

    Raises
    ------
    ValueError
        If the mask has dims that `a` lacks, other sizes or other labels.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.stats import mass_inside
    >>> a = xr.DataArray([[1.0, 3.0]], dims=("y", "x"))
    >>> mass_inside(a, a > 2).item()
    0.75
    """
    up = a.clip(min=0).fillna(0)
    total = up.sum(dims)
    inside = matched(
        mask.astype(bool).drop_vars([c for c in mask.coords if c not in mask.indexes]), a, "mask", other="a"
    )
    return up.where(inside.drop_vars(list(inside.coords)).variable, 0.0).sum(dims) / total.where(total > 0)


def rank_correlation(a: xr.DataArray, b: xr.DataArray) -> float:
    """Spearman's correlation of two attributions over the positions that are finite in both.

    Parameters
    ----------
    a, b : DataArray
        Attributions of the same shape. Where they have the same dims, entries are matched by their labels.

    Returns
    -------
    float
        From -1 to 1; NaN where one is constant.

    Raises
    ------
    ValueError
        If the shapes or the labels differ.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.stats import rank_correlation
    >>> rank_correlation(xr.DataArray([1.0, 2.0, 3.0]), xr.DataArray([1.0, 20.0, 3000.0]))
    1.0
    """
    from scipy.stats import rankdata

    if isinstance(a, xr.DataArray) and isinstance(b, xr.DataArray) and dict(a.sizes) == dict(b.sizes):
        b = matched(b, a, "b", other="a").transpose(*a.dims)
    if a.shape != b.shape:
        raise ValueError(f"`a` has shape {a.shape}, `b` has {b.shape}; expected the same")
    both = np.isfinite(a.values) & np.isfinite(b.values)
    r, s = (rankdata(t.values[both]) for t in (a, b))
    r, s = r - r.mean(), s - s.mean()
    scale = np.sqrt((r @ r) * (s @ s))
    return round(float(r @ s / scale), 12) if scale > 0 else float("nan")


def _along(name: str, a: xr.DataArray, dim: str) -> xr.DataArray:
    if dim not in a.dims:
        raise ValueError(
            f"`results[{name!r}]` has dims {a.dims}, expected {dim!r} among them; or pass dim=None"
        )
    return a.transpose(dim, ...)


def _like(first: xr.DataArray, a: xr.DataArray, name: str) -> xr.DataArray:
    """The attribution with its entries in the order of the first."""
    if dict(a.sizes) != dict(first.sizes):
        raise ValueError(
            f"`results[{name!r}]` has {dict(a.sizes)}, expected {dict(first.sizes)} as the first"
        )
    return matched(a, first, f"results[{name!r}]", other="the first result").transpose(*first.dims)
