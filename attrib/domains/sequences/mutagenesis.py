"""Saturation mutagenesis: every letter at every position of a window, by plain predictions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from attrib.domains.sequences.alphabet import NUCLEOTIDES
from attrib.domains.sequences.evaluation import Function, Rows, Subject, attributed


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
    wanted = _wanted(subject, window)
    outputs = subject.outputs(_rows(subject, wanted), subject.count + len(wanted))
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


def _wanted(subject: Subject, window: np.ndarray) -> np.ndarray:
    """Sample, letter and position of each edit: all letters but the sequence's own, without padding."""
    other = subject.codes[:, None, window] != np.arange(len(NUCLEOTIDES))[:, None]
    wanted = np.argwhere(other & subject.mask[:, None, window])
    return wanted + np.array([0, 0, window[0]])


def _rows(subject: Subject, wanted: np.ndarray) -> Iterator[Rows]:
    """The sequences as they are, then the edits, a few thousand at a time."""
    yield np.arange(subject.count), subject.codes
    for part in np.array_split(wanted, -(-len(wanted) // 4096)) if len(wanted) else ():
        samples, letters, positions = part.T
        edited = subject.codes[samples]
        edited[np.arange(len(part)), positions] = letters
        yield samples, edited
