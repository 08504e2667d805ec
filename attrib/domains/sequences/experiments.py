"""Motifs put into backgrounds: one by itself, and two at a distance."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import xarray as xr

from attrib.domains.sequences.edits import Motifs, middle, motif_codes, named_motifs, put, refuse_outside
from attrib.domains.sequences.evaluation import Function, Subject, compared


def marginalize(
    f: Function,
    x: xr.DataArray,
    motifs: Motifs,
    *,
    at: int | None = None,
    batch_size: int = 1024,
    progress: bool = False,
) -> xr.Dataset:
    """What a motif does by itself: put into backgrounds, before and after.

    ``difference[motif, n] = f(x_n with the motif) - f(x_n)``

    Parameters
    ----------
    f : callable
        From a DataArray like `x` to predictions or attributions: a DataArray with its sample dim, or an array, samples
        first. `functools.partial(attrib.predict, model)`, or a method, `functools.partial(attrib.deep_lift, model)`.
    x : DataArray
        Backgrounds, one-hot, dims sample, nucleotide, position: shuffles of real sequences, or `random_sequences`.
    motifs : str, sequence of str, or mapping of str
        Letters, by name in a mapping; N leaves the background's letter.
    at : int, optional
        The position (from 0) of the first letter; default: in the middle.
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
        If a motif has other letters or does not fit, `x` is not one-hot, or `f` does not give an output for each sequence.

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
    places = {name: _places(subject, len(m), at, f"the motif {name!r}") for name, m in named.items()}
    edits = (put(subject.codes, m, places[name]) for name, m in named.items())
    total = (1 + len(named)) * subject.count
    outputs = subject.outputs(subject.all_of(chain([subject.codes], edits)), total)
    values = outputs.values.reshape(1 + len(named), subject.count, *outputs.values.shape[1:])
    before = subject.dressed(values[0], {}, outputs)
    after = subject.dressed(values[1:], {"motif": np.array(list(named))}, outputs)
    found = compared(before, after, "marginalize")
    return found.assign_coords(at=(("motif", subject.sample), np.array(list(places.values()))))


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
    """What the distance between two motifs does.

    ``interaction[d, n] = f(x_n with both, d apart) - f(x_n with the first) - f(x_n with the second) + f(x_n)``

    Parameters
    ----------
    f : callable
        From a DataArray like `x` to predictions or attributions; see `marginalize`.
    x : DataArray
        Backgrounds, one-hot, dims sample, nucleotide, position.
    first, second : str
        Letters of the motifs; N leaves the background's. For the other strand pass `reverse_complement(motif)`.
    distances : sequence of int
        Letters between the end of the first and the begin of the second, at least 0. For the other order swap the two.
    at : int, optional
        Position (from 0) of the first motif, the same for all distances; default: so that the pair lies in the middle
        at the largest.
    batch_size : int, default 1024
        Sequences per call of `f`.
    progress : bool, default False
        True shows a bar.

    Returns
    -------
    Dataset
        `before` and `first` (sample, ...), `second`, `after`, `difference` (after minus before) and `interaction`
        (distance, sample, ...): what one motif does beyond the sum of both alone at the same places.

    Raises
    ------
    ValueError
        If a motif has other letters, the pair does not fit, a distance is negative, `x` is not one-hot, or `f` does not
        give an output for each sequence.

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
    one, two = motif_codes(first, "first"), motif_codes(second, "second")
    gaps = [int(d) for d in distances]
    if not gaps or min(gaps) < 0:
        raise ValueError(f"`distances` is {list(distances)}, expected some of at least 0")
    places = _places(subject, len(one) + max(gaps) + len(two), at, f"the pair at distance {max(gaps)}")
    alone = put(subject.codes, one, places)
    seconds = [places + len(one) + d for d in gaps]
    edits = chain(
        [subject.codes, alone],
        (put(subject.codes, two, p) for p in seconds),
        (put(alone, two, p) for p in seconds),
    )
    outputs = subject.outputs(subject.all_of(edits), 2 * (1 + len(gaps)) * subject.count)
    values = outputs.values.reshape(2 * (1 + len(gaps)), subject.count, *outputs.values.shape[1:])
    lead = {"distance": np.array(gaps)}
    before, with_first = (subject.dressed(v, {}, outputs) for v in values[:2])
    with_second = subject.dressed(values[2 : 2 + len(gaps)], lead, outputs)
    found = compared(before, subject.dressed(values[2 + len(gaps) :], lead, outputs), "space")
    interaction = found["after"] - with_first - with_second + before
    return found.assign(first=with_first, second=with_second, interaction=interaction)


def _places(subject: Subject, width: int, at: int | None, what: str) -> np.ndarray:
    """Where something begins in each sequence."""
    places = middle(subject.mask, width) if at is None else np.full(subject.count, at)
    refuse_outside(places, width, subject.mask, what)
    return places
