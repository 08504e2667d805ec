"""The windows of a convolution: where each lies on its sequence."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import xarray as xr

from attrib.domains.motifs.matrix import LETTERS


class Windows(NamedTuple):
    """Activations and the letters they are of.

    Attributes
    ----------
    activation : array (filter, N, whole windows)
        Of windows that lie on the sequence with all their positions.
    letters : array (N, 4, positions)
    start : array (whole windows,)
        Each window's first position.
    """

    activation: np.ndarray
    letters: np.ndarray
    start: np.ndarray


def windows_of(
    activation: xr.DataArray, x: xr.DataArray, width: int, stride: int, padding: int | None, dilation: int
) -> Windows:
    """The whole windows.

    Parameters
    ----------
    activation, x, width, stride, padding, dilation
        As for `attrib.domains.motifs.filter_motifs`.

    Raises
    ------
    ValueError
        For dims that do not fit, and a stride without `padding`.
    """
    lead, place = _dims(activation, x)
    count, size = x.sizes[lead], activation.sizes[place]
    a = activation.transpose("filter", lead, place, ...).values.reshape(-1, count, size)
    reach = (width - 1) * dilation
    start = np.arange(size) * stride - _padding(size, x.sizes["position"], reach, stride, padding)
    whole = (start >= 0) & (start + reach < x.sizes["position"])
    return Windows(a[:, :, whole], letters_of(x, lead), start[whole])


def _padding(windows: int, letters: int, reach: int, stride: int, padding: int | None) -> int:
    """Positions in front of the sequence: half of what the lengths say."""
    if padding is not None:
        return padding
    if stride != 1:
        raise ValueError(f"`stride` is {stride}: pass `padding` too, which the lengths do not settle")
    return (windows - letters + reach) // 2


def _dims(activation: xr.DataArray, x: xr.DataArray) -> tuple[Hashable, Hashable]:
    """The dim of the samples, and that of the windows: the one left that has more than one entry."""
    leads = [d for d in x.dims if d not in ("nucleotide", "position")]
    others = [d for d in activation.dims if d not in (*leads, "filter")]
    places = [d for d in others if activation.sizes[d] > 1] or others[-1:]
    fits = len(leads) == len(places) == 1 and {"nucleotide", "position"} < set(x.dims)
    if not fits or activation.sizes.get(leads[0]) != x.sizes[leads[0]] or "filter" not in activation.dims:
        raise ValueError(
            f"`activation` has {dict(activation.sizes)}, `x` {dict(x.sizes)}; expected (sample, filter, position) and "
            "(sample, nucleotide, position) with the same samples"
        )
    refuse_other_labels(activation, x, leads, "activation")
    return leads[0], places[0]


# FOLDED attrib/domains/motifs/windows.py: """Spans of a sequence: how much more of the attribution they have than chance would give them."""
class Spans(NamedTuple):
    """Every span of a sequence.

    Attributes
    ----------
    start, end : array (spans,)
        Half-open.
    z : array (spans,)
    """

    start: np.ndarray
    end: np.ndarray
    z: np.ndarray


def _z(sums: np.ndarray, length: int, size: int, mean: float, spread: float) -> np.ndarray:
    """Sums of spans in standard deviations; the whole sequence has none."""
    deviation = spread * np.sqrt(length * (size - length) / max(size - 1, 1))
    return (sums - length * mean) / deviation if deviation > 0 else np.zeros_like(sums)


def _by_length(
    v: np.ndarray, mean: float, spread: float, shortest: int, longest: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Each length, and z of the spans (..., starts)."""
    size = v.shape[-1]
    sums = np.concatenate([np.zeros((*v.shape[:-1], 1)), np.cumsum(v, -1)], -1)
    for length in range(shortest, min(longest, size) + 1):
        yield length, _z(sums[..., length:] - sums[..., :-length], length, size, mean, spread)


def largest(v: np.ndarray, mean: float, spread: float, shortest: int, longest: int) -> np.ndarray:
    """The largest |z| of each row."""
    return np.max([np.abs(z).max(-1) for _, z in _by_length(v, mean, spread, shortest, longest)], axis=0)


def every_span(v: np.ndarray, mean: float, spread: float, shortest: int, longest: int) -> Spans:
    """All spans of a sequence."""
    parts = [
        (np.arange(len(z)), np.arange(len(z)) + length, z)
        for length, z in _by_length(v, mean, spread, shortest, longest)
    ]
    return Spans(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def taken(spans: Spans) -> Iterator[tuple[int, int, float]]:
    """The strongest span, then the strongest of those that do not overlap it, and so on."""
    left = np.ones(len(spans.z), bool)
    strength = np.abs(spans.z)
    while left.any():
        best = int(np.where(left, strength, -1).argmax())
        start, end = int(spans.start[best]), int(spans.end[best])
        yield start, end, float(spans.z[best])
        left &= (spans.end <= start) | (spans.start >= end)


# FOLDED attrib/domains/motifs/windows.py: """Sequences and what was computed of them, side by side."""
def letters_of(x: xr.DataArray, lead: Hashable) -> np.ndarray:
    """One-hot sequences as numbers (sample, A C G T, position), whatever the order of their letters.

    Raises
    ------
    ValueError
        If the nucleotides are not A, C, G, T.
    """
    given = [str(v) for v in x["nucleotide"].values] if "nucleotide" in x.coords else list(LETTERS)
    if sorted(given) != sorted(LETTERS) or x.sizes["nucleotide"] != len(LETTERS):
        raise ValueError(f"`x` has {x.sizes['nucleotide']} nucleotides {given}, expected A, C, G, T")
    ordered = x.transpose(lead, "nucleotide", "position").isel(nucleotide=[given.index(c) for c in LETTERS])
    return ordered.values.astype(np.float64)


def refuse_other_labels(a: xr.DataArray, x: xr.DataArray, dims: Iterable[Hashable], name: str) -> None:
    """Raise a ValueError if the two have labels along a dim, and not the same ones in the same order."""
    for d in dims:
        if d in a.indexes and d in x.indexes and not a.indexes[d].equals(x.indexes[d]):
            raise ValueError(
                f"`{name}` and `x` have other labels along {d!r}, or another order; select the same: "
                f"x.sel({d}={name}[{str(d)!r}])"
            )
