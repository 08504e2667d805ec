"""Means over groups of samples."""

from __future__ import annotations

import numpy as np
import xarray as xr


def mean_by(a: xr.DataArray, by: str) -> xr.DataArray:
    """Mean attribution of the samples that share a label.

    ``m_g = mean of a_n over the samples n with label g``

    Parameters
    ----------
    a : DataArray
        Attributions.
    by : str
        A coord along one dim, such as a class; each of its values is a group.

    Returns
    -------
    DataArray
        The dim of `by` replaced by a dim called `by`, groups in ascending order; coord `count` holds the samples per
        group. Unit and attrs of `a`. Samples whose label is missing (NaN) are left out.

    Raises
    ------
    ValueError
        If there is no such coord, or it does not lie along exactly one dim.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.stats import mean_by
    >>> a = xr.DataArray([1.0, 3.0, 7.0], dims="sample", coords={"tissue": ("sample", ["b", "b", "a"])})
    >>> mean_by(a, "tissue").to_series().to_dict()
    {'a': 7.0, 'b': 2.0}
    """
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
    rest = [d for d in a.dims if d != dim]
    kept = {k: c for k, c in a.coords.items() if dim not in c.dims and k != by}
    out = xr.DataArray(mean, dims=(by, *rest), coords=kept, name=a.name, attrs=a.attrs)
    out = out.assign_coords({by: (by, labels, a[by].attrs), "count": (by, counts)})
    return out.transpose(*(by if d == dim else d for d in a.dims)).astype(a.dtype)


def _groups(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels in ascending order, each sample's place among them (-1: missing), samples per label."""
    missing = labels != labels
    found, place = np.unique(labels[~missing], return_inverse=True)
    group = np.full(len(labels), -1)
    group[~missing] = place
    return found, group, np.bincount(place, minlength=len(found))
