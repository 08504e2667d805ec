"""Sequences as one-hot arrays with labels, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import DTypeLike

from attrib.domains.sequences.alphabet import NUCLEOTIDES, UNKNOWN, codes, fault

DIMS = ("sample", "nucleotide", "position")
PLACE = ("chrom", "start", "end")
_TAKEN = {*DIMS, "length", "mask", "locus", "target", "baseline", "prediction", "delta", "standard_error", "n_steps"}  # fmt: skip

Sequences: TypeAlias = str | Sequence[str] | Mapping[str, str] | pd.Series | pd.DataFrame


def one_hot(
    sequences: Sequences,
    *,
    length: int | None = None,
    pad: str = "right",
    dtype: DTypeLike = np.float32,
) -> xr.DataArray:
    """Sequences as a labelled one-hot array.

    Parameters
    ----------
    sequences : str, sequence of str, mapping of str, Series or DataFrame
        Texts of A, C, G, T, U (read as T) and N, in any case. Keys of a mapping and an index are the samples' names; a
        DataFrame, such as `read_fasta(...).sequences`, has the texts in its column `sequence`, and its other columns
        become coords of the samples.
    length : int, optional
        Positions; shorter sequences are padded with zeros. Default: those of the longest.
    pad : {"right", "left", "both"}, default "right"
        Where the zeros are; `"both"` leaves the sequence in the middle.
    dtype : dtype, default float32

    Returns
    -------
    DataArray
        Called `sequence`: dims sample, nucleotide (A, C, G, T), position (from 0); 1 at the letter, zeros for N and where
        padded. Coords: `length` of each sample; `mask` (sample, position), False where padded; for sequences with
        `chrom`, `start` and `end` (and `strand`) these, and `locus` (sample, position): each base's place on the
        chromosome, counted from 0, descending on the - strand, -1 where padded.

    Raises
    ------
    ValueError
        For no sequences, an empty one, other letters (with name and position, counted from 0), sequences longer than
        `length`, and columns whose names the result or an attribution needs.

    Examples
    --------
    >>> x = one_hot({"a": "ACGU", "b": "NA"})
    >>> x.sel(sample="a").values.astype(int)
    array([[1, 0, 0, 0],
           [0, 1, 0, 0],
           [0, 0, 1, 0],
           [0, 0, 0, 1]])
    >>> x.mask.sel(sample="b").values
    array([ True,  True, False, False])
    """
    table = _as_table(sequences)
    texts = table["sequence"].tolist()
    _refuse(texts, table.index)
    lengths = np.array([len(t) for t in texts])
    size = int(lengths.max()) if length is None else length
    _refuse_longer(table.index, lengths, size)
    begins = _begins(size - lengths, pad)
    letters = _padded(texts, begins, size)
    values = (letters[:, None] == np.arange(UNKNOWN, dtype=np.uint8)[:, None]).astype(dtype)
    places = np.arange(size) - begins[:, None]
    mask = (places >= 0) & (places < lengths[:, None])
    coords: dict[str, Any] = {
        "sample": _plain(table.index),
        "nucleotide": list(NUCLEOTIDES),
        "position": np.arange(size),
        "length": ("sample", lengths),
        "mask": (("sample", "position"), mask),
        **_sample_coords(table, lengths, places, mask),
    }
    return xr.DataArray(values, dims=DIMS, coords=coords, name="sequence")


def decode(x: xr.DataArray) -> xr.DataArray:
    """One-hot arrays as texts.

    Parameters
    ----------
    x : DataArray
        Dims nucleotide and position, and any others. Columns of zeros are read as N; positions outside the coord `mask`
        are left out.

    Returns
    -------
    DataArray
        Texts, over the other dims.

    Raises
    ------
    ValueError
        If a column is neither one-hot nor zeros.

    Examples
    --------
    >>> decode(one_hot(["acgu", "NA"])).values.tolist()
    ['ACGT', 'NA']
    """
    rest = [d for d in x.dims if d not in ("nucleotide", "position")]
    letters = letter_codes(x.transpose(*rest, "nucleotide", "position"))
    mask = (
        x.coords.get("mask", xr.DataArray(True))
        .broadcast_like(x.isel(nucleotide=0))
        .transpose(*rest, "position")
    )
    alphabet = np.frombuffer("".join([*map(str, x.nucleotide.values), "N"]).encode(), np.uint8)
    lines = zip(
        letters.reshape(-1, letters.shape[-1]), mask.values.reshape(-1, letters.shape[-1]), strict=True
    )
    texts = np.array([alphabet[line[kept]].tobytes().decode() for line, kept in lines], dtype=str)
    coords = {k: c for k, c in x.coords.items() if not {"nucleotide", "position"} & set(c.dims)}
    return xr.DataArray(texts.reshape([x.sizes[d] for d in rest]), dims=rest, coords=coords, name="sequence")


def letter_codes(x: xr.DataArray, name: str = "x") -> np.ndarray:
    """Number of the letter in each column (..., position), 4 where there is none.

    Parameters
    ----------
    x : DataArray
        Its last two dims are nucleotide and position.
    name : str
        What errors call it.

    Raises
    ------
    ValueError
        If a column is neither one-hot nor zeros.
    """
    values = x.values
    ones = values == 1
    count = ones.sum(-2)
    wrong = ((values != 0) & ~ones).any(-2) | (count > 1)
    if wrong.any():
        *_, at = np.argwhere(wrong)[0]
        raise ValueError(
            f"`{name}` is not one-hot at position {at}, nor at {wrong.sum() - 1} others; "
            "columns have one 1, or zeros for N"
        )
    return np.where(count == 0, UNKNOWN, ones.argmax(-2)).astype(np.uint8)


def _as_table(sequences: Sequences) -> pd.DataFrame:
    if isinstance(sequences, pd.DataFrame):
        if "sequence" not in sequences:
            raise ValueError(f"`sequences` has the columns {list(sequences)}, expected one called 'sequence'")
        table = sequences
    elif isinstance(sequences, pd.Series):
        table = sequences.to_frame("sequence")
    elif isinstance(sequences, Mapping):
        table = pd.DataFrame({"sequence": list(sequences.values())}, index=list(sequences))
    else:
        table = pd.DataFrame({"sequence": [sequences] if isinstance(sequences, str) else list(sequences)})
    if not len(table):
        raise ValueError("`sequences` is empty; pass at least one")
    return table


def _refuse(texts: list[Any], names: pd.Index) -> None:
    wrong = [
        f"{name!r}: {problem}"
        for name, text in zip(names, texts, strict=True)
        if (problem := fault(text) if isinstance(text, str) else f"it is a {type(text).__name__}, no text")
    ]
    if wrong:
        raise ValueError(
            f"`sequences` has {len(wrong)} of {len(texts)} that cannot be encoded: {_listed(wrong, '; ')}"
        )


def _refuse_longer(names: pd.Index, lengths: np.ndarray, size: int) -> None:
    if lengths.max() > size:
        long = [str(names[k]) for k in np.flatnonzero(lengths > size)]
        raise ValueError(
            f"`length` is {size}, but {_listed(long)} are longer, up to {lengths.max()}; cut them first"
        )


def _padded(texts: list[str], begins: np.ndarray, size: int) -> np.ndarray:
    """Codes of the letters (sequence, position)."""
    letters = np.full((len(texts), size), UNKNOWN, np.uint8)
    for row, text, begin in zip(letters, texts, begins, strict=True):
        row[begin : begin + len(text)] = codes(text)
    return letters


def _begins(spare: np.ndarray, pad: str) -> np.ndarray:
    """Where each sequence begins."""
    if pad not in ("right", "left", "both"):
        raise ValueError(f'`pad` is {pad!r}, expected "right", "left" or "both"')
    return {"right": spare * 0, "left": spare, "both": spare // 2}[pad]


def _sample_coords(
    table: pd.DataFrame, lengths: np.ndarray, places: np.ndarray, mask: np.ndarray
) -> dict[str, Any]:
    """The table's other columns, and the bases' places on the chromosome where it tells them."""
    taken = sorted(_TAKEN & set(map(str, table.columns)))
    if taken:
        raise ValueError(
            f"`sequences` has the columns {taken}, names that results need; rename or drop them: "
            f"table.rename(columns={{{taken[0]!r}: ...}})"
        )
    coords: dict[str, Any] = {str(c): ("sample", _plain(table[c])) for c in table if c != "sequence"}
    if not set(PLACE) <= set(coords):
        return coords
    start, end = (table[c].to_numpy() for c in ("start", "end"))
    if (end - start != lengths).any():
        k = int(np.flatnonzero(end - start != lengths)[0])
        raise ValueError(
            f"`sequences` has start {start[k]} and end {end[k]} for {table.index[k]!r}, which has {lengths[k]} letters; "
            "rename these columns if they are not its place on the chromosome"
        )
    minus = (table["strand"] == "-").to_numpy() if "strand" in table else np.zeros(len(table), bool)
    forward, backward = start[:, None] + places, end[:, None] - 1 - places
    locus = np.where(mask, np.where(minus[:, None], backward, forward), -1)
    return coords | {"locus": (("sample", "position"), locus)}


def _plain(values: pd.Index | pd.Series) -> np.ndarray:
    """Values as coords: text as NumPy strings, with "" for what is missing."""
    if pd.api.types.is_numeric_dtype(values.dtype) or pd.api.types.is_bool_dtype(values.dtype):
        return values.to_numpy()
    return np.array(["" if pd.isna(v) else str(v) for v in values], dtype=str)


def _listed(names: list[str], between: str = ", ") -> str:
    return between.join(names[:5]) + (f"{between}..." if len(names) > 5 else "")


# FOLDED attrib/domains/sequences/encoding.py: """One-hot arrays as numbers of letters, whatever the order of their dims and nucleotides, and back."""
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
