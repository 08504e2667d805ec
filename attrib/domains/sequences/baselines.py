"""Baselines of sequences: zeros, even letters, shuffles that keep letters or pairs of them, and random sequences."""

from __future__ import annotations

import hashlib
import itertools
import warnings
from collections.abc import Callable

import numpy as np
import xarray as xr

from attrib._arguments import whole_seed
from attrib._public import public
from attrib.domains.sequences.encoding import (
    NUCLEOTIDES,
    UNKNOWN,
    one_hot,
    one_hot_columns,
    sequence_codes,
    with_nucleotides_of,
)
from attrib.labels.frames import numbers


@public
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

    Raises
    ------
    ValueError
        If `x` is not one-hot.

    Examples
    --------
    >>> from attrib.domains.sequences import one_hot, zeros
    >>> float(zeros(one_hot("ACGT")).sum())
    0.0
    """
    sequence_codes(x)
    return x.copy(data=np.zeros_like(x.values)).rename("baseline")


@public
def uniform(x: xr.DataArray) -> xr.DataArray:
    """Baseline of even letters: a quarter of each.

    Parameters
    ----------
    x : DataArray
        One-hot sequences, dims nucleotide and position and any others.

    Returns
    -------
    DataArray
        Like `x`, in floats; zeros where it is padded.

    Raises
    ------
    ValueError
        If `x` is not one-hot.

    Examples
    --------
    >>> from attrib.domains.sequences import one_hot, uniform
    >>> uniform(one_hot(["AC", "A"]))[1].values.tolist()
    [[0.25, 0.0], [0.25, 0.0], [0.25, 0.0], [0.25, 0.0]]
    """
    sequence_codes(x)
    dtype = np.result_type(x.dtype, np.float16)  # a quarter is no whole number
    values = np.full(x.shape, 1 / len(NUCLEOTIDES), dtype=dtype)
    return x.copy(data=values).where(x.coords.get("mask", True), 0).astype(dtype).rename("baseline")


@public
def shuffle(x: xr.DataArray, *, n: int = 20, seed: int = 0) -> xr.DataArray:
    """Baselines of the same letters in random order.

    Parameters
    ----------
    x : DataArray
        One-hot sequences, dims nucleotide and position and any others.
    n : int, default 20
        Number of baselines per sequence.
    seed : int, default 0
        A sequence's draws depend on the seed and on its letters alone.

    Returns
    -------
    DataArray
        Dims of `x` with `baseline` before nucleotide and position: a distribution for each sample, as `deep_lift_shap` and
        `gradient_shap` take it. N and padding keep their positions.

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


@public
def dinucleotide_shuffle(x: xr.DataArray, *, n: int = 20, seed: int = 0) -> xr.DataArray:
    """Baselines in random order with exactly the same pairs of neighbouring letters.

    Parameters
    ----------
    x : DataArray
        One-hot sequences, dims nucleotide and position and any others.
    n : int, default 20
        Number of baselines per sequence.
    seed : int, default 0
        A sequence's draws depend on the seed and on its letters alone.

    Returns
    -------
    DataArray
        Dims of `x` with `baseline` before nucleotide and position: a distribution for each sample, as `deep_lift_shap` and
        `gradient_shap` take it. First and last letter, N and padding keep their positions. Each stretch between Ns is
        shuffled by itself.

    Raises
    ------
    ValueError
        If `x` is not one-hot, or `n` is below 1.

    Notes
    -----
    Every sequence with these pairs and these ends is equally likely. A short or repetitive sequence has few of them, or
    only itself. Of one letter there is no other: a warning tells it.

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
    drawn = _drawn(x, n, seed, Pairs)
    sequences = sequence_codes(x)
    kinds = [set(row[row < UNKNOWN].tolist()) for row in sequences.codes]
    alone = [k for k, row in enumerate(sequences.codes) if len(kinds[k]) == 1 and (row < UNKNOWN).sum() > 1]
    if alone:
        warnings.warn(
            f"`x`: {len(alone)} of {len(kinds)} sequences are of one letter only (the first is number {alone[0]}), so they have no other "
            "order: they are their own baselines, and what is compared with these is 0; use `uniform` or random_sequences",
            stacklevel=2,
        )
    return drawn


class Letters:
    """All orders of a sequence's letters A, C, G, T; N keeps its position.

    Parameters
    ----------
    codes : array (positions,)
        0 to 3, and 4 for N.
    """

    def __init__(self, codes: np.ndarray) -> None:
        self.codes, self._letters = codes, np.flatnonzero(codes < UNKNOWN)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """One of them, each with equal probability."""
        shuffled = self.codes.copy()
        shuffled[self._letters] = rng.permutation(self.codes[self._letters])
        return shuffled


class Pairs:
    """All sequences with the same pairs of neighbours, the same first and the same last letter; N keeps its position.

    Each stretch between Ns is shuffled by itself, so that pairs with N remain too.

    Parameters
    ----------
    codes : array (positions,)
        0 to 3, and 4 for N.
    """

    def __init__(self, codes: np.ndarray) -> None:
        self.codes = codes
        edges = np.flatnonzero(np.diff(np.r_[True, codes >= UNKNOWN, True].astype(np.int8)))
        stretches = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
        self._walks = [(a, b, _Walks(codes[a:b])) for a, b in stretches if b - a > 3]

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """One of them, each with equal probability."""
        shuffled = self.codes.copy()
        for a, b, walks in self._walks:
            shuffled[a:b] = walks.draw(rng)
        return shuffled


class _Walks:
    """Walks that use every pair of neighbours once, from the first letter to the last.

    The last exits from the letters form a tree towards the last letter. Every tree, with any order of the other exits,
    gives a walk (Altschul and Erickson 1985, doi:10.1093/oxfordjournals.molbev.a040370). With four letters there are at
    most 27 trees. So they are listed, and one is drawn with a probability in proportion to the ways to choose its
    exits. No draw is rejected.
    """

    def __init__(self, codes: np.ndarray) -> None:
        self._first, self._last, self._size = int(codes[0]), int(codes[-1]), len(codes)
        exits = [np.sort(codes[1:][codes[:-1] == letter]) for letter in range(UNKNOWN)]
        counts = np.array([np.bincount(e, minlength=UNKNOWN) for e in exits], float)
        self._trees = _trees(counts, self._last)
        ways = np.array([np.prod([counts[edge] for edge in tree.items()]) for tree in self._trees])
        self._odds = np.cumsum(ways / ways.sum())
        self._exits = exits

    def draw(self, rng: np.random.Generator) -> list[int]:
        tree = self._trees[min(int(np.searchsorted(self._odds, rng.random(), "right")), len(self._trees) - 1)]
        order = [iter(_ordered(e, tree.get(k), rng)) for k, e in enumerate(self._exits)]
        letter, walk = self._first, [self._first]
        for _ in range(self._size - 1):
            letter = next(order[letter])
            walk.append(letter)
        return walk


def _ordered(exits: np.ndarray, last: int | None, rng: np.random.Generator) -> list[int]:
    """The exits in random order, one of the letter `last` at the end."""
    if last is None:
        return rng.permutation(exits).tolist()
    free = np.delete(exits, np.searchsorted(exits, last))
    return [*rng.permutation(free).tolist(), last]


def _trees(counts: np.ndarray, root: int) -> list[dict[int, int]]:
    """Every choice of a last exit for each letter but the root, by which all of them reach the root."""
    inner = [k for k in range(UNKNOWN) if k != root and counts[k].any()]
    choices = [[j for j in range(UNKNOWN) if j != k and counts[k, j]] for k in inner]
    trees = [dict(zip(inner, choice, strict=True)) for choice in itertools.product(*choices)]
    return [tree for tree in trees if all(_reaches(tree, k, root) for k in inner)]


def _reaches(tree: dict[int, int], start: int, root: int) -> bool:
    at = start
    for _ in range(UNKNOWN):
        at = tree.get(at, at)
    return at == root


Orders = Callable[[np.ndarray], Letters | Pairs]


def _drawn(x: xr.DataArray, n: int, seed: int, orders: Orders) -> xr.DataArray:
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"`n` is {n!r}, expected an int of at least 1")
    sequences = sequence_codes(x)
    drawn = np.repeat(sequences.codes[:, None], n, 1)
    for draws, codes, mask in zip(drawn, sequences.codes, sequences.mask, strict=True):
        letters = codes[mask]
        order = orders(letters)
        for number, row in enumerate(draws):
            row[mask] = order.draw(generator(letters, seed, number))
    return with_nucleotides_of(x, _labelled(sequences.x, drawn, n))


def _labelled(x: xr.DataArray, codes: np.ndarray, n: int) -> xr.DataArray:
    leads = x.dims[:-2]
    values = one_hot_columns(codes.reshape(*(x.sizes[d] for d in leads), n, -1), x.dtype)
    dims = (*leads, "baseline", "nucleotide", "position")
    return xr.DataArray(values, dims=dims, coords=x.coords, name="baseline")


@public
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
        Number of sequences.
    length : int
        Letters per sequence.
    frequencies : tuple of float, default a quarter each
        Probabilities of A, C, G and T.
    seed : int, default 0
        Seed of the draws. A larger set begins with the sequences of a smaller one.

    Returns
    -------
    DataArray
        As `one_hot` returns it.

    Raises
    ------
    ValueError
        If `n` or `length` is below 1, or the frequencies are not four that add up to 1.

    Examples
    --------
    >>> random_sequences(8, 100).sizes
    Frozen({'sample': 8, 'nucleotide': 4, 'position': 100})
    """
    if n < 1:
        raise ValueError(f"`n` is {n}, expected at least 1")
    odds = numbers("frequencies", frequencies)
    if odds.shape != (4,) or not (odds >= 0).all() or not np.isclose(odds.sum(), 1):
        raise ValueError(f"`frequencies` is {frequencies}, expected four of at least 0 that add up to 1")
    steps = np.cumsum(odds)[:-1]
    draws = np.random.default_rng(whole_seed(seed)).random((n, length))
    return one_hot(["".join(np.array(list(NUCLEOTIDES))[np.searchsorted(steps, d, "right")]) for d in draws])


def generator(codes: np.ndarray, seed: int, draw: int) -> np.random.Generator:
    """Random numbers that depend on a sequence's letters, the seed, and the number of the draw alone."""
    key = hashlib.blake2b(codes.tobytes(), digest_size=16, key=f"{whole_seed(seed)}/{draw}".encode())
    return np.random.Generator(np.random.PCG64(int.from_bytes(key.digest(), "little")))
