"""Saturation mutagenesis, every letter at every position of a window, and directed evolution, the best of them again and again."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import NamedTuple

import numpy as np
import xarray as xr

from attrib._arguments import refuse_unnamed
from attrib._public import public
from attrib.domains.sequences.edits import Function, Outputs, Rows, Subject, attributed
from attrib.domains.sequences.encoding import NUCLEOTIDES

LETTERS = np.array([*NUCLEOTIDES, "N"])  # of the codes


@public
def saturation(
    f: Function,
    x: xr.DataArray,
    start: int = 0,
    end: int | None = None,
    *,
    batch_size: int = 1024,
    progress: bool = False,
) -> xr.DataArray:
    """Saturation mutagenesis of a window: the effect of each letter at each position on each output.

    ``effect[n, letter, position] = f(x_n with that letter there) - f(x_n)``

    Parameters
    ----------
    f : callable
        From a DataArray like `x` to predictions: a DataArray with its sample dim, or an array, samples first.
    x : DataArray
        One-hot sequences, dims sample, nucleotide, position.
    start, end : int, optional
        Positions from 0, the end not included, negative ones from the end; default: all.
    batch_size : int, default 1024
        Sequences per call of `f`.
    progress : bool, default False
        True shows a bar.

    Returns
    -------
    DataArray
        Called `effect`: dims sample, nucleotide, position, and those of the outputs; 0 at the sequence's letter, NaN
        where padded.

    Raises
    ------
    ValueError
        If the window is empty, `x` is not one-hot, or `f` returns attributions, or not an output for each sequence.

    Notes
    -----
    1 + 3 x positions evaluations of `f` per sample. For a score of a PyTorch model `attrib.in_silico_mutagenesis`
    returns the same, often many times faster. This function takes anything that predicts, and returns all of its outputs.

    Examples
    --------
    >>> from attrib.domains.sequences import one_hot
    >>> count_of_g = lambda x: x.sel(nucleotide="G").sum("position")
    >>> saturation(count_of_g, one_hot("AGA"), 1, 3).values[0].tolist()
    [[-1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]
    """
    subject = Subject(f, x, batch_size, progress)
    window = np.arange(x.sizes["position"])[start:end]
    if not len(window):
        raise ValueError(f"`start` {start} and `end` {end} leave nothing of {x.sizes['position']} positions")
    wanted = _wanted(subject.codes, subject.mask, window)
    rows = _rows(subject.codes, np.arange(subject.count), wanted)
    outputs = subject.outputs(rows, subject.count + len(wanted))
    if attributed(outputs):
        raise ValueError("`f` gives attributions, expected predictions; for attributions see variant_effect")
    values = outputs.values
    before, after = values[: subject.count], values[subject.count :]
    effect = np.zeros((subject.count, len(NUCLEOTIDES), len(window), *values.shape[1:]), values.dtype)
    effect[~np.repeat(subject.mask[:, None, window], len(NUCLEOTIDES), 1)] = np.nan
    samples, letters, positions = wanted.T
    effect[samples, letters, positions - window[0]] = after - before[samples]
    dims = (subject.sample, "nucleotide", "position", *outputs.dims)
    coords = {**x.isel(position=window).sel(nucleotide=list(NUCLEOTIDES)).coords, **outputs.coords}
    labelled = xr.DataArray(effect, dims=dims, coords=coords, name="effect")
    return labelled.sel(nucleotide=x["nucleotide"].values).transpose(*x.dims, ...)


@public
def evolve(
    f: Function,
    x: xr.DataArray,
    *,
    rounds: int = 10,
    target: Hashable | None = None,
    batch_size: int = 1024,
    progress: bool = False,
) -> xr.Dataset:
    """Directed evolution: in each round every sequence gets the one mutation that raises the output most.

    ``x_n <- argmax_edit f(edit(x_n))``, over all single letters, as long as the output rises.

    Parameters
    ----------
    f : callable
        From a DataArray like `x` to predictions; see `saturation`.
    x : DataArray
        One-hot sequences, dims sample, nucleotide, position: such as shuffles, or `random_sequences`.
    rounds : int, default 10
        Mutations of each sequence, at most.
    target : hashable, optional
        The output's label, if there are several along a dim.
    batch_size : int, default 1024
        Sequences per call of `f`.
    progress : bool, default False
        True shows a bar in each round.

    Returns
    -------
    Dataset
        `score` (round, sample) from round 0, the beginning, on; `sequence` (round, sample), its letters; `position`, its place
        counted from 0 whatever labels `x` has (-1 for no mutation), `before` and `after` (round, sample), what was changed in that round.

    Raises
    ------
    ValueError
        If `rounds` is below 1, `f` gives several outputs and no `target` is named, or none is called so, and as `saturation`.

    Notes
    -----
    At most rounds x (1 + 3 x positions) evaluations of `f` per sample. A greedy search: pairs of mutations that help only together are
    not found. Padding stays as it is. Edits whose output is NaN are left out.

    References
    ----------
    Vaishnav et al. (2022), doi:10.1038/s41586-022-04506-6; Taskiran et al. (2024), doi:10.1038/s41586-023-06936-2.

    Examples
    --------
    >>> from attrib.domains.sequences import one_hot
    >>> count_of_g = lambda x: x.sel(nucleotide="G").sum("position")
    >>> grown = evolve(count_of_g, one_hot(["AAA", "GGA"]), rounds=2)
    >>> grown.score.values.tolist()
    [[0.0, 2.0], [1.0, 3.0], [2.0, 3.0]]
    >>> grown.sequence.values[-1].tolist()
    ['GGA', 'GGG']
    """
    if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1:
        raise ValueError(f"`rounds` is {rounds!r}, expected at least 1")
    subject = Subject(f, x, batch_size, progress)
    everywhere = np.arange(x.sizes["position"])
    history: list[_Round] = []
    codes, growing = subject.codes, np.arange(subject.count)
    for _ in range(rounds):
        edits = _wanted(codes[growing], subject.mask[growing], everywhere)
        edits[:, 0] = growing[edits[:, 0]]
        outputs = subject.outputs(_rows(codes, growing, edits), len(growing) + len(edits))
        before, after = np.split(_of_target(outputs, target), [len(growing)])
        history = history or [_unchanged(before, codes)]
        history.append(_with_best_edits(history[-1], edits, after))
        codes, growing = history[-1].codes, np.flatnonzero(history[-1].position >= 0)
        if not len(growing):
            break
    return _table_of(history, x, subject)


class _Round(NamedTuple):
    """All sequences after a round: `score`, `codes` (samples, positions), and what was changed in it (-1 and "" for nothing)."""

    score: np.ndarray
    codes: np.ndarray
    position: np.ndarray
    before: np.ndarray
    after: np.ndarray


def _unchanged(score: np.ndarray, codes: np.ndarray) -> _Round:
    """A round without mutations."""
    before, after = np.full((2, len(score)), "", "<U1")
    return _Round(score.copy(), codes.copy(), np.full(len(score), -1), before, after)


def _with_best_edits(latest: _Round, edits: np.ndarray, scores: np.ndarray) -> _Round:
    """The round after the latest: each sequence with the edit that raises its score most, if any does. NaN raises nothing."""
    grown = _unchanged(latest.score, latest.codes)
    comparable = np.where(np.isnan(scores), -np.inf, scores)
    for sample in np.unique(edits[:, 0]):
        rows = np.flatnonzero(edits[:, 0] == sample)
        best = rows[comparable[rows].argmax()]
        if comparable[best] > latest.score[sample]:
            letter, place = edits[best, 1:]
            grown.position[sample] = place
            grown.before[sample] = LETTERS[latest.codes[sample, place]]
            grown.after[sample] = LETTERS[letter]
            grown.codes[sample, place], grown.score[sample] = letter, scores[best]
    return grown


def _table_of(history: list[_Round], x: xr.DataArray, subject: Subject) -> xr.Dataset:
    """The rounds as labelled arrays (round, sample), the codes as texts without padding."""
    texts = [
        ["".join(LETTERS[row[inside]]) for row, inside in zip(r.codes, subject.mask, strict=True)]
        for r in history
    ]
    fields = {
        name: np.stack([getattr(r, name) for r in history])
        for name in ("score", "position", "before", "after")
    }
    dims = ("round", subject.sample)
    coords = {k: c for k, c in x.coords.items() if c.dims == (subject.sample,)}
    return xr.Dataset(
        {name: (dims, values) for name, values in {"sequence": np.array(texts), **fields}.items()},
        coords={**coords, "round": np.arange(len(history))},
    )


def _of_target(outputs: Outputs, target: Hashable | None) -> np.ndarray:
    """One output of each row."""
    if attributed(outputs):
        raise ValueError("`f` gives attributions, expected predictions; for attributions see variant_effect")
    if not outputs.dims:
        return outputs.values
    several = xr.DataArray(outputs.values, dims=("row", *outputs.dims), coords=outputs.coords)
    if target is None and outputs.values[0].size == 1:
        return outputs.values.reshape(len(outputs.values))
    if target is None or len(outputs.dims) > 1:
        raise ValueError(f"`f` gives {several[0].size} outputs, expected one; name one as `target`")
    refuse_unnamed("target", [target], several.get_index(outputs.dims[0]))
    return several.sel({outputs.dims[0]: target}).values


def _wanted(codes: np.ndarray, mask: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Sample, letter and position of each edit: all letters but the sequence's own, without padding."""
    other = codes[:, None, window] != np.arange(len(NUCLEOTIDES))[:, None]
    wanted = np.argwhere(other & mask[:, None, window])
    return wanted + np.array([0, 0, window[0]])


def _rows(codes: np.ndarray, samples: np.ndarray, wanted: np.ndarray) -> Iterator[Rows]:
    """Some sequences as they are, then the edits, a few thousand at a time."""
    yield samples, codes[samples]
    for part in np.array_split(wanted, -(-len(wanted) // 4096)) if len(wanted) else ():
        samples, letters, positions = part.T
        edited = codes[samples]
        edited[np.arange(len(part)), positions] = letters
        yield samples, edited
