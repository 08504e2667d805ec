"""From the pixels of a chaos game image back to the positions of the sequence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from attrib.domains.fcgr.images import as_texts, pixel_kmers
from attrib.domains.fcgr.kmers import NONE, codes, window_pixels


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
