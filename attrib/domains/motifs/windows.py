"""Sequences beside arrays computed from them: letters as numbers, and the window of each activation of a convolution."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import NamedTuple

import numpy as np
import xarray as xr

from attrib.domains.motifs.matrix import LETTERS


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
