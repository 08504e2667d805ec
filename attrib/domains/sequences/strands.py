"""The other strand."""

from __future__ import annotations

from typing import overload

import numpy as np
import xarray as xr

from attrib.domains.sequences.letters import NUCLEOTIDES, other_strand

_STRANDS = {"+": "-", "-": "+"}


@overload
def reverse_complement(x: str) -> str: ...
@overload
def reverse_complement(x: xr.DataArray) -> xr.DataArray: ...
def reverse_complement(x: str | xr.DataArray) -> str | xr.DataArray:
    """Sequences, or attributions of sequences, as read on the other strand.

    Parameters
    ----------
    x : str or DataArray
        A text; or an array with the dims nucleotide and position, of one-hot columns or any numbers.

    Returns
    -------
    str or DataArray
        As given. Of an array the nucleotides keep their order, and what stood at A stands at T. Positions come in reverse
        order with their labels, and so does every coord along them (`mask`, `locus`): a label is the same base as before.
        A coord `strand` is turned. Twice is the identity.

    Raises
    ------
    ValueError
        If the dims are not there, or the nucleotides are not A, C, G and T.

    Examples
    --------
    >>> reverse_complement("AACN")
    'NGTT'
    >>> from attrib.domains.sequences import decode, one_hot
    >>> turned = reverse_complement(one_hot("AACG"))
    >>> decode(turned).item(), turned.position.values.tolist()
    ('CGTT', [3, 2, 1, 0])
    """
    if isinstance(x, str):
        return other_strand(x)
    missing = {"nucleotide", "position"} - set(x.dims)
    if missing:
        raise ValueError(f"`x` has the dims {x.dims}, expected nucleotide and position among them")
    letters = [str(v) for v in x["nucleotide"].values]
    if sorted(letters) != sorted(NUCLEOTIDES):
        raise ValueError(f"`x` has the nucleotides {letters}, expected A, C, G and T")
    partners = [letters.index(other_strand(v)) for v in letters]
    turned = x.isel(nucleotide=partners, position=slice(None, None, -1))
    turned = turned.assign_coords(nucleotide=x["nucleotide"])
    if "strand" in x.coords:
        strand = x.coords["strand"]
        other = np.array([_STRANDS.get(str(s), str(s)) for s in strand.values.ravel()]).reshape(strand.shape)
        turned = turned.assign_coords(strand=(strand.dims, other))
    return turned
