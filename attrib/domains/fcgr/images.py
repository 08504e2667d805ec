"""Sequences as images of k-mer counts. Counting is one `bincount` for many sequences, so no package is needed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from attrib._nearest import near
from attrib.domains.fcgr.kmers import CORNERS, NONE, Leading, checked, codes, kmers, window_pixels

SCALES = {"count": "k-mers", "frequency": "share of k-mers", "log": "log(1 + k-mers)"}
ROWS = 1 << 22  # pixels counted at a time


def fcgr(
    sequences: Sequence[str] | xr.DataArray,
    *,
    k: int = 6,
    scale: str = "count",
    corners: str = CORNERS,
    leading: Leading = "last",
    samples: Sequence[Any] | None = None,
) -> xr.DataArray:
    """Frequency chaos game representation: an image of 2^k by 2^k pixels per sequence, one pixel per k-mer.

    ``image[n, pixel of w] = number of windows of sequence n that read w``

    Parameters
    ----------
    sequences : sequence of str
        Letters; U is read as T, lower case as upper case. Windows with N or another letter are skipped.
    k : int, default 6
        Letters per window, 1 to 8.
    scale : {"count", "frequency", "log"}, default "count"
        The number of windows; its share of all windows that were counted; or ``log(1 + windows)``.
    corners : str, default "CGAT"
        The letters upper left, upper right, lower left, lower right: those of Jeffrey (1990), row 0 on top.
    leading : {"last", "first"}, default "last"
        Which letter of a k-mer chooses the quarter of the image, see `pixel_of`.
    samples : sequence, optional
        Names of the sequences; default: their numbers.

    Returns
    -------
    DataArray (sample, y, x)
        float32, with the coords `kmer` (y, x), `sequence` (sample), and `skipped` (sample), the number of skipped windows.
        An image is zero if all of its windows were skipped.

    Raises
    ------
    ValueError
        For a sequence of fewer than k letters, and unknown options.

    Notes
    -----
    Memory: the result, and its size again for at most 4 million pixels at a time.

    References
    ----------
    Jeffrey (1990), Chaos game representation of gene structure. doi:10.1093/nar/18.8.2163

    Examples
    --------
    >>> from attrib.domains.fcgr import fcgr
    >>> image = fcgr(["ACGNA"], k=1)[0]
    >>> image.values.tolist(), image.kmer.values.tolist(), image.skipped.item()
    ([[1.0, 1.0], [2.0, 0.0]], [['C', 'G'], ['A', 'T']], 1)
    """
    if scale not in SCALES:
        raise ValueError(f"`scale` is {scale!r}, expected one of {', '.join(SCALES)}{near(scale, SCALES)}")
    texts = as_texts(sequences)
    names = _names(sequences, samples, len(texts))
    _refuse_short(names, texts, checked(k))
    pixels = window_pixels(codes(texts), k, corners, leading)
    counts = _counts(pixels, 4**k)
    windows = np.array([len(t) - k + 1 for t in texts])
    coords = {
        "sample": ("sample", names),
        "y": ("y", np.arange(1 << k), {"long_name": "row"}),
        "x": ("x", np.arange(1 << k), {"long_name": "column"}),
        "kmer": (("y", "x"), kmers(k, corners=corners, leading=leading)),
        "sequence": ("sample", np.array(texts, dtype=str)),
        "skipped": ("sample", windows - (pixels != NONE).sum(1), {"units": "k-mers"}),
    }
    attrs = {"units": SCALES[scale], "long_name": "chaos game image", "scale": scale, "k": int(k), "corners": corners, "leading": leading}  # fmt: skip
    return xr.DataArray(
        _scaled(counts, scale).reshape(-1, 1 << k, 1 << k), dims=("sample", "y", "x"), coords=coords, name="fcgr", attrs=attrs
    )  # fmt: skip


def _refuse_short(names: Iterable[Any], texts: Sequence[str], k: int) -> None:
    for name, text in zip(names, texts, strict=True):
        if len(text) < k:
            raise ValueError(f"`sequences`: {str(name)!r} has {len(text)} letters, expected at least k = {k}")


def by_kmer(a: xr.DataArray) -> xr.DataArray:
    """The dims y, x as one dim `kmer`, in alphabetical order.

    Parameters
    ----------
    a : DataArray
        Dims y, x and others, with the coord `kmer` (y, x): an image, or an attribution of one.

    Returns
    -------
    DataArray
        The other dims, then `kmer`.

    Raises
    ------
    ValueError
        If there is no coord `kmer` (y, x).

    Examples
    --------
    >>> from attrib.domains.fcgr import by_kmer, fcgr
    >>> by_kmer(fcgr(["ACGNA"], k=1))[0].to_series().to_dict()
    {'A': 2.0, 'C': 1.0, 'G': 1.0, 'T': 0.0}
    """
    words = pixel_kmers(a).ravel()
    order = np.argsort(words)
    others = [d for d in a.dims if d not in ("y", "x")]
    values = a.transpose(*others, "y", "x").values
    flat = values.reshape(*values.shape[:-2], -1)[..., order]
    coords = {c: v for c, v in a.coords.items() if not {"y", "x"} & set(v.dims)}
    return xr.DataArray(
        flat, dims=(*others, "kmer"), coords={**coords, "kmer": words[order]}, name=a.name, attrs=a.attrs
    )


def by_pixel(a: xr.DataArray, *, corners: str = CORNERS, leading: Leading = "last") -> xr.DataArray:
    """The dim `kmer` as an image, the inverse of `by_kmer`.

    Parameters
    ----------
    a : DataArray
        With a dim `kmer` whose labels are all k-mers of one length, in any order.
    corners, leading
        As for `pixel_of`.

    Returns
    -------
    DataArray
        The other dims, then y, x.

    Raises
    ------
    ValueError
        If k-mers are missing.

    Examples
    --------
    >>> from attrib.domains.fcgr import by_kmer, by_pixel, fcgr
    >>> image = fcgr(["ACGNA"], k=1)
    >>> by_pixel(by_kmer(image)).values.tolist() == image.values.tolist()
    True
    """
    words = a["kmer"].values.astype(str)
    words_by_pixel = kmers(len(words[0]), corners=corners, leading=leading)
    if sorted(words) != sorted(words_by_pixel.ravel()):
        raise ValueError(
            f"`a` has {len(words)} k-mers, expected all {words_by_pixel.size} of {len(words[0])} letters, each once"
        )
    order = np.argsort(words)[np.searchsorted(np.sort(words), words_by_pixel.ravel())]
    others = [d for d in a.dims if d != "kmer"]
    values = a.transpose(*others, "kmer").values[..., order]
    coords_of_others = {c: v for c, v in a.coords.items() if "kmer" not in v.dims}
    side = np.arange(len(words_by_pixel))
    coords = {
        **coords_of_others,
        "y": ("y", side, {"long_name": "row"}),
        "x": ("x", side, {"long_name": "column"}),
        "kmer": (("y", "x"), words_by_pixel),
    }
    shape = (*values.shape[:-1], *words_by_pixel.shape)
    return xr.DataArray(
        values.reshape(shape), dims=(*others, "y", "x"), coords=coords, name=a.name, attrs=a.attrs
    )


def pixel_kmers(a: xr.DataArray) -> np.ndarray:
    """The k-mers of an image's pixels (y, x).

    Raises
    ------
    ValueError
        If the array has no such coord.
    """
    if "kmer" not in a.coords or set(a["kmer"].dims) != {"y", "x"}:
        raise ValueError(
            f"`a` has dims {a.dims} and no coord kmer (y, x), which images of attrib.domains.fcgr.fcgr have"
        )
    return a["kmer"].transpose("y", "x").values.astype(str)


def as_texts(sequences: Sequence[str] | xr.DataArray) -> list[str]:
    """Sequences as a list of text.

    Raises
    ------
    TypeError
        For a single text, whose letters would be taken for sequences, and for entries that are not text.
    """
    if isinstance(sequences, str):
        raise TypeError(
            f"`sequences` is one text ({sequences[:20]!r}), expected a list of them: [{sequences[:8]!r}, ...]"
        )
    texts = list(sequences.values if isinstance(sequences, xr.DataArray) else sequences)
    for n, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"`sequences`: number {n} is a {type(text).__name__} ({text!r}), expected text")
    return [str(t) for t in texts]


def _names(sequences: Any, samples: Any, count: int) -> np.ndarray:
    if samples is None and isinstance(sequences, xr.DataArray) and sequences.dims[0] in sequences.coords:
        samples = sequences[sequences.dims[0]].values
    names = np.arange(count) if samples is None else np.asarray(samples)
    if names.shape != (count,):
        raise ValueError(f"`samples` has {names.shape} names, expected {count}, one per sequence")
    return names


def _counts(pixels: np.ndarray, size: int) -> np.ndarray:
    """How often each pixel occurs (N, size), some sequences at a time."""
    counts = np.empty((len(pixels), size), np.float32)
    step = max(1, ROWS // size)
    for start in range(0, len(pixels), step):
        part = pixels[start : start + step]
        rows, windows = np.nonzero(part != NONE)
        flat = rows * size + part[rows, windows]
        counts[start : start + step] = np.bincount(flat, minlength=len(part) * size).reshape(-1, size)
    return counts


def _scaled(counts: np.ndarray, scale: str) -> np.ndarray:
    if scale == "log":
        return np.log1p(counts, out=counts)
    if scale == "frequency":
        counts /= np.maximum(counts.sum(1, keepdims=True), 1)
    return counts
