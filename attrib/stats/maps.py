"""How concentrated maps are, where their mass lies, and how far two agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr


def map_entropy(a: xr.DataArray, dims: Sequence[str] = ("y", "x")) -> xr.DataArray:
    """Entropy of a map's magnitudes over its positions, as a fraction of the largest possible.

    ``- sum(p log p) / log(positions)``, ``p = |a| / sum |a|``

    Parameters
    ----------
    a : DataArray
        Maps; NaN is no position.
    dims : sequence of str, default ("y", "x")
        The dims of a map.

    Returns
    -------
    DataArray
        0: one position has all; 1: all have the same. NaN for maps of zeros.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.stats import map_entropy
    >>> map_entropy(xr.DataArray([[1.0, 1.0], [1.0, 1.0]], dims=("y", "x"))).item()
    1.0
    """
    size = abs(a).fillna(0)
    p = size / size.sum(dims).where(lambda s: s > 0)
    found = -(p * np.log(p.where(p > 0, 1.0))).sum(dims, skipna=False)
    return found / np.log(a.notnull().sum(dims))


def mass_inside(a: xr.DataArray, mask: xr.DataArray, dims: Sequence[str] = ("y", "x")) -> xr.DataArray:
    """Share of a map's positive mass inside a mask.

    Parameters
    ----------
    a : DataArray
        Maps.
    mask : DataArray
        True or nonzero inside; dims of `a`.
    dims : sequence of str, default ("y", "x")
        The dims of a map.

    Returns
    -------
    DataArray
        From 0 to 1; NaN for maps without positive values.

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
    return up.where(mask.astype(bool), 0.0).sum(dims) / total.where(total > 0)


def rank_correlation(a: xr.DataArray, b: xr.DataArray) -> float:
    """Spearman's correlation of two maps over the positions that both have.

    Parameters
    ----------
    a, b : DataArray
        Maps of the same shape.

    Returns
    -------
    float
        From -1 to 1; NaN where a map is constant.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.stats import rank_correlation
    >>> rank_correlation(xr.DataArray([1.0, 2.0, 3.0]), xr.DataArray([1.0, 20.0, 3000.0]))
    1.0
    """
    from scipy.stats import rankdata

    if a.shape != b.shape:
        raise ValueError(f"`a` has shape {a.shape}, `b` has {b.shape}; expected the same")
    both = np.isfinite(a.values) & np.isfinite(b.values)
    r, s = (rankdata(t.values[both]) for t in (a, b))
    r, s = r - r.mean(), s - s.mean()
    scale = np.sqrt((r @ r) * (s @ s))
    return round(float(r @ s / scale), 12) if scale > 0 else float("nan")
