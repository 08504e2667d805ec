"""A motif, which is the probability of each letter at each position, and its information."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib._public import public
from attrib.labels.frames import numbers

LETTERS = ("A", "C", "G", "T")
EVEN = (0.25, 0.25, 0.25, 0.25)
TOLERANCE = 0.01  # of a column's sum, because databases round to a few digits


@public
def as_motif(
    probabilities: Any,
    *,
    name: str = "motif",
    sites: float | None = None,
    alternative: str = "",
    evalue: float | None = None,
) -> xr.DataArray:
    """A matrix of probabilities as a labelled motif.

    Parameters
    ----------
    probabilities : array-like (4, positions)
        Rows A, C, G, T, in any order where they are labelled; columns sum to 1.
    name : str, default "motif"
        Identifier, such as ``"MA0139.1"``.
    sites : float, optional
        Number of sites that were counted.
    alternative : str
        A second name, such as ``"CTCF"``.
    evalue : float, optional
        E-value of the search that gave the motif.

    Returns
    -------
    DataArray
        Dims `nucleotide` (A, C, G, T) and `position`; `sites`, `alternative` and `evalue` are in the attrs where they are given.

    Raises
    ------
    ValueError
        For another shape, numbers below 0, and columns that do not sum to 1.

    Examples
    --------
    >>> from attrib.domains.motifs import as_motif, consensus
    >>> consensus(as_motif([[1, 0], [0, 0], [0, 1], [0, 0]]))
    'AG'
    """
    p = _four_rows(probabilities, "probabilities", name)
    sums = p.sum(0)
    wrong = ~(np.abs(sums - 1) <= TOLERANCE) | (p < 0).any(0)
    if wrong.any():
        k = int(wrong.argmax())
        raise ValueError(
            f"`probabilities` of {name!r}: column {k} is {p[:, k].tolist()}, which sums to {sums[k]:.4g}, expected "
            "numbers from 0 with the sum 1; counts go to counted_motif"
        )
    facts = {"sites": sites, "alternative": alternative or None, "evalue": evalue}
    return xr.DataArray(
        p, dims=("nucleotide", "position"), name=name, attrs={k: v for k, v in facts.items() if v is not None},
        coords={"nucleotide": list(LETTERS), "position": np.arange(p.shape[1])},
    )  # fmt: skip


@public
def counted_motif(
    counts: Any,
    *,
    name: str = "motif",
    pseudocount: float = 0.0,
    background: Sequence[float] = EVEN,
    sites: float | None = None,
    alternative: str = "",
) -> xr.DataArray:
    r"""The motif of counted letters.

    .. math:: p_{ck} = \frac{n_{ck} + \lambda b_c}{\sum_c n_{ck} + \lambda}

    Parameters
    ----------
    counts : array-like (4, positions)
        Rows A, C, G, T, in any order where they are labelled.
    name : str, default "motif"
        Identifier, as for `as_motif`.
    pseudocount : float, default 0
        Lambda: the counts that are added to each column, in the proportions of the background.
    background : sequence of 4 floats, default a quarter each
        Probabilities of A, C, G, T where there is no motif.
    sites : float, optional
        Number of sites; default: the largest sum of a column.
    alternative : str
        A second name, as for `as_motif`.

    Returns
    -------
    DataArray
        As `as_motif` returns it. A column without counts is the background.

    Raises
    ------
    ValueError
        For numbers below 0, and a background that is not a distribution.

    Examples
    --------
    >>> from attrib.domains.motifs import counted_motif
    >>> counted_motif([[3], [1], [0], [0]], pseudocount=4).values.ravel().tolist()
    [0.5, 0.25, 0.125, 0.125]
    """
    n, b = _four_rows(counts, "counts", name), background_of(background)
    if not ((n >= 0) & np.isfinite(n)).all() or pseudocount < 0:
        raise ValueError(f"`counts` of {name!r} or `pseudocount` ({pseudocount}) are below 0, or no numbers")
    total = n.sum(0)
    full = n + pseudocount * b[:, None]
    p = np.divide(full, full.sum(0), out=np.repeat(b[:, None], n.shape[1], 1), where=full.sum(0) > 0)
    return as_motif(
        p, name=name, sites=float(total.max()) if sites is None else sites, alternative=alternative
    )


@public
def consensus(motif: xr.DataArray) -> str:
    """The most probable letter of each position; among equals the first of A, C, G, T.

    Parameters
    ----------
    motif : DataArray
        Dims `nucleotide`, `position`.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        For other dims or letters.

    Examples
    --------
    >>> from attrib.domains.motifs import as_motif, consensus
    >>> consensus(as_motif([[0.7, 0.1], [0.1, 0.1], [0.1, 0.7], [0.1, 0.1]]))
    'AG'
    """
    return "".join(LETTERS[k] for k in matrix_of(motif).argmax(0))


@public
def flipped_motif(motif: xr.DataArray) -> xr.DataArray:
    """The motif on the other strand: positions reversed, A and T, C and G exchanged.

    Parameters
    ----------
    motif : DataArray
        Dims `nucleotide`, `position`.

    Returns
    -------
    DataArray
        With the same name and attrs.

    Raises
    ------
    ValueError
        For other dims or letters.

    Examples
    --------
    >>> from attrib.domains.motifs import as_motif, consensus, flipped_motif
    >>> consensus(flipped_motif(as_motif([[1, 0], [0, 0], [0, 1], [0, 0]])))
    'CT'
    """
    values = matrix_of(motif)[::-1, ::-1]  # A, C, G, T, so that it is the other strand
    return motif.transpose("nucleotide", "position").sel(nucleotide=list(LETTERS)).copy(data=values)


@public
def information_content(motif: xr.DataArray, *, background: Sequence[float] = EVEN) -> xr.DataArray:
    r"""Relative entropy of each position against the background.

    .. math:: I_k = \sum_c p_{ck} \log_2 \frac{p_{ck}}{b_c}

    Parameters
    ----------
    motif : DataArray
        Dims `nucleotide`, `position`.
    background : sequence of 4 floats, default a quarter each
        Probabilities of A, C, G, T where there is no motif.

    Returns
    -------
    DataArray
        Along `position`, in bits: from 0 to 2 with an even background.

    Raises
    ------
    ValueError
        For other dims or letters, and a background that is not a distribution.

    References
    ----------
    Schneider et al. (1986), doi:10.1016/0022-2836(86)90165-8.

    Examples
    --------
    >>> from attrib.domains.motifs import as_motif, information_content
    >>> information_content(as_motif([[1, 0.5], [0, 0.5], [0, 0], [0, 0]])).values.tolist()
    [2.0, 1.0]
    """
    p = matrix_of(motif)
    b = background_of(background)[:, None]
    bits = (p * np.log2(np.where(p > 0, p, 1) / np.where(p > 0, b, 1))).sum(0)
    attrs = {"units": "bit", "long_name": "information content"}
    return xr.DataArray(bits, dims="position", coords={"position": motif.position.values}, attrs=attrs)


@public
def trimmed_motif(
    motif: xr.DataArray, *, bits: float = 0.25, background: Sequence[float] = EVEN
) -> xr.DataArray:
    """The motif without the positions of little information at its ends.

    Parameters
    ----------
    motif : DataArray
        Dims `nucleotide`, `position`.
    bits : float, default 0.25
        Positions are cut off from both ends, up to the first with at least this information.
    background : sequence of 4 floats, default a quarter each
        For the information content.

    Returns
    -------
    DataArray
        The positions keep their labels. If none has `bits`, the position of most information remains.

    Raises
    ------
    ValueError
        As `information_content`.

    Examples
    --------
    >>> from attrib.domains.motifs import as_motif, trimmed_motif
    >>> flat = [0.25] * 4
    >>> trimmed_motif(as_motif([[*c] for c in zip(flat, [1, 0, 0, 0], [0, 1, 0, 0], flat)])).position.values.tolist()
    [1, 2]
    """
    content = information_content(motif, background=background).values
    informative = np.flatnonzero(content >= bits)
    first, last = (informative[0], informative[-1]) if len(informative) else (content.argmax(),) * 2
    return motif.isel(position=slice(int(first), int(last) + 1))


def _four_rows(values: Any, argument: str, name: str) -> np.ndarray:
    """Numbers (4, positions), in the order A, C, G, T where they have labels of letters."""
    if isinstance(values, xr.DataArray) and "nucleotide" in values.indexes:
        values = matrix_of(values, argument)
    rows = numbers(argument, _by_letter(values), "numbers (4, positions): rows A, C, G, T")
    if rows.ndim != 2 or rows.shape[0] != 4 or rows.shape[1] < 1:
        raise ValueError(
            f"`{argument}` of {name!r} has shape {rows.shape}, expected (4, positions): rows A, C, G, T"
        )
    return rows


def _by_letter(values: Any) -> Any:
    """Rows of a table in the order A, C, G, T where they are called so."""
    index = getattr(values, "index", None)
    letters = isinstance(index, pd.Index) and sorted(map(str, index)) == list(LETTERS)
    return values.loc[list(LETTERS)] if letters else values


def background_of(background: Sequence[float]) -> np.ndarray:
    """The background as an array.

    Raises
    ------
    ValueError
        If it is not a distribution of four letters.
    """
    b = numbers("background", _by_letter(background))
    if b.shape != (4,) or not (b > 0).all() or abs(b.sum() - 1) > TOLERANCE:
        raise ValueError(
            f"`background` is {background}, expected 4 numbers above 0 with the sum 1: A, C, G, T"
        )
    return b / b.sum()


def matrix_of(motif: xr.DataArray, name: str = "motif") -> np.ndarray:
    """The numbers (4, positions), rows A, C, G, T.

    Raises
    ------
    ValueError
        For other dims or letters.
    """
    if set(motif.dims) != {"nucleotide", "position"} or set(map(str, motif.nucleotide.values)) != set(
        LETTERS
    ):
        raise ValueError(
            f"`{name}` has dims {motif.dims}, expected nucleotide (A, C, G, T) and position; see as_motif"
        )
    rows = motif.transpose("nucleotide", "position").sel(nucleotide=list(LETTERS)).values.astype(float)
    if not np.isfinite(rows).all():
        raise ValueError(f"`{name}` has NaN or infinite entries, expected probabilities")
    return rows
