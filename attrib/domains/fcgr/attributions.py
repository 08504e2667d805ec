"""Attributions of chaos game images: corrected, and brought from pixels back to the positions of the sequence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from attrib._arguments import refuse_other_dims
from attrib._public import public
from attrib.domains.fcgr.images import NONE, as_texts, codes, pixel_kmers, window_pixels
from attrib.labels.frames import matched


@public
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
    images = matched(images, a, "images", other="a")
    lacking = [d for d in ("y", "x") if d not in images.dims]
    if lacking:
        raise ValueError(f"`images` has the dims {images.dims}, expected y and x among them")
    size = abs(images)
    least = size.where(size > 0).min(("y", "x")).fillna(1.0) if floor is None else floor
    quotient = a / np.maximum(size.reset_coords(drop=True), least)
    units = f"{a.attrs.get('units', 'attribution')} / {images.attrs.get('units', 'image')}"
    return quotient.transpose(*a.dims).assign_attrs(a.attrs | {"units": units}).rename(a.name)


@public
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
    values = a.values.astype(np.float32) if a.dtype == np.float16 else a.values  # which scipy does not take
    return a.copy(data=median_filter(values, size=window, mode="nearest"))


@public
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
    images = _images_of(a, images, sample)
    if neighbours is not None:
        refuse_other_dims("neighbours", neighbours, (sample, "y", "x"))
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


def _images_of(a: xr.DataArray, images: xr.DataArray, sample: str) -> xr.DataArray:
    """The images in the order of the attribution's labels; those of another one are refused."""
    refuse_other_dims("images", images, (sample, "y", "x"))
    sizes = images.transpose(sample, "y", "x").shape
    if sizes != tuple(a.sizes.get(d) for d in (sample, "y", "x")):
        raise ValueError(
            f"`a` has {dict(a.sizes)}, expected the dims and sizes of `images`, {dict(images.sizes)}"
        )
    return matched(images, a, "images", other="a")


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


@public
def along(
    a: xr.DataArray,
    sequences: Sequence[str] | xr.DataArray | None = None,
    *,
    sample: str = "sample",
    position: str = "position",
) -> xr.DataArray:
    """Attribution of pixels laid along the sequences that they count.

    A pixel's attribution is divided equally among the occurrences of its k-mer, and that of an occurrence among its k
    positions: ``p[n, i] = sum over windows w that cover i of a[n, pixel of w] / (k occurrences of w)``

    Parameters
    ----------
    a : DataArray
        Attributions with the dims `sample`, y, x, and others such as target or method; with the coord `kmer` (y, x),
        which attributions of `fcgr` images have.
    sequences : sequence of str, optional
        One per sample; default: the coord `sequence` along `sample`.
    sample : str, default "sample"
        The dim of the sequences.
    position : str, default "position"
        Name of the dim of the letters. Position 1 is the first, at the 5' end.

    Returns
    -------
    DataArray
        float64, the dims of `a` with `position` in place of y, x; NaN beyond the end of shorter sequences. Coords:
        `letter` (sample, position), and `remainder`, the attribution of pixels whose k-mer the sequence lacks. Positions
        and remainder add up to the sum of the pixels.

    Raises
    ------
    ValueError
        If there are no sequences, or not one per sample.

    Notes
    -----
    An image does not say where a k-mer stands. So two occurrences get the same share, even if only one matters.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.domains.fcgr import along, fcgr
    >>> image = fcgr(["ACA"], k=2)  # AC once, CA once; the other pixels are empty
    >>> a = xr.zeros_like(image).where(image.kmer != "AC", 1.0).where(image.kmer != "GG", 5.0)
    >>> along(a).values.tolist(), along(a).remainder.item()
    ([[0.5, 0.5, 0.0]], 5.0)
    """
    texts = _sequences(a, sequences, sample)
    words = pixel_kmers(a)
    k = len(words[0, 0])
    pixels = _image_pixels(codes(texts), words)
    others = [d for d in a.dims if d not in (sample, "y", "x")]
    values = np.asarray(a.transpose(*others, sample, "y", "x").values, dtype=np.float64)
    flat = values.reshape(*values.shape[:-2], -1)
    shares = _shares(flat, pixels)
    laid = np.zeros((*flat.shape[:-1], max(map(len, texts))))
    for i in range(k):
        laid[..., i : i + shares.shape[-1]] += shares / k
    remainder = _absent(flat, pixels)
    laid[..., np.arange(laid.shape[-1]) >= np.array([len(t) for t in texts])[:, None]] = np.nan
    return _labelled(a, laid, remainder, texts, [*others, sample], sample, position)


@public
def shares(
    images: xr.DataArray,
    sequences: Sequence[str] | xr.DataArray | None = None,
    *,
    sample: str = "sample",
    position: str = "position",
) -> xr.DataArray:
    """The share of each pixel that lies at each position: the weights of the sums in `along`.

    Parameters
    ----------
    images, sequences, sample, position
        As for `along`.

    Returns
    -------
    DataArray (sample, position, y, x)
        float32. For each pixel the shares add up to 1 over the positions, or to 0 if the sequence lacks the k-mer. They
        can be the `groups` of `attrib.interaction`.

    Raises
    ------
    ValueError
        As `along`.

    Examples
    --------
    >>> from attrib.domains.fcgr import fcgr, shares
    >>> s = shares(fcgr(["ACA"], k=2))
    >>> s[0].where(s.kmer == "CA", 0.0).sum(("y", "x")).values.tolist()
    [0.0, 0.5, 0.5]
    """
    texts = _sequences(images, sequences, sample)
    words = pixel_kmers(images)
    k = len(words[0, 0])
    pixels = _image_pixels(codes(texts), words)
    rows, windows = np.nonzero(pixels != NONE)
    columns = pixels[rows, windows]
    occurrences = np.bincount(rows * words.size + columns, minlength=len(texts) * words.size)
    weights = np.zeros((len(texts), max(map(len, texts)), words.size), np.float32)
    for i in range(k):
        np.add.at(weights, (rows, windows + i, columns), 1 / (k * occurrences[rows * words.size + columns]))
    coords = {
        "y": images["y"],
        "x": images["x"],
        "kmer": (("y", "x"), words),
        position: np.arange(1, weights.shape[1] + 1),
    }
    coords |= {sample: images[sample]} if sample in images.coords else {}
    return xr.DataArray(
        weights.reshape(*weights.shape[:2], *words.shape), dims=(sample, position, "y", "x"), coords=coords, name="shares"
    )  # fmt: skip


def _sequences(a: xr.DataArray, sequences: Sequence[str] | xr.DataArray | None, sample: str) -> list[str]:
    if sample not in a.dims:
        raise ValueError(
            f"`a` has dims {a.dims}, expected a dim {sample!r} of sequences; a.expand_dims({sample!r})?"
        )
    if sequences is None and "sequence" not in a.coords:
        raise ValueError("`sequences` is None and `a` has no coord `sequence`; pass one sequence per sample")
    if isinstance(sequences, pd.Series) and sample in a.indexes:
        sequences = xr.DataArray(sequences.to_numpy(), dims=sample, coords={sample: sequences.index})
    if isinstance(sequences, xr.DataArray) and sequences.dims == (sample,):
        sequences = matched(sequences, a, "sequences", other="a")
    texts = as_texts(a["sequence"] if sequences is None else sequences)
    if len(texts) != a.sizes[sample]:
        raise ValueError(f"`sequences` has {len(texts)} texts, expected {a.sizes[sample]}, one per {sample}")
    return texts


def _image_pixels(numbers: np.ndarray, words: np.ndarray) -> np.ndarray:
    """The pixel of each window in the flat image whose k-mers are `words`, in whatever order these are."""
    k = len(words[0, 0])
    standard = window_pixels(codes(words.ravel().tolist()), k)[
        :, 0
    ]  # the pixel of each word in the standard image
    pixel = np.empty(words.size, np.intp)
    pixel[standard] = np.arange(words.size)
    windows = window_pixels(numbers, k)
    return np.where(windows == NONE, NONE, pixel[windows])


def _shares(flat: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """The share of each window: its pixel's value divided by the number of windows in that pixel."""
    rows = np.arange(len(pixels))[:, None]
    valid = pixels != NONE
    occurrences = np.zeros(flat.shape[-2:])
    np.add.at(occurrences, (np.broadcast_to(rows, pixels.shape)[valid], pixels[valid]), 1.0)
    times = np.where(valid, occurrences[rows, pixels], 1.0)
    return np.where(valid, flat[..., rows, pixels] / times, 0.0)


def _absent(flat: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """The sum over pixels without a window."""
    empty = np.ones(flat.shape[-2:], bool)
    rows, windows = np.nonzero(pixels != NONE)
    empty[rows, pixels[rows, windows]] = False
    return np.where(empty, flat, 0.0).sum(-1)


def _labelled(
    a: xr.DataArray,
    values: np.ndarray,
    remainder: np.ndarray,
    texts: list[str],
    dims: list,
    sample: str,
    position: str,
) -> xr.DataArray:
    width = values.shape[-1]
    letters = np.array([list(t.upper().replace("U", "T").ljust(width)) for t in texts]).reshape(
        len(texts), width
    )
    coords = {
        **{c: v for c, v in a.coords.items() if not {"y", "x"} & set(v.dims)},
        position: (position, np.arange(1, width + 1), {"units": "nt", "long_name": position}),
        "letter": ((sample, position), letters),
        "remainder": (tuple(dims), remainder, {"long_name": "on k-mers that the sequence lacks"}),
    }
    along_sequence = xr.DataArray(values, dims=(*dims, position), coords=coords, name=a.name, attrs=a.attrs)
    return along_sequence.transpose(*(d for d in a.dims if d not in ("y", "x")), position)
