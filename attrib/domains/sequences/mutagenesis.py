"""Saturation mutagenesis, every letter at every position of a window, and directed evolution, the best of them again and again."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

import numpy as np
import xarray as xr

from attrib.domains.sequences.alphabet import NUCLEOTIDES
from attrib.domains.sequences.evaluation import Function, Outputs, Rows, Subject, attributed


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
        `score` (round, sample) from round 0, the beginning, on; `sequence` (round, sample), its letters; `position` (-1 for no
        mutation), `before` and `after` (round, sample), what was changed in that round.

    Raises
    ------
    ValueError
        If `rounds` is below 1, `f` gives several outputs and no `target` is named, and as `saturation`.

    Notes
    -----
    At most rounds x (1 + 3 x positions) evaluations of `f` per sample. A greedy search: pairs of mutations that help only together are
    not found. Padding stays as it is.

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
    everything = np.arange(x.sizes["position"])
    codes = subject.codes.copy()
    lines: dict[str, list[np.ndarray]] = {
        name: [] for name in ("score", "codes", "position", "before", "after")
    }
    alphabet = np.array([*NUCLEOTIDES, "N"])
    growing = np.arange(subject.count)
    for turn in range(rounds):
        wanted = _wanted(codes[growing], subject.mask[growing], everything)
        wanted[:, 0] = growing[wanted[:, 0]]
        outputs = subject.outputs(_rows(codes, growing, wanted), len(growing) + len(wanted))
        scores = _of_target(outputs, target)
        if not turn:
            score = scores[: len(growing)].copy()
            for name, first in (("score", score), ("codes", codes)):
                lines[name].append(first.copy())
            for name, nothing in (("position", -1), ("before", ""), ("after", "")):
                lines[name].append(np.full(subject.count, nothing))
        position, before, after = np.full(subject.count, -1), np.full(subject.count, "", "<U1"), np.full(subject.count, "", "<U1")  # fmt: skip
        for n in growing:
            mine = np.flatnonzero(wanted[:, 0] == n)
            best = mine[scores[len(growing) :][mine].argmax()] if len(mine) else -1
            if best < 0 or not scores[len(growing) + best] > score[n]:
                continue
            letter, place = wanted[best, 1:]
            position[n], before[n], after[n] = place, alphabet[codes[n, place]], alphabet[letter]
            codes[n, place], score[n] = letter, scores[len(growing) + best]
        growing = np.flatnonzero(position >= 0)
        for name, value in zip(lines, (score, codes, position, before, after), strict=True):
            lines[name].append(value.copy())
        if not len(growing):
            break
    spelled = [
        ["".join(alphabet[row[inside]]) for row, inside in zip(c, subject.mask, strict=True)]
        for c in lines.pop("codes")
    ]
    dims = ("round", subject.sample)
    coords = {k: c for k, c in x.coords.items() if c.dims == (subject.sample,)}
    values = {"sequence": np.array(spelled), **{n: np.stack(v) for n, v in lines.items()}}
    return xr.Dataset(
        {n: (dims, v) for n, v in values.items()}, coords={**coords, "round": np.arange(len(spelled))}
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
