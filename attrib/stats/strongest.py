"""What drives a filter most: samples, places and patches of the input."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import xarray as xr


def strongest(activation: xr.DataArray, x: xr.DataArray, *, count: int = 9, size: int = 15) -> xr.Dataset:
    """The samples that activate each filter most, where in them, and the patch of the input around that place.

    Parameters
    ----------
    activation : DataArray
        Of `attrib.layer_activation`: one sample dim, `filter`, and spatial dims with coords in those of `x`.
    x : DataArray
        The input, with the same sample and spatial dims, whose coords ascend.
    count : int, default 9
        Samples per filter, at most as many as there are.
    size : int, default 15
        Side of a patch in cells of `x`. The place is the centre of the layer's cell; how far around it the layer sees
        depends on the network.

    Returns
    -------
    Dataset
        Along `filter` and `rank`: `activation`, the sample's label, the place's coords (dims' names followed by
        `_at`), and `patch`, NaN beyond the input's edge.

    Raises
    ------
    ValueError
        If dims do not fit.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.stats import strongest
    >>> a = xr.DataArray([[[0.0, 3.0]], [[5.0, 1.0]]], dims=("sample", "filter", "x"), coords={"x": [0.5, 2.5]})
    >>> found = strongest(a, xr.DataArray([[1, 2, 3, 4], [5, 6, 7, 8]], dims=("sample", "x")), count=1, size=1)
    >>> found.sample.item(), found.x_at.item()
    (1, 0.5)
    """
    spatial = [d for d in activation.dims if d != "filter" and d in x.dims][1:]
    lead = activation.dims[0]
    if "filter" not in activation.dims or lead not in x.dims or len(spatial) != activation.ndim - 2:
        raise ValueError(
            f"`activation` has dims {activation.dims}, expected a sample dim, filter, and dims of `x` {x.dims}"
        )
    a = activation.transpose(lead, "filter", *spatial)
    flat = a.values.reshape(*a.shape[:2], -1)
    place, peak = flat.argmax(2), flat.max(2)
    ranked = np.argsort(-peak, axis=0, kind="stable")[:count].T  # (filter, rank)
    filters = np.arange(a.sizes["filter"])[:, None]
    grid = np.unravel_index(place[ranked, filters], a.shape[2:])
    dims = ("filter", "rank")
    found = xr.Dataset(
        {"activation": (dims, peak[ranked, filters])}, coords={"filter": np.arange(len(filters))}
    )
    found[str(lead)] = (dims, _labels(x, lead)[ranked])
    for d, at in zip(spatial, grid, strict=True):
        found[f"{d}_at"] = (dims, _labels(a, d)[at])
    found["patch"] = _patches(x, lead, spatial, ranked, [found[f"{d}_at"].values for d in spatial], size)
    return found


def _labels(a: xr.DataArray, dim: Hashable) -> np.ndarray:
    return a[dim].values if dim in a.coords else np.arange(a.sizes[dim])


def _patches(
    x: xr.DataArray,
    lead: Hashable,
    spatial: list[Hashable],
    ranked: np.ndarray,
    at: list[np.ndarray],
    size: int,
) -> xr.DataArray:
    others = [d for d in x.dims if d != lead and d not in spatial]
    values = x.transpose(lead, *others, *spatial).values.astype(float)
    padded = np.pad(
        values, [(0, 0)] * (1 + len(others)) + [(size, size)] * len(spatial), constant_values=np.nan
    )
    places = [np.interp(p, _labels(x, d), np.arange(x.sizes[d])) for p, d in zip(at, spatial, strict=True)]
    starts = [np.floor(p + 0.5).astype(int) - size // 2 + size for p in places]
    cut = [
        padded[(sample, ..., *(slice(s[where], s[where] + size) for s in starts))]
        for where, sample in np.ndenumerate(ranked)
    ]
    window = [f"{d}_offset" for d in spatial]
    return xr.DataArray(
        np.stack(cut).reshape(*ranked.shape, *cut[0].shape),
        dims=("filter", "rank", *others, *window),
        coords={d: x[d].values for d in others if d in x.coords},
    )
