"""Sequences and what was computed of them, side by side."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import numpy as np
import xarray as xr

from attrib.domains.motifs.matrix import LETTERS


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
