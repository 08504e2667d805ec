"""How much a motif says at each position, and the motif without what says little."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from attrib.domains.motifs.matrix import EVEN, background_of, matrix_of


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


def trimmed_motif(
    motif: xr.DataArray, *, bits: float = 0.25, background: Sequence[float] = EVEN
) -> xr.DataArray:
    """The motif without the positions at its ends that say little.

    Parameters
    ----------
    motif : DataArray
        Dims `nucleotide`, `position`.
    bits : float, default 0.25
        Positions from both ends are cut off up to the first with as much information.
    background : sequence of 4 floats, default a quarter each
        For the information content.

    Returns
    -------
    DataArray
        With the positions' labels as they were; the position of most information where none has `bits`.

    Examples
    --------
    >>> from attrib.domains.motifs import as_motif, trimmed_motif
    >>> flat = [0.25] * 4
    >>> trimmed_motif(as_motif([[*c] for c in zip(flat, [1, 0, 0, 0], [0, 1, 0, 0], flat)])).position.values.tolist()
    [1, 2]
    """
    content = information_content(motif, background=background).values
    kept = np.flatnonzero(content >= bits)
    first, last = (kept[0], kept[-1]) if len(kept) else (content.argmax(),) * 2
    return motif.isel(position=slice(int(first), int(last) + 1))
