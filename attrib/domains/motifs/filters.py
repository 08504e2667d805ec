"""What the filters of a first convolution look for: the motif of the windows that activate them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from attrib.domains.motifs.matrix import (
    EVEN,
    LETTERS,
    consensus,
    counted_motif,
    information_content,
    trimmed_motif,
)
from attrib.domains.motifs.windows import windows_of


class FilterMotifs(NamedTuple):
    """Motifs of filters.

    Attributes
    ----------
    motifs : dict of str to DataArray
        ``"filter_0"`` and so on; filters without sites are left out.
    table : DataFrame
        A row per filter, also of those without: `filter`, `maximum` (activation), `threshold`, `sites`, `information`
        (bits), `consensus`.
    """

    motifs: dict[str, xr.DataArray]
    table: pd.DataFrame


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
    """Motifs of a convolution's filters, from the windows of the input that activate them.

    Parameters
    ----------
    activation : DataArray
        Of `attrib.layer_activation` at the convolution, or at the activation function after it: a sample dim,
        `filter`, and the places of the windows.
    x : DataArray
        The sequences, one-hot: the same sample dim, `nucleotide`, `position`.
    width : int
        Positions of the kernel.
    stride, dilation : int, default 1
        Of the convolution.
    padding : int, optional
        Positions added in front of the sequence; default: half of what the two lengths say, for a stride of 1.
    share : float, default 0.5
        Windows count whose activation is at least this share of the filter's maximum over the data.
    top : int, optional
        Instead: the windows of the so many largest activations above 0 (with their equals).
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
    Windows that reach beyond the sequence are left out, for the maximum too. Letters N count for no letter. A filter
    whose largest activation is not above 0 has no sites. For data larger than memory, `filter_peaks` and
    `filter_counts` work on parts: peaks are merged by taking the largest again, counts by adding them.

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
    """The largest activations of each filter over whole windows.

    Parameters
    ----------
    activation, x, width, stride, padding, dilation
        As for `filter_motifs`.
    top : int, default 1
        How many.

    Returns
    -------
    array (filter, rank)
        In descending order; at most `top` ranks.
    """
    a = windows_of(activation, x, width, stride, padding, dilation).activation
    flat = a.reshape(len(a), -1)
    kept = min(top, flat.shape[1])
    return -np.sort(np.partition(-flat, kept - 1, axis=1)[:, :kept], axis=1) if kept else flat


def thresholds(peaks: np.ndarray, *, share: float = 0.5, top: int | None = None) -> np.ndarray:
    """The activation from which a filter's windows count; infinite where none is above 0.

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
    """Letters in the windows whose activation reaches each filter's threshold.

    Parameters
    ----------
    activation, x, width, stride, padding, dilation
        As for `filter_motifs`.
    limits : array (filter,)
        Thresholds.

    Returns
    -------
    Dataset
        `counts` (filter, nucleotide, position) and `sites` (filter). Those of parts of the data may be added.

    Notes
    -----
    No window is cut out: each position of the kernel is one product of a (filter, windows) and a (windows, 4) matrix.
    """
    a, letters, start = windows_of(activation, x, width, stride, padding, dilation)
    chosen = (a >= limits[:, None, None]).reshape(len(a), -1).astype(np.float64)
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
    """Motifs and table of counts, peaks and thresholds."""
    motifs: dict[str, xr.DataArray] = {}
    rows = []
    for k, sites in enumerate(counts.sites.values):
        highest = float(peaks[k, 0]) if peaks.shape[1] else float("nan")
        row = {"filter": k, "maximum": highest, "threshold": float(limits[k]), "sites": int(sites), "information": 0.0, "consensus": ""}  # fmt: skip
        if sites:
            made = counted_motif(
                counts.counts.values[k], name=f"filter_{k}", pseudocount=pseudocount, background=background,
                sites=float(sites),
            )  # fmt: skip
            made = made if bits <= 0 else trimmed_motif(made, bits=bits, background=background)
            motifs[f"filter_{k}"] = made
            row["information"] = float(information_content(made, background=background).sum())
            row["consensus"] = consensus(made)
        rows.append(row)
    return FilterMotifs(motifs, pd.DataFrame(rows))
