"""What sequences are compared with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from attrib.domains.sequences.alphabet import NUCLEOTIDES
from attrib.domains.sequences.encoding import columns, like, lines
from attrib.domains.sequences.shuffling import Letters, Pairs, generator


def zeros(x: xr.DataArray) -> xr.DataArray:
    """Baseline of zeros: no letter anywhere.

    Parameters
    ----------
    x : DataArray
        One-hot sequences, dims nucleotide and position and any others.

    Returns
    -------
    DataArray
        Like `x`.
    """
    lines(x)
    return x.copy(data=np.zeros_like(x.values)).rename("baseline")


def uniform(x: xr.DataArray) -> xr.DataArray:
    """Baseline of all letters alike: a quarter of each.

    Parameters
    ----------
    x : DataArray
        One-hot sequences, dims nucleotide and position and any others.

    Returns
    -------
    DataArray
        Like `x`; zeros where it is padded.
    """
    lines(x)
    values = np.full_like(x.values, 1 / len(NUCLEOTIDES))
    return x.copy(data=values).where(x.coords.get("mask", True), 0).astype(x.dtype).rename("baseline")


def shuffle(x: xr.DataArray, *, n: int = 20, seed: int = 0) -> xr.DataArray:
    """Baselines of the same letters in random order.

    Parameters
    ----------
    x : DataArray
        One-hot sequences, dims nucleotide and position and any others.
    n : int, default 20
        Baselines per sequence.
    seed : int, default 0
        Seed. A sequence's draws depend on it and on its own letters alone.

    Returns
    -------
    DataArray
        Dims of `x` with `baseline` before nucleotide and position: a distribution for each sample, as `deep_lift_shap` and
        `gradient_shap` take it. N and padding stay where they are.

    Raises
    ------
    ValueError
        If `x` is not one-hot, or `n` is below 1.

    Examples
    --------
    >>> from attrib.domains.sequences import decode, one_hot
    >>> drawn = decode(shuffle(one_hot("AACGNT"), n=3))
    >>> drawn.dims, [(text[4], sorted(text)) for text in drawn.values[0]][0]
    (('sample', 'baseline'), ('N', ['A', 'A', 'C', 'G', 'N', 'T']))
    """
    return _drawn(x, n, seed, Letters)


def dinucleotide_shuffle(x: xr.DataArray, *, n: int = 20, seed: int = 0) -> xr.DataArray:
    """Baselines with exactly the same pairs of neighbouring letters in random order.

    Parameters
    ----------
    x : DataArray
        One-hot sequences, dims nucleotide and position and any others.
    n : int, default 20
        Baselines per sequence.
    seed : int, default 0
        Seed. A sequence's draws depend on it and on its own letters alone.

    Returns
    -------
    DataArray
        Dims of `x` with `baseline` before nucleotide and position: a distribution for each sample, as `deep_lift_shap` and
        `gradient_shap` take it. First and last letter, N and padding stay where they are; stretches between Ns are
        shuffled each by itself.

    Raises
    ------
    ValueError
        If `x` is not one-hot, or `n` is below 1.

    Notes
    -----
    Every sequence with these pairs and these ends is equally likely. A short or repetitive sequence has few, or only
    itself.

    References
    ----------
    Altschul, Erickson (1985), Significance of nucleotide sequence alignments: a method for random sequence permutation
    that preserves dinucleotide and codon usage. doi:10.1093/oxfordjournals.molbev.a040370

    Examples
    --------
    >>> from attrib.domains.sequences import decode, one_hot
    >>> drawn = decode(dinucleotide_shuffle(one_hot("ACCAGGA"), n=20))
    >>> sorted(set(drawn.values[0].tolist()))
    ['ACCAGGA', 'AGGACCA']
    """
    return _drawn(x, n, seed, Pairs)


Orders = Callable[[np.ndarray], Letters | Pairs]


def _drawn(x: xr.DataArray, n: int, seed: int, orders: Orders) -> xr.DataArray:
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"`n` is {n!r}, expected an int of at least 1")
    given = lines(x)
    found = np.repeat(given.codes[:, None], n, 1)
    for line, codes, mask in zip(found, given.codes, given.mask, strict=True):
        own = codes[mask]
        order = orders(own)
        for draw, row in enumerate(line):
            row[mask] = order.draw(generator(own, seed, draw))
    return like(x, _labelled(given.x, found, n))


def _labelled(x: xr.DataArray, codes: np.ndarray, n: int) -> xr.DataArray:
    rest = x.dims[:-2]
    values = columns(codes.reshape(*(x.sizes[d] for d in rest), n, -1), x.dtype)
    dims = (*rest, "baseline", "nucleotide", "position")
    return xr.DataArray(values, dims=dims, coords=x.coords, name="baseline")


def random_sequences(
    n: int,
    length: int,
    *,
    frequencies: tuple[float, float, float, float] = (0.25, 0.25, 0.25, 0.25),
    seed: int = 0,
) -> xr.DataArray:
    """Random sequences, as backgrounds for experiments.

    Parameters
    ----------
    n : int
        Sequences.
    length : int
        Letters in each.
    frequencies : tuple of float, default a quarter each
        Of A, C, G and T.
    seed : int, default 0
        Seed; a longer set begins with a shorter one.

    Returns
    -------
    DataArray
        As `one_hot` gives it.

    Raises
    ------
    ValueError
        If there would be none, or the frequencies are not four that add up to 1.

    Examples
    --------
    >>> random_sequences(8, 100).sizes
    Frozen({'sample': 8, 'nucleotide': 4, 'position': 100})
    """
    from attrib.domains.sequences.encoding import one_hot

    if n < 1 or length < 1:
        raise ValueError(f"`n` and `length` are {n} and {length}, expected at least 1")
    if len(frequencies) != 4 or min(frequencies) < 0 or not np.isclose(sum(frequencies), 1):
        raise ValueError(f"`frequencies` is {frequencies}, expected four of at least 0 that add up to 1")
    steps = np.cumsum(frequencies)[:-1]
    draws = np.random.default_rng(abs(seed)).random((n, length))
    return one_hot(["".join(np.array(list(NUCLEOTIDES))[np.searchsorted(steps, d, "right")]) for d in draws])
