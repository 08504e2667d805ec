"""Corrections of attributions of chaos game images: per count, by neighbouring pixels, to what images can be."""

from __future__ import annotations

import numpy as np
import xarray as xr


def divided(a: xr.DataArray, images: xr.DataArray, *, floor: float | None = None) -> xr.DataArray:
    """Attribution per unit of the image, so that k-mers do not stand out only because they are frequent.

    ``a / max(|image|, floor)``

    Parameters
    ----------
    a : DataArray
        Attributions with the dims of `images`, and others such as target.
    images : DataArray
        Dims y, x, and samples.
    floor : float, optional
        The smallest divisor, in the unit of `images`; default: each image's smallest magnitude that is not zero, so
        that empty pixels are treated like the image's rarest k-mer. 1 for an image of zeros.

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
    quotient = a / np.maximum(size.reset_coords(drop=True), least)
    units = f"{a.attrs.get('units', 'attribution')} / {images.attrs.get('units', 'image')}"
    return quotient.transpose(*a.dims).assign_attrs(a.attrs | {"units": units}).rename(a.name)


def smoothed(a: xr.DataArray, *, size: int = 3) -> xr.DataArray:
    """Median of each pixel's neighbourhood, which removes single pixels that stand out.

    Parameters
    ----------
    a : DataArray
        Dims y, x, and others.
    size : int, default 3
        Side of the neighbourhood in pixels, odd. In the chaos game's order, neighbours end in the same letters.

    Returns
    -------
    DataArray
        Dims and unit of `a`. The sum over the pixels changes.

    Raises
    ------
    ValueError
        If `size` is even or below 1.

    Notes
    -----
    A single k-mer that matters is removed as well. Use it for dense gradients, not for sparse attributions.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.domains.fcgr import smoothed
    >>> float(smoothed(xr.DataArray([[0.0, 0, 0], [0, 9, 0], [0, 0, 0]], dims=("y", "x"))).max())
    0.0
    """
    from scipy.ndimage import median_filter

    if size < 1 or size % 2 == 0:
        raise ValueError(f"`size` is {size}, expected an odd number of pixels")
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

    The pixels of an image add up to the number of windows. So the direction n in which that sum grows is removed:
    ``a - n (n . a) / (n . n)``, with n = 1 for counts and frequencies and ``n = exp(x)`` for ``x = log(1 + count)``.
    With `neighbours`, the rest is projected on the first principal components of the nearest images.

    Parameters
    ----------
    a : DataArray
        Gradients with the dims of `images`, and others such as target.
    images : DataArray
        Of `fcgr`: dims `sample`, y, x. The attribute `scale` decides which n is used.
    neighbours : DataArray, optional
        Other images, with the dims of `images`. The nearest (Euclidean) are taken from them; an image equal to the
        explained one is skipped.
    count : int, default 20
        Number of nearest images per image, at most all of them.
    components : int, default 5
        Number of principal components, below `count`.
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
    With neighbours only directions in which these differ remain. Pixels that are empty in all of them become zero.

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
    projected = flat - np.einsum("nte,ne->nt", flat, normal)[..., None] * normal[:, None]
    if neighbours is not None:
        projected = _projected(projected, x, _flat(neighbours, sample), count, components)
    return ordered.copy(data=projected.reshape(ordered.shape)).transpose(*a.dims)


def _check(a: xr.DataArray, images: xr.DataArray, sample: str) -> None:
    """Refuse an attribution of other images."""
    sizes = images.transpose(sample, "y", "x").shape
    if sample not in a.dims or sizes != tuple(a.sizes[d] for d in (sample, "y", "x")):
        raise ValueError(
            f"`a` has {dict(a.sizes)}, expected the dims and sizes of `images`, {dict(images.sizes)}"
        )
    labelled = sample in a.indexes and sample in images.indexes
    if labelled and not a.indexes[sample].equals(images.indexes[sample]):
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
    projected = np.empty_like(a)
    for n, near in enumerate(nearest):
        cloud = others[near[~same[n, near]]]
        _, _, axes = np.linalg.svd(cloud - cloud.mean(0), full_matrices=False)
        projected[n] = a[n] @ axes[:components].T @ axes[:components]
    return projected
