"""One-hot arrays as numbers of letters, whatever the order of their dims and nucleotides, and back."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from attrib.domains.sequences.encoding import letter_codes
from attrib.domains.sequences.letters import NUCLEOTIDES, UNKNOWN

AXES = ("nucleotide", "position")


class Lines(NamedTuple):
    """Sequences, a line each.

    Attributes
    ----------
    x : DataArray
        The array, its dims nucleotide and position last, and its nucleotides in the order A, C, G, T.
    codes : array (lines, positions)
        0 to 3 for A, C, G, T; 4 for N and where padded.
    mask : array (lines, positions)
        False where padded.
    """

    x: xr.DataArray
    codes: np.ndarray
    mask: np.ndarray


def lines(x: xr.DataArray, name: str = "x") -> Lines:
    """Take a one-hot array apart.

    Raises
    ------
    TypeError, ValueError
        If it is no DataArray of one-hot columns (or zeros) with the dims nucleotide (A, C, G, T) and position.
    """
    if not isinstance(x, xr.DataArray):
        raise TypeError(f"`{name}` is a {type(x).__name__}, expected a DataArray such as one_hot gives")
    if not {*AXES} <= set(x.dims):
        raise ValueError(f"`{name}` has the dims {x.dims}, expected nucleotide and position among them")
    letters = [str(v) for v in x["nucleotide"].values]
    if sorted(letters) != sorted(NUCLEOTIDES):
        raise ValueError(f"`{name}` has the nucleotides {letters}, expected A, C, G and T")
    rest = [d for d in x.dims if d not in AXES]
    x = x.isel(nucleotide=[letters.index(v) for v in NUCLEOTIDES]).transpose(*rest, *AXES)
    codes = letter_codes(x, name)
    mask = x.coords.get("mask", xr.DataArray(True)).broadcast_like(x.isel(nucleotide=0, drop=True))
    wide = mask.transpose(*rest, "position").values
    return Lines(x, codes.reshape(-1, codes.shape[-1]), wide.reshape(-1, codes.shape[-1]))


def columns(codes: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """One-hot columns (..., 4, positions) of codes (..., positions); N is zeros."""
    return (codes[..., None, :] == np.arange(UNKNOWN, dtype=codes.dtype)[:, None]).astype(dtype)


def like(x: xr.DataArray, found: xr.DataArray) -> xr.DataArray:
    """A result of `lines(x).x`'s layout with its nucleotides in the order of `x`."""
    return found.sel(nucleotide=x["nucleotide"].values)
