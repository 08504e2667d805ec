"""Experiments on sequences: motifs put into backgrounds, by themselves and at a distance, and stretches replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from attrib._arguments import shown
from attrib._public import public
from attrib.domains.sequences.baselines import shuffle
from attrib.domains.sequences.edits import (
    Function,
    Motifs,
    Subject,
    compared,
    middle,
    motif_codes,
    named_motifs,
    put,
    refuse_outside,
)
from attrib.domains.sequences.encoding import NUCLEOTIDES, UNKNOWN, one_hot_columns, sequence_codes

Replacement = Callable[..., xr.DataArray]


@public
def marginalize(
    f: Function,
    x: xr.DataArray,
    motifs: Motifs,
    *,
    at: int | None = None,
    batch_size: int = 1024,
    progress: bool = False,
) -> xr.Dataset:
    """Effect of a motif by itself: the output with the motif put into backgrounds, minus the output without.

    ``difference[motif, n] = f(x_n with the motif) - f(x_n)``

    Parameters
    ----------
    f : callable
        From a DataArray like `x` to predictions or attributions: a DataArray with its sample dim, or an array, samples
        first. `functools.partial(attrib.predict, model)`, or a method, `functools.partial(attrib.deep_lift, model)`.
    x : DataArray
        Backgrounds, one-hot, dims sample, nucleotide, position: shuffles of real sequences, or `random_sequences`.
    motifs : str, sequence of str, or mapping of str
        Letters, by name in a mapping. N keeps the background's letter.
    at : int, optional
        Position of the first letter, from 0; default: the motif lies in the middle.
    batch_size : int, default 1024
        Sequences per call of `f`.
    progress : bool, default False
        True shows a bar.

    Returns
    -------
    Dataset
        `before` (sample, ...), `after` and `difference` (motif, sample, ...), and the coord `at` (motif, sample). The
        mean of `difference` over the samples is the motif's marginal effect.

    Raises
    ------
    ValueError
        If a motif has other letters or does not fit, `x` is not one-hot, or `f` does not return an output for each sequence.

    Notes
    -----
    (1 + motifs) x samples evaluations of `f`.

    Examples
    --------
    >>> from attrib.domains.sequences import one_hot
    >>> x = one_hot(["AAAAAA", "TTTTTT"])
    >>> count_of_g = lambda x: x.sel(nucleotide="G").sum("position")
    >>> marginalize(count_of_g, x, {"box": "GCG", "none": "AA"}).difference.values.tolist()
    [[2.0, 2.0], [0.0, 0.0]]
    """
    subject, named = Subject(f, x, batch_size, progress), named_motifs(motifs)
    starts = {name: _starts(subject, len(m), at, f"the motif {name!r}") for name, m in named.items()}
    edits = (put(subject.codes, m, starts[name]) for name, m in named.items())
    total = (1 + len(named)) * subject.count
    outputs = subject.outputs(subject.all_of(chain([subject.codes], edits)), total)
    values = outputs.values.reshape(1 + len(named), subject.count, *outputs.values.shape[1:])
    before = subject.with_coords(values[0], {}, outputs)
    after = subject.with_coords(values[1:], {"motif": np.array(list(named))}, outputs)
    effects = compared(before, after, "marginalize")
    return effects.assign_coords(at=(("motif", subject.sample), np.array(list(starts.values()))))


@public
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
    """Effect of a stretch of a sequence: the output with the stretch replaced by shuffles of itself, minus the output before.

    ``difference[repeat, n] = f(x_n with the stretch shuffled) - f(x_n)``

    Parameters
    ----------
    f : callable
        From a DataArray like `x` to predictions or attributions; see `marginalize`.
    x : DataArray
        One-hot sequences, dims sample, nucleotide, position.
    start, end : int or array of int
        Positions from 0, the end not included: one for all samples, or one for each.
    n : int, default 20
        Number of repeats.
    replacement : callable, default `shuffle`
        A function of the stretches (a one-hot DataArray), `n` and `seed`. It returns `n` one-hot replacements along a dim
        `baseline`, as `dinucleotide_shuffle` does too.
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
        If a stretch does not lie inside of its sequence, `x` is not one-hot, or `f` does not return an output for each
        sequence.

    Notes
    -----
    (1 + n) x samples evaluations of `f`. A shuffle often changes little in a stretch of a few letters. So take the mean
    over many repeats, and look at their spread.

    Examples
    --------
    >>> from attrib.domains.sequences import one_hot
    >>> first_is_g = lambda x: x.sel(nucleotide="G", position=0)
    >>> effects = ablate(first_is_g, one_hot("GAAAAA"), 0, 4, n=400)
    >>> abs(float(effects.difference.mean()) + 3 / 4) < 0.1
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
    before = subject.with_coords(values[0], {}, outputs)
    after = subject.with_coords(values[1:], {"repeat": np.arange(n)}, outputs)
    return compared(before, after, "ablate").assign_coords(
        ablated_from=(subject.sample, starts), ablated_to=(subject.sample, ends)
    )


@public
def space(
    f: Function,
    x: xr.DataArray,
    first: str,
    second: str,
    *,
    distances: Sequence[int],
    at: int | None = None,
    batch_size: int = 1024,
    progress: bool = False,
) -> xr.Dataset:
    """Effect of the distance between two motifs: their interaction at each distance.

    ``interaction[d, n] = f(x_n with both, d apart) - f(x_n with the first) - f(x_n with the second) + f(x_n)``

    Parameters
    ----------
    f : callable
        From a DataArray like `x` to predictions or attributions; see `marginalize`.
    x : DataArray
        Backgrounds, one-hot, dims sample, nucleotide, position.
    first, second : str
        Letters of the motifs; N keeps the background's letter. For the other strand pass `reverse_complement(motif)`.
    distances : sequence of int
        Letters between the end of the first and the beginning of the second, at least 0. For the other order swap the two.
    at : int, optional
        Position of the first motif, from 0, for all distances; default: the pair lies in the middle at the largest
        distance.
    batch_size : int, default 1024
        Sequences per call of `f`.
    progress : bool, default False
        True shows a bar.

    Returns
    -------
    Dataset
        `before` and `first` (sample, ...), `second`, `after`, `difference` (after minus before) and `interaction`
        (distance, sample, ...): the effect of both motifs minus the sum of the effects of each at the same positions.

    Raises
    ------
    ValueError
        If a motif has other letters, the pair does not fit, a distance is negative, `x` is not one-hot, or `f` does not
        return an output for each sequence.

    Notes
    -----
    (2 + 2 distances) x samples evaluations of `f`.

    Examples
    --------
    >>> from attrib.domains.sequences import one_hot
    >>> def both(x):  # a G, and a C two letters further
    ...     return (x.sel(nucleotide="G").values[:, :-2] * x.sel(nucleotide="C").values[:, 2:]).sum(1)
    >>> space(both, one_hot("AAAAAAAA"), "G", "C", distances=[0, 1, 2]).interaction.values.ravel().tolist()
    [0.0, 1.0, 0.0]
    """
    subject = Subject(f, x, batch_size, progress)
    first_codes, second_codes = motif_codes(first, "first"), motif_codes(second, "second")
    gaps = [int(d) for d in distances]
    if not gaps or min(gaps) < 0:
        raise ValueError(f"`distances` is {list(distances)}, expected some of at least 0")
    width = len(first_codes) + max(gaps) + len(second_codes)
    starts = _starts(subject, width, at, f"the pair at distance {max(gaps)}")
    first_put = put(subject.codes, first_codes, starts)
    second_starts = [starts + len(first_codes) + d for d in gaps]
    edits = chain(
        [subject.codes, first_put],
        (put(subject.codes, second_codes, p) for p in second_starts),
        (put(first_put, second_codes, p) for p in second_starts),
    )
    outputs = subject.outputs(subject.all_of(edits), 2 * (1 + len(gaps)) * subject.count)
    values = outputs.values.reshape(2 * (1 + len(gaps)), subject.count, *outputs.values.shape[1:])
    lead = {"distance": np.array(gaps)}
    before, with_first = (subject.with_coords(v, {}, outputs) for v in values[:2])
    with_second = subject.with_coords(values[2 : 2 + len(gaps)], lead, outputs)
    with_both = subject.with_coords(values[2 + len(gaps) :], lead, outputs)
    interaction = with_both - with_first - with_second + before
    effects = compared(before, with_both, "space")
    return effects.assign(first=with_first, second=with_second, interaction=interaction)


def _starts(subject: Subject, width: int, at: int | None, name: str) -> np.ndarray:
    """The position in each sequence at which a stretch of `width` begins."""
    starts = middle(subject.mask, width) if at is None else np.full(subject.count, at)
    refuse_outside(starts, width, subject.mask, name)
    return starts


def _per_sample(values: ArrayLike, count: int, name: str) -> np.ndarray:
    positions = np.asarray(values)
    if positions.dtype.kind not in "iu" or positions.shape not in ((), (count,)):
        raise ValueError(
            f"`{name}` is {values!r}, expected an int, or one for each of the {count} samples, counted from 0"
        )
    return np.broadcast_to(positions, (count,)).astype(int)


def _replaced(
    subject: Subject, starts: np.ndarray, ends: np.ndarray, n: int, replacement: Replacement, seed: int
) -> np.ndarray:
    """Codes (n, samples, positions) with the stretches replaced."""
    width = int((ends - starts).max())
    inside = np.arange(width) < (ends - starts)[:, None]
    positions = np.where(inside, starts[:, None] + np.arange(width), 0)
    cut = np.where(inside, np.take_along_axis(subject.codes, positions, 1), UNKNOWN).astype(np.uint8)
    coords = {"nucleotide": list(NUCLEOTIDES), "mask": (("sample", "position"), inside)}
    stretches = xr.DataArray(
        one_hot_columns(cut, subject.x.dtype), dims=("sample", "nucleotide", "position"), coords=coords
    )
    if not callable(replacement):
        raise TypeError(f"`replacement` is {shown(replacement)}, expected a function such as shuffle")
    drawn = replacement(stretches, n=n, seed=seed)
    expected = {"sample": subject.count, "baseline": n, "nucleotide": 4, "position": width}
    if dict(drawn.sizes) != expected:
        raise ValueError(f"`replacement` returned dims {dict(drawn.sizes)}, expected {expected}")
    letters = sequence_codes(
        drawn.transpose("baseline", "sample", "nucleotide", "position"), "replacement"
    ).codes
    replaced = np.repeat(subject.codes[None], n, 0)
    rows, at = np.nonzero(inside)
    replaced[:, rows, starts[rows] + at] = letters.reshape(n, subject.count, width)[:, rows, at]
    return replaced
