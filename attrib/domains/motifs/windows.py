"""The windows of a convolution: where each lies on its sequence."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

import numpy as np
import xarray as xr

from attrib.domains.motifs.samples import letters_of, refuse_other_labels


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
