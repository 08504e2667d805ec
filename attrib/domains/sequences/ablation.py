"""Stretches of sequences taken out."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from attrib.domains.sequences.arrays import columns, lines
from attrib.domains.sequences.baselines import shuffle
from attrib.domains.sequences.evaluation import Function, Subject, compared
from attrib.domains.sequences.insertion import refuse_outside
from attrib.domains.sequences.letters import NUCLEOTIDES, UNKNOWN

Replacement = Callable[..., xr.DataArray]


def ablate(
    f: Function,
    x: xr.DataArray,
    start: ArrayLike,
    end: ArrayLike,
    *,
    n: int = 20,
    replacement: Replacement = shuffle,
    seed: int = 0,
    batch_size: int = 1024,
    progress: bool = False,
) -> xr.Dataset:
    """What a stretch of a sequence is needed for: replaced by shuffles of itself, before and after.

    ``difference[repeat, n] = f(x_n with the stretch shuffled) - f(x_n)``

    Parameters
    ----------
    f : callable
        From a DataArray like `x` to predictions or attributions; see `marginalize`.
    x : DataArray
        One-hot sequences, dims sample, nucleotide, position.
    start, end : int or array of int
        Positions from 0, the end not included; one for all samples or one for each.
    n : int, default 20
        Repeats.
    replacement : callable, default `shuffle`
        A function of the stretches (a one-hot DataArray), `n` and `seed` that gives as many one-hot ones along a dim
        `baseline`; `dinucleotide_shuffle` is another.
    seed : int, default 0
        Seed of the shuffles.
    batch_size : int, default 1024
        Sequences per call of `f`.
    progress : bool, default False
        True shows a bar.

    Returns
    -------
    Dataset
        `before` (sample, ...), `after` and `difference` (repeat, sample, ...), and the coords `ablated_from` and
        `ablated_to`.

    Raises
    ------
    ValueError
        If a stretch does not lie inside of its sequence, `x` is not one-hot, or `f` does not give an output for each
        sequence.

    Notes
    -----
    (1 + n) x samples evaluations of `f`. A stretch of a few letters often comes out of a shuffle as it was, or nearly:
    compare with the mean over many repeats, and look at their spread.

    Examples
    --------
    >>> from attrib.domains.sequences import one_hot
    >>> first_is_g = lambda x: x.sel(nucleotide="G", position=0)
    >>> found = ablate(first_is_g, one_hot("GAAAAA"), 0, 4, n=400)
    >>> abs(float(found.difference.mean()) + 3 / 4) < 0.1
    True
    """
    subject = Subject(f, x, batch_size, progress)
    starts, ends = (_per_sample(v, subject.count, name) for v, name in ((start, "start"), (end, "end")))
    if (starts >= ends).any():
        raise ValueError("`end` is not above `start` for every sample; the end is not included")
    refuse_outside(starts, ends - starts, subject.mask, "the stretch")
    shuffled = _replaced(subject, starts, ends, n, replacement, seed)
    total = (1 + n) * subject.count
    outputs = subject.outputs(subject.all_of(chain([subject.codes], shuffled)), total)
    values = outputs.values.reshape(1 + n, subject.count, *outputs.values.shape[1:])
    before = subject.dressed(values[0], {}, outputs)
    found = compared(before, subject.dressed(values[1:], {"repeat": np.arange(n)}, outputs), "ablate")
    return found.assign_coords(ablated_from=(subject.sample, starts), ablated_to=(subject.sample, ends))


def _per_sample(values: ArrayLike, count: int, name: str) -> np.ndarray:
    found = np.asarray(values)
    if found.dtype.kind not in "iu" or found.shape not in ((), (count,)):
        raise ValueError(
            f"`{name}` is {values!r}, expected an int, or one for each of the {count} samples, counted from 0"
        )
    return np.broadcast_to(found, (count,)).astype(int)


def _replaced(
    subject: Subject, starts: np.ndarray, ends: np.ndarray, n: int, replacement: Replacement, seed: int
) -> np.ndarray:
    """Codes (n, samples, positions) with the stretches replaced."""
    wide = int((ends - starts).max())
    inside = np.arange(wide) < (ends - starts)[:, None]
    places = np.where(inside, starts[:, None] + np.arange(wide), 0)
    own = np.where(inside, np.take_along_axis(subject.codes, places, 1), UNKNOWN).astype(np.uint8)
    coords = {"nucleotide": list(NUCLEOTIDES), "mask": (("sample", "position"), inside)}
    stretches = xr.DataArray(
        columns(own, subject.x.dtype), dims=("sample", "nucleotide", "position"), coords=coords
    )
    drawn = replacement(stretches, n=n, seed=seed)
    expected = {"sample": subject.count, "baseline": n, "nucleotide": 4, "position": wide}
    if dict(drawn.sizes) != expected:
        raise ValueError(f"`replacement` returned dims {dict(drawn.sizes)}, expected {expected}")
    letters = lines(drawn.transpose("baseline", "sample", "nucleotide", "position"), "replacement").codes
    found = np.repeat(subject.codes[None], n, 0)
    rows, at = np.nonzero(inside)
    found[:, rows, starts[rows] + at] = letters.reshape(n, subject.count, wide)[:, rows, at]
    return found
