"""Corrections of attributions for images that count: by magnitude, by neighbours, by what images can be."""

from __future__ import annotations

import numpy as np
import xarray as xr


def divided(a: xr.DataArray, images: xr.DataArray, *, floor: float | None = None) -> xr.DataArray:
    """Attribution per unit of the image: what lies on frequent k-mers only because they are frequent is evened out.

    ``a / max(|image|, floor)``

    Parameters
    ----------
    a : DataArray
        Attributions with the dims of `images`, and others such as target.
    images : DataArray
        Dims y, x, and samples.
    floor : float, optional
        The smallest divisor, in the unit of `images`; default: each image's smallest magnitude that is not zero, so
        that empty cells are treated like the rarest k-mer there is. 1 for an image of zeros.

    Returns
    -------
    DataArray
        Dims of `a`, in its unit per unit of the image.

    Raises
    ------
    ValueError
        If `floor` is not positive.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.domains.fcgr import divided
    >>> x = xr.DataArray([[0.0, 1.0, 4.0]], dims=("y", "x"))
    >>> divided(xr.DataArray([[2.0, 2.0, 2.0]], dims=("y", "x")), x).values.tolist()
    [[2.0, 2.0, 0.5]]
    """
    if floor is not None and not floor > 0:
        raise ValueError(f"`floor` is {floor}, expected a positive number")
    size = abs(images)
    least = size.where(size > 0).min(("y", "x")).fillna(1.0) if floor is None else floor
    found = a / np.maximum(size.reset_coords(drop=True), least)
    units = f"{a.attrs.get('units', 'attribution')} / {images.attrs.get('units', 'image')}"
    return found.transpose(*a.dims).assign_attrs(a.attrs | {"units": units}).rename(a.name)


def smoothed(a: xr.DataArray, *, size: int = 3) -> xr.DataArray:
    """Median of each cell's neighbourhood, which drops single cells that stand out.

    Parameters
    ----------
    a : DataArray
        Dims y, x, and others.
    size : int, default 3
        Side of the neighbourhood in cells, odd. In the chaos game's order, neighbours end alike.

    Returns
    -------
    DataArray
        Dims and unit of `a`. Sums are not kept.

    Notes
    -----
    A single k-mer that counts is dropped as well: use it for dense gradients, not for sparse attributions.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.domains.fcgr import smoothed
    >>> float(smoothed(xr.DataArray([[0.0, 0, 0], [0, 9, 0], [0, 0, 0]], dims=("y", "x"))).max())
    0.0
    """
    from scipy.ndimage import median_filter

    if size < 1 or size % 2 == 0:
        raise ValueError(f"`size` is {size}, expected an odd number of cells")
    window = [size if d in ("y", "x") else 1 for d in a.dims]
    return a.copy(data=median_filter(a.values, size=window, mode="nearest"))


def tangent(
    a: xr.DataArray,
    images: xr.DataArray,
    *,
    neighbours: xr.DataArray | None = None,
    count: int = 20,
    components: int = 5,
    sample: str = "sample",
) -> xr.DataArray:
    """The part of a gradient along directions in which images can change.

    The cells of an image add up to the number of windows. So the direction n in which that sum grows is taken out:
    ``a - n (n . a) / (n . n)``, with n = 1 for counts and frequencies and ``n = exp(x)`` for ``x = log(1 + count)``.
    With `neighbours`, what is left is projected on the first principal components of the nearest images.

    Parameters
    ----------
    a : DataArray
        Gradients with the dims of `images`, and others such as target.
    images : DataArray
        Of `fcgr`: dims `sample`, y, x; the attribute `scale` says which n.
    neighbours : DataArray, optional
        Other images, dims of `images`, among which the nearest (Euclidean) are looked for; one that equals the image
        is not its neighbour.
    count : int, default 20
        Nearest images per image, at most as many as there are.
    components : int, default 5
        Principal components kept, fewer than `count`.
    sample : str, default "sample"
        The dim of the images.

    Returns
    -------
    DataArray
        Dims and unit of `a`.

    Raises
    ------
    ValueError
        If dims or the samples' labels differ, or `components` is not below the number of neighbours.

    Notes
    -----
    With neighbours only differences seen among them are left: cells empty in all of them become zero.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.domains.fcgr import fcgr, tangent
    >>> x = fcgr(["ACCT"], k=1)
    >>> tangent(xr.ones_like(x).where(x.kmer != "A", 5.0), x).values.tolist()
    [[[-1.0, -1.0], [3.0, -1.0]]]
    """
    _check(a, images, sample)
    others = [d for d in a.dims if d not in (sample, "y", "x")]
    ordered = a.transpose(sample, *others, "y", "x")
    flat = ordered.values.reshape(a.sizes[sample], -1, a.sizes["y"] * a.sizes["x"]).astype(np.float64)
    x = _flat(images, sample)
    normal = np.exp(x) if images.attrs.get("scale") == "log" else np.ones_like(x)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    found = flat - np.einsum("nte,ne->nt", flat, normal)[..., None] * normal[:, None]
    if neighbours is not None:
        found = _projected(found, x, _flat(neighbours, sample), count, components)
    return ordered.copy(data=found.reshape(ordered.shape)).transpose(*a.dims)


def _check(a: xr.DataArray, images: xr.DataArray, sample: str) -> None:
    """Refuse an attribution of other images."""
    sizes = images.transpose(sample, "y", "x").shape
    if sample not in a.dims or sizes != tuple(a.sizes[d] for d in (sample, "y", "x")):
        raise ValueError(
            f"`a` has {dict(a.sizes)}, expected the dims and sizes of `images`, {dict(images.sizes)}"
        )
    known = sample in a.indexes and sample in images.indexes
    if known and not a.indexes[sample].equals(images.indexes[sample]):
        raise ValueError(
            f"`a` and `images` have other labels along {sample!r}, or another order; select the same: "
            f"images.sel({sample}=a[{sample!r}])"
        )


def _flat(images: xr.DataArray, sample: str) -> np.ndarray:
    return images.transpose(sample, "y", "x").values.reshape(images.sizes[sample], -1).astype(np.float64)


def _projected(a: np.ndarray, x: np.ndarray, others: np.ndarray, count: int, components: int) -> np.ndarray:
    """Rows of a (N, T, E) on the span of the principal components of each x's nearest others."""
    squares = (x**2).sum(1)[:, None] + (others**2).sum(1) - 2 * x @ others.T
    same = squares <= 1e-9 * np.maximum(1.0, (x**2).sum(1))[:, None]
    nearest = np.argsort(np.where(same, np.inf, squares), axis=1, kind="stable")[:, :count]
    fewest = int(np.minimum((~same).sum(1), nearest.shape[1]).min())
    if not 1 <= components < fewest:
        raise ValueError(
            f"`components` is {components}, expected 1 to {fewest - 1}: fewer than the neighbours of each image"
        )
    found = np.empty_like(a)
    for n, near in enumerate(nearest):
        cloud = others[near[~same[n, near]]]
        _, _, axes = np.linalg.svd(cloud - cloud.mean(0), full_matrices=False)
        found[n] = a[n] @ axes[:components].T @ axes[:components]
    return found
