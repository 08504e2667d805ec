"""From the cells of a chaos game image back to the letters of the sequence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from attrib.domains.fcgr.images import as_texts, cell_kmers
from attrib.domains.fcgr.kmers import NONE, codes, window_cells


def along(
    a: xr.DataArray,
    sequences: Sequence[str] | xr.DataArray | None = None,
    *,
    sample: str = "sample",
    position: str = "position",
) -> xr.DataArray:
    """Attribution of cells laid along the sequences they count.

    A cell's attribution is shared equally among the occurrences of its k-mer, and that of an occurrence among its k
    positions: ``p[n, i] = sum over windows w that cover i of a[n, cell of w] / (k occurrences of w)``

    Parameters
    ----------
    a : DataArray
        Attributions with the dims `sample`, y, x, and others such as target or method; with the coord `kmer` (y, x)
        that results on images of `fcgr` have.
    sequences : sequence of str, optional
        One per sample; default: the coord `sequence` along `sample`.
    sample : str, default "sample"
        The dim of the sequences.
    position : str, default "position"
        What to call the dim of the letters; position 1 is the first, at the 5' end.

    Returns
    -------
    DataArray
        float64, the dims of `a` with `position` in place of y, x; NaN beyond the end of shorter sequences. Coords:
        `letter` (sample, position), and `remainder`, what lies on cells whose k-mer the sequence lacks. Positions and
        remainder add up to the cells.

    Raises
    ------
    ValueError
        If there are no sequences, or not one per sample.

    Notes
    -----
    Counting forgets where a k-mer stood, so two occurrences get the same share although the model may care for one.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.domains.fcgr import along, fcgr
    >>> image = fcgr(["ACA"], k=2)  # AC once, CA once; the other cells are empty
    >>> a = xr.zeros_like(image).where(image.kmer != "AC", 1.0).where(image.kmer != "GG", 5.0)
    >>> along(a).values.tolist(), along(a).remainder.item()
    ([[0.5, 0.5, 0.0]], 5.0)
    """
    texts = _sequences(a, sequences, sample)
    words = cell_kmers(a)
    k = len(words[0, 0])
    cells = _window_places(codes(texts), words)
    others = [d for d in a.dims if d not in (sample, "y", "x")]
    values = np.asarray(a.transpose(*others, sample, "y", "x").values, dtype=np.float64)
    flat = values.reshape(*values.shape[:-2], -1)
    shares = _shares(flat, cells)
    placed = np.zeros((*flat.shape[:-1], max(map(len, texts))))
    for i in range(k):
        placed[..., i : i + shares.shape[-1]] += shares / k
    remainder = _absent(flat, cells)
    placed[..., np.arange(placed.shape[-1]) >= np.array([len(t) for t in texts])[:, None]] = np.nan
    return _labelled(a, placed, remainder, texts, [*others, sample], sample, position)


def shares(
    images: xr.DataArray,
    sequences: Sequence[str] | xr.DataArray | None = None,
    *,
    sample: str = "sample",
    position: str = "position",
) -> xr.DataArray:
    """What share of each cell lies at each position: the weights by which `along` adds up.

    Parameters
    ----------
    images, sequences, sample, position
        As for `along`.

    Returns
    -------
    DataArray (sample, position, y, x)
        float32; for each cell the shares add up to 1 over the positions, or to 0 where the sequence lacks the k-mer. Such
        shares are the `groups` of `attrib.interaction`.

    Examples
    --------
    >>> from attrib.domains.fcgr import fcgr, shares
    >>> s = shares(fcgr(["ACA"], k=2))
    >>> s[0].where(s.kmer == "CA", 0.0).sum(("y", "x")).values.tolist()
    [0.0, 0.5, 0.5]
    """
    texts = _sequences(images, sequences, sample)
    words = cell_kmers(images)
    k = len(words[0, 0])
    cells = _window_places(codes(texts), words)
    rows, windows = np.nonzero(cells != NONE)
    places = cells[rows, windows]
    times = np.bincount(rows * words.size + places, minlength=len(texts) * words.size)
    found = np.zeros((len(texts), max(map(len, texts)), words.size), np.float32)
    for i in range(k):
        np.add.at(found, (rows, windows + i, places), 1 / (k * times[rows * words.size + places]))
    coords = {
        "y": images["y"],
        "x": images["x"],
        "kmer": (("y", "x"), words),
        position: np.arange(1, found.shape[1] + 1),
    }
    coords |= {sample: images[sample]} if sample in images.coords else {}
    return xr.DataArray(
        found.reshape(*found.shape[:2], *words.shape), dims=(sample, position, "y", "x"), coords=coords, name="shares"
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


def _window_places(numbers: np.ndarray, words: np.ndarray) -> np.ndarray:
    """For each window its place in the flat image whose k-mers are `words`, whatever convention made it."""
    k = len(words[0, 0])
    usual = window_cells(codes(words.ravel().tolist()), k)[:, 0]  # the cell of each word in the usual image
    place = np.empty(words.size, np.intp)
    place[usual] = np.arange(words.size)
    cells = window_cells(numbers, k)
    return np.where(cells == NONE, NONE, place[cells])


def _shares(flat: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """What each window gets: its cell's value over the number of windows in that cell."""
    rows = np.arange(len(cells))[:, None]
    valid = cells != NONE
    occurrences = np.zeros(flat.shape[-2:])
    np.add.at(occurrences, (np.broadcast_to(rows, cells.shape)[valid], cells[valid]), 1.0)
    times = np.where(valid, occurrences[rows, cells], 1.0)
    return np.where(valid, flat[..., rows, cells] / times, 0.0)


def _absent(flat: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """The sum over cells that no window is in."""
    empty = np.ones(flat.shape[-2:], bool)
    rows, windows = np.nonzero(cells != NONE)
    empty[rows, cells[rows, windows]] = False
    return np.where(empty, flat, 0.0).sum(-1)


def _labelled(
    a: xr.DataArray,
    placed: np.ndarray,
    remainder: np.ndarray,
    texts: list[str],
    dims: list,
    sample: str,
    position: str,
) -> xr.DataArray:
    width = placed.shape[-1]
    letters = np.array([list(t.upper().replace("U", "T").ljust(width)) for t in texts]).reshape(
        len(texts), width
    )
    kept = {c: v for c, v in a.coords.items() if not {"y", "x"} & set(v.dims)}
    coords = {
        **kept,
        position: (position, np.arange(1, width + 1), {"units": "nt", "long_name": position}),
        "letter": ((sample, position), letters),
        "remainder": (tuple(dims), remainder, {"long_name": "on k-mers that the sequence lacks"}),
    }
    found = xr.DataArray(placed, dims=(*dims, position), coords=coords, name=a.name, attrs=a.attrs)
    return found.transpose(*(d for d in a.dims if d not in ("y", "x")), position)
