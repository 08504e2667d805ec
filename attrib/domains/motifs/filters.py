"""Motifs of the filters of a first convolution: of the windows that activate them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from attrib._public import public
from attrib.domains.motifs.matrix import (
    EVEN,
    LETTERS,
    consensus,
    counted_motif,
    information_content,
    trimmed_motif,
)
from attrib.labels.frames import numbers


class FilterMotifs(NamedTuple):
    """Motifs of filters.

    Attributes
    ----------
    motifs : dict of str to DataArray
        By name: ``"filter_0"`` and so on. Filters without sites are left out.
    table : DataFrame
        A row per filter, with or without sites: `filter`, `maximum` (activation), `threshold`, `sites`, `information`
        (bits), `consensus`.
    """

    motifs: dict[str, xr.DataArray]
    table: pd.DataFrame


@public
def filter_motifs(
    activation: xr.DataArray,
    x: xr.DataArray,
    *,
    width: int,
    stride: int = 1,
    padding: int | None = None,
    dilation: int = 1,
    share: float = 0.5,
    top: int | None = None,
    pseudocount: float = 0.0,
    background: Sequence[float] = EVEN,
    bits: float = 0.0,
) -> FilterMotifs:
    """Motifs of a convolution's filters, from the windows of the input that activate them most.

    Parameters
    ----------
    activation : DataArray
        Of `attrib.layer_activation` at the convolution, or at the activation function after it: a sample dim,
        `filter`, and a dim of the windows.
    x : DataArray
        The sequences, one-hot: the same sample dim, `nucleotide`, `position`.
    width : int
        Number of positions of the kernel.
    stride : int, default 1
        Stride of the convolution.
    padding : int, optional
        Positions added in front of the sequence; default: half of what the two lengths require, for a stride of 1.
    dilation : int, default 1
        Dilation of the convolution.
    share : float, default 0.5
        A window is a site if its activation is at least this share of the filter's maximum over the data.
    top : int, optional
        If given, `share` is not used: the sites are the windows of this number of largest activations above 0, and those
        equal to the smallest of them.
    pseudocount, background
        As for `counted_motif`.
    bits : float, default 0
        As for `trimmed_motif`; 0 keeps the kernel's width.

    Returns
    -------
    FilterMotifs

    Raises
    ------
    ValueError
        For dims that do not fit, and a stride without `padding`.

    Notes
    -----
    Windows that reach beyond the sequence are left out, also for the maximum. N counts as none of the letters. A filter
    whose largest activation is not above 0 has no sites. For data larger than memory, call `filter_peaks` and
    `filter_counts` on parts of it, take the largest of all peaks, and add the counts.

    References
    ----------
    Alipanahi et al. (2015), doi:10.1038/nbt.3300 (half of the maximum). Minnoye et al. (2020),
    doi:10.1101/gr.260844.120 (the top 100).

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.domains.motifs import filter_motifs
    >>> letters = [[[1, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]]]  # AGTT
    >>> x = xr.DataArray(letters, dims=("sample", "nucleotide", "position"), coords={"nucleotide": list("ACGT")})
    >>> a = xr.DataArray([[[1.0, 3.0, 1.4]]], dims=("sample", "filter", "position"))
    >>> filter_motifs(a, x, width=2).table.consensus.tolist()
    ['GT']
    """
    peaks = filter_peaks(activation, x, width=width, stride=stride, padding=padding, dilation=dilation, top=top or 1)  # fmt: skip
    limits = thresholds(peaks, share=share, top=top)
    counts = filter_counts(activation, x, limits, width=width, stride=stride, padding=padding, dilation=dilation)  # fmt: skip
    return motifs_of_counts(counts, peaks, limits, pseudocount=pseudocount, background=background, bits=bits)


@public
def filter_peaks(
    activation: xr.DataArray,
    x: xr.DataArray,
    *,
    width: int,
    stride: int = 1,
    padding: int | None = None,
    dilation: int = 1,
    top: int = 1,
) -> np.ndarray:
    """The largest activations of each filter, over windows that lie on the sequence with all positions.

    Parameters
    ----------
    activation, x, width, stride, padding, dilation
        As for `filter_motifs`.
    top : int, default 1
        How many per filter.

    Returns
    -------
    array (filter, rank)
        In descending order; at most `top` ranks.

    Raises
    ------
    ValueError
        As `filter_motifs`.

    Examples
    --------
    >>> import xarray as xr
    >>> from attrib.domains.motifs import filter_peaks
    >>> from attrib.domains.sequences import one_hot
    >>> a = xr.DataArray([[[1.0, 3.0, 1.4]]], dims=("sample", "filter", "position"))
    >>> filter_peaks(a, one_hot("AGTT"), width=2, top=2).tolist()
    [[3.0, 1.4]]
    """
    a = windows_of(activation, x, width, stride, padding, dilation).activation
    flat = a.reshape(len(a), -1)
    ranks = min(top, flat.shape[1])
    return -np.sort(np.partition(-flat, ranks - 1, axis=1)[:, :ranks], axis=1) if ranks else flat


def thresholds(peaks: np.ndarray, *, share: float = 0.5, top: int | None = None) -> np.ndarray:
    """The activation from which a window is a site of each filter; infinite for a filter without activations above 0.

    Raises
    ------
    ValueError
        For a share outside (0, 1] and a `top` below 1.
    """
    if not 0 < share <= 1 or (top is not None and top < 1):
        raise ValueError(f"`share` is {share}, `top` {top}; expected a share in (0, 1], a top of at least 1")
    if not peaks.shape[1]:
        return np.full(len(peaks), np.inf)
    if top is None:
        return np.where(peaks[:, 0] > 0, share * peaks[:, 0], np.inf)
    above = np.where(peaks[:, :top] > 0, peaks[:, :top], np.inf)
    return above.min(1)


@public
def filter_counts(
    activation: xr.DataArray,
    x: xr.DataArray,
    limits: np.ndarray,
    *,
    width: int,
    stride: int = 1,
    padding: int | None = None,
    dilation: int = 1,
) -> xr.Dataset:
    """Count the letters of the windows whose activation reaches the filter's threshold.

    Parameters
    ----------
    activation, x
        As for `filter_motifs`.
    limits : array (filter,)
        The threshold of each filter.
    width, stride, padding, dilation
        As for `filter_motifs`.

    Returns
    -------
    Dataset
        `counts` (filter, nucleotide, position) and `sites` (filter). The sum over parts of the data is that of all.

    Raises
    ------
    ValueError
        As `filter_motifs`.

    Notes
    -----
    No window is copied: each position of the kernel takes one product of a (filter, windows) with a (windows, 4) matrix.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from attrib.domains.motifs import filter_counts
    >>> from attrib.domains.sequences import one_hot
    >>> a = xr.DataArray([[[1.0, 3.0, 1.4]]], dims=("sample", "filter", "position"))
    >>> filter_counts(a, one_hot("AGTT"), np.array([1.2]), width=2).counts.sel(nucleotide="T").values.tolist()
    [[1.0, 2.0]]
    """
    a, letters, start = windows_of(activation, x, width, stride, padding, dilation)
    least = numbers("limits", limits)
    if least.shape != a.shape[:1]:
        raise ValueError(f"`limits` has shape {least.shape}, expected {a.shape[:1]}, one for each filter")
    chosen = (a >= least[:, None, None]).reshape(len(a), -1).astype(np.float64)
    columns = [
        chosen @ letters[:, :, start + k * dilation].transpose(0, 2, 1).reshape(-1, 4) for k in range(width)
    ]
    coords = {"filter": np.arange(len(chosen)), "nucleotide": list(LETTERS), "position": np.arange(width)}
    return xr.Dataset(
        {
            "counts": (("filter", "nucleotide", "position"), np.stack(columns, 2)),
            "sites": ("filter", chosen.sum(1)),
        },
        coords=coords,
    )


def motifs_of_counts(
    counts: xr.Dataset,
    peaks: np.ndarray,
    limits: np.ndarray,
    *,
    pseudocount: float = 0.0,
    background: Sequence[float] = EVEN,
    bits: float = 0.0,
) -> FilterMotifs:
    """Motifs and their table, from counts, peaks and thresholds."""
    motifs: dict[str, xr.DataArray] = {}
    rows = []
    for k, sites in enumerate(counts.sites.values):
        highest = float(peaks[k, 0]) if peaks.shape[1] else float("nan")
        row = {"filter": k, "maximum": highest, "threshold": float(limits[k]), "sites": int(sites), "information": 0.0, "consensus": ""}  # fmt: skip
        if sites:
            motif = counted_motif(
                counts.counts.values[k], name=f"filter_{k}", pseudocount=pseudocount, background=background,
                sites=float(sites),
            )  # fmt: skip
            motif = motif if bits <= 0 else trimmed_motif(motif, bits=bits, background=background)
            motifs[f"filter_{k}"] = motif
            row["information"] = float(information_content(motif, background=background).sum())
            row["consensus"] = consensus(motif)
        rows.append(row)
    return FilterMotifs(motifs, pd.DataFrame(rows))


class Windows(NamedTuple):
    """Activations, and the letters of their sequences.

    Attributes
    ----------
    activation : array (filter, N, windows)
        Of the windows that lie on the sequence with all their positions.
    letters : array (N, 4, positions)
        Rows A, C, G, T.
    start : array (windows,)
        Each window's first position.
    """

    activation: np.ndarray
    letters: np.ndarray
    start: np.ndarray


def windows_of(
    activation: xr.DataArray, x: xr.DataArray, width: int, stride: int, padding: int | None, dilation: int
) -> Windows:
    """The windows of a convolution that lie on the sequence with all their positions.

    Parameters
    ----------
    activation, x, width, stride, padding, dilation
        As for `attrib.domains.motifs.filter_motifs`.

    Raises
    ------
    ValueError
        For dims that do not fit, and a stride without `padding`.
    """
    lead, axis = _dims(activation, x)
    count, size = x.sizes[lead], activation.sizes[axis]
    a = activation.transpose("filter", lead, axis, ...).values.reshape(-1, count, size)
    reach = (width - 1) * dilation
    start = np.arange(size) * stride - _padding(size, x.sizes["position"], reach, stride, padding)
    inside = (start >= 0) & (start + reach < x.sizes["position"])
    return Windows(a[:, :, inside], letters_of(x, lead), start[inside])


def _padding(windows: int, letters: int, reach: int, stride: int, padding: int | None) -> int:
    """Positions in front of the sequence; by default half of what the two lengths require."""
    if padding is not None:
        return padding
    if stride != 1:
        raise ValueError(f"`stride` is {stride}: pass `padding` too, which does not follow from the lengths")
    return (windows - letters + reach) // 2


def _dims(activation: xr.DataArray, x: xr.DataArray) -> tuple[Hashable, Hashable]:
    """The dim of the samples, and the dim of the windows: the remaining one with more than one entry."""
    leads = [d for d in x.dims if d not in ("nucleotide", "position")]
    others = [d for d in activation.dims if d not in (*leads, "filter")]
    axes = [d for d in others if activation.sizes[d] > 1] or others[-1:]
    fits = len(leads) == len(axes) == 1 and {"nucleotide", "position"} < set(x.dims)
    if not fits or activation.sizes.get(leads[0]) != x.sizes[leads[0]] or "filter" not in activation.dims:
        raise ValueError(
            f"`activation` has {dict(activation.sizes)}, `x` {dict(x.sizes)}; expected (sample, filter, position) and "
            "(sample, nucleotide, position) with the same samples"
        )
    refuse_other_labels(activation, x, leads, "activation")
    return leads[0], axes[0]


def letters_of(x: xr.DataArray, lead: Hashable) -> np.ndarray:
    """One-hot sequences as numbers (sample, letter, position), with the letters in the order A, C, G, T.

    Raises
    ------
    ValueError
        If the nucleotides are not A, C, G, T.
    """
    letters = [str(v) for v in x["nucleotide"].values] if "nucleotide" in x.coords else list(LETTERS)
    if sorted(letters) != sorted(LETTERS) or x.sizes["nucleotide"] != len(LETTERS):
        raise ValueError(f"`x` has {x.sizes['nucleotide']} nucleotides {letters}, expected A, C, G, T")
    ordered = x.transpose(lead, "nucleotide", "position").isel(nucleotide=[letters.index(c) for c in LETTERS])
    return ordered.values.astype(np.float64)


def refuse_other_labels(a: xr.DataArray, x: xr.DataArray, dims: Iterable[Hashable], name: str) -> None:
    """Raise a ValueError if both have labels along a dim and the labels or their order differ."""
    for d in dims:
        if d in a.indexes and d in x.indexes and not a.indexes[d].equals(x.indexes[d]):
            raise ValueError(
                f"`{name}` and `x` have other labels along {d!r}, or another order; select the same: "
                f"x.sel({d}={name}[{str(d)!r}])"
            )
