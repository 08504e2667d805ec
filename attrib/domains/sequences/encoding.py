"""Sequences as labelled one-hot arrays and back to letters, and corrections of attributions whose letters exclude each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import DTypeLike

from attrib._arguments import real, refuse_empty, shown
from attrib._public import public

AXES = ("nucleotide", "position")
DIMS = ("sample", *AXES)
INTERVAL = ("chrom", "start", "end")
_RESERVED = {*DIMS, "length", "mask", "locus", "target", "baseline", "prediction", "delta", "standard_error", "n_steps"}  # fmt: skip

Sequences: TypeAlias = str | Sequence[str] | Mapping[str, str] | pd.Series | pd.DataFrame

NUCLEOTIDES = "ACGT"
UNKNOWN, OTHER = 4, 255  # codes of N and of letters that are not nucleotides


@public
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
        Texts of A, C, G, T, U (read as T) and N, in any case. Keys of a mapping and an index are the samples' names. A
        DataFrame, such as `read_fasta(...).sequences`, has the texts in its column `sequence`; its other columns become
        coords of the samples.
    length : int, optional
        Number of positions; shorter sequences are padded with zeros. Default: that of the longest.
    pad : {"right", "left", "both"}, default "right"
        Where the zeros are put; `"both"` leaves the sequence in the middle.
    dtype : dtype, default float32
        Of the result.

    Returns
    -------
    DataArray
        Called `sequence`: dims sample, nucleotide (A, C, G, T), position (from 0); 1 at the letter, zeros for N and where
        padded. Coords: `length` of each sample; `mask` (sample, position), False where padded; for sequences with
        `chrom`, `start` and `end` (and `strand`) these, and `locus` (sample, position): each base's position on the
        chromosome, counted from 0 (descending on the - strand, -1 where padded).

    Raises
    ------
    ValueError
        For no sequences, an empty sequence, other letters (the message has name and position, counted from 0), sequences
        longer than `length`, and columns with a name that the result or an attribution uses.

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
    offsets = np.arange(size) - begins[:, None]
    mask = (offsets >= 0) & (offsets < lengths[:, None])
    coords: dict[str, Any] = {
        "sample": _plain(table.index),
        "nucleotide": list(NUCLEOTIDES),
        "position": np.arange(size),
        "length": ("sample", lengths),
        "mask": (("sample", "position"), mask),
        **_sample_coords(table, lengths, offsets, mask),
    }
    return xr.DataArray(values, dims=DIMS, coords=coords, name="sequence")


@public
def decode(x: xr.DataArray) -> xr.DataArray:
    """Decode one-hot arrays to texts.

    Parameters
    ----------
    x : DataArray
        Dims nucleotide and position, and any others. Columns of zeros become N. Positions outside of the coord `mask`
        are left out.

    Returns
    -------
    DataArray
        The texts, over the other dims.

    Raises
    ------
    ValueError
        If a dim is missing, the nucleotides are not A, C, G and T, or a column is neither one-hot nor zeros.

    Examples
    --------
    >>> decode(one_hot(["acgu", "NA"])).values.tolist()
    ['ACGT', 'NA']
    """
    refuse_other_letters(x, "x")
    leads = [d for d in x.dims if d not in AXES]
    letters = letter_codes(x.transpose(*leads, *AXES))
    mask = (
        x.coords.get("mask", xr.DataArray(True))
        .broadcast_like(x.isel(nucleotide=0))
        .transpose(*leads, "position")
    )
    alphabet = np.frombuffer("".join([*map(str, x.nucleotide.values), "N"]).encode(), np.uint8)
    lines = zip(
        letters.reshape(-1, letters.shape[-1]), mask.values.reshape(-1, letters.shape[-1]), strict=True
    )
    texts = np.array([alphabet[line[inside]].tobytes().decode() for line, inside in lines], dtype=str)
    coords = {k: c for k, c in x.coords.items() if not {*AXES} & set(c.dims)}
    return xr.DataArray(
        texts.reshape([x.sizes[d] for d in leads]), dims=leads, coords=coords, name="sequence"
    )


def letter_codes(x: xr.DataArray, name: str = "x") -> np.ndarray:
    """Code of the letter in each column (..., position), 4 for a column of zeros.

    Parameters
    ----------
    x : DataArray
        Its last two dims are nucleotide and position.
    name : str
        Name of the argument in error messages.

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


class SequenceCodes(NamedTuple):
    """One-hot sequences and the codes of their letters, a row each.

    Attributes
    ----------
    x : DataArray
        The array, its dims nucleotide and position last, and its nucleotides in the order A, C, G, T.
    codes : array (rows, positions)
        0 to 3 for A, C, G, T; 4 for N and where padded.
    mask : array (rows, positions)
        False where padded.
    """

    x: xr.DataArray
    codes: np.ndarray
    mask: np.ndarray


def sequence_codes(x: xr.DataArray, name: str = "x") -> SequenceCodes:
    """The codes of one-hot sequences, whatever the order of their dims and nucleotides.

    Raises
    ------
    TypeError, ValueError
        If it is not a DataArray of one-hot columns (or zeros) with the dims nucleotide (A, C, G, T) and position.
    """
    if not isinstance(x, xr.DataArray):
        raise TypeError(f"`{name}` is a {type(x).__name__}, expected a DataArray such as one_hot returns")
    letters = refuse_other_letters(x, name)
    refuse_empty(name, x)
    leads = [d for d in x.dims if d not in AXES]
    x = x.isel(nucleotide=[letters.index(v) for v in NUCLEOTIDES]).transpose(*leads, *AXES)
    codes = letter_codes(x, name)
    mask = x.coords.get("mask", xr.DataArray(True)).broadcast_like(x.isel(nucleotide=0, drop=True))
    full = mask.transpose(*leads, "position").values
    return SequenceCodes(x, codes.reshape(-1, codes.shape[-1]), full.reshape(-1, codes.shape[-1]))


def refuse_other_letters(x: xr.DataArray, name: str) -> list[str]:
    """The nucleotides in their order.

    Raises
    ------
    ValueError
        If a dim is missing, or the nucleotides are not A, C, G and T.
    """
    if not {*AXES} <= set(x.dims):
        raise ValueError(f"`{name}` has the dims {x.dims}, expected nucleotide and position among them")
    letters = [str(v) for v in x["nucleotide"].values]
    if sorted(letters) != sorted(NUCLEOTIDES):
        raise ValueError(f"`{name}` has the nucleotides {letters}, expected A, C, G and T")
    return letters


def one_hot_columns(codes: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """One-hot columns (..., 4, positions) of codes (..., positions); N is zeros."""
    return (codes[..., None, :] == np.arange(UNKNOWN, dtype=codes.dtype)[:, None]).astype(dtype)


def with_nucleotides_of(x: xr.DataArray, a: xr.DataArray) -> xr.DataArray:
    """`a` with its nucleotides in the order of `x`."""
    return a.sel(nucleotide=x["nucleotide"].values)


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
        if not isinstance(sequences, Iterable):
            raise TypeError(f"`sequences` is {shown(sequences)}, expected texts")
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
    """The position at which each sequence begins."""
    if pad not in ("right", "left", "both"):
        raise ValueError(f'`pad` is {pad!r}, expected "right", "left" or "both"')
    return {"right": spare * 0, "left": spare, "both": spare // 2}[pad]


def _sample_coords(
    table: pd.DataFrame, lengths: np.ndarray, offsets: np.ndarray, mask: np.ndarray
) -> dict[str, Any]:
    """The table's other columns, and the bases' positions on the chromosome if it has their intervals."""
    reserved = sorted(_RESERVED & set(map(str, table.columns)))
    if reserved:
        raise ValueError(
            f"`sequences` has the columns {reserved}, names that results need; rename or drop them: "
            f"table.rename(columns={{{reserved[0]!r}: ...}})"
        )
    coords: dict[str, Any] = {str(c): ("sample", _plain(table[c])) for c in table if c != "sequence"}
    if not set(INTERVAL) <= set(coords):
        return coords
    coords["chrom"] = ("sample", np.array([str(c) for c in coords["chrom"][1]], dtype=str))
    start, end = (table[c].to_numpy() for c in ("start", "end"))
    if (end - start != lengths).any():
        k = int(np.flatnonzero(end - start != lengths)[0])
        raise ValueError(
            f"`sequences` has start {start[k]} and end {end[k]} for {table.index[k]!r}, which has {lengths[k]} letters; "
            "rename these columns if they are not its interval on the chromosome"
        )
    minus = (table["strand"] == "-").to_numpy() if "strand" in table else np.zeros(len(table), bool)
    forward, backward = start[:, None] + offsets, end[:, None] - 1 - offsets
    locus = np.where(mask, np.where(minus[:, None], backward, forward), -1)
    return coords | {"locus": (("sample", "position"), locus)}


def _plain(values: pd.Index | pd.Series) -> np.ndarray:
    """Values as coords: text as NumPy strings, with "" for missing values."""
    if pd.api.types.is_numeric_dtype(values.dtype) or pd.api.types.is_bool_dtype(values.dtype):
        return values.to_numpy()
    return np.array(["" if pd.isna(v) else str(v) for v in values], dtype=str)


def _listed(names: list[str], between: str = ", ") -> str:
    return between.join(names[:5]) + (f"{between}..." if len(names) > 5 else "")


def _table() -> np.ndarray:
    table = np.full(256, OTHER, np.uint8)
    for code, letters in enumerate(("Aa", "Cc", "Gg", "TtUu", "Nn")):
        table[list(letters.encode())] = code
    return table


_CODES = _table()

_OTHER_STRAND = str.maketrans("ACGTUacgtu", "TGCAAtgcaa")


def codes(text: str) -> np.ndarray:
    """Letters as numbers: A, C, G, T 0 to 3 (U as T, any case), N 4, others 255."""
    return _CODES[np.frombuffer(text.encode("latin-1", "replace"), np.uint8)]


def other_strand(text: str) -> str:
    """The reverse complement of a text. N and other letters are not changed."""
    return text.translate(_OTHER_STRAND)[::-1]


def fault(text: str) -> str:
    """Why a text is not a sequence of nucleotides, in words; empty if it is one."""
    if not text:
        return "it has no letters"
    wrong = np.flatnonzero(codes(text) == OTHER)
    if not len(wrong):
        return ""
    more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    return f"letter {text[wrong[0]]!r} at position {wrong[0]} (counted from 0){more}; expected A, C, G, T, U or N"


@public
def gradient_correction(attribution: xr.DataArray) -> xr.DataArray:
    """Gradients without their component off the simplex: minus each position's mean over the nucleotides.

    ``c[letter, position] = g[letter, position] - mean over letters of g[., position]``

    In every sequence that a model has seen, the letters of a position add up to 1. So data do not determine the function
    along the direction in which all letters grow together, and the gradient along it is noise.

    Parameters
    ----------
    attribution : DataArray
        Gradients or multipliers, with a dim nucleotide and any others.

    Returns
    -------
    DataArray
        Like `attribution`; the entries of each position add up to 0.

    Raises
    ------
    ValueError
        If there is no dim nucleotide.

    References
    ----------
    Majdandzic, Rajesh, Koo (2023), Correcting gradient-based interpretations of deep neural networks for genomics.
    doi:10.1186/s13059-023-02956-3

    Examples
    --------
    >>> g = xr.DataArray([[4.0], [0.0], [0.0], [0.0]], dims=("nucleotide", "position"))
    >>> gradient_correction(g).values.ravel().tolist()
    [3.0, -1.0, -1.0, -1.0]
    """
    _refuse_without_letters(attribution, "attribution")
    corrected = attribution - attribution.mean("nucleotide", skipna=False)
    return _with_history(corrected.transpose(*attribution.dims), attribution, "gradient correction")


@public
def hypothetical(multipliers: xr.DataArray, baselines: xr.DataArray | float = 0.0) -> xr.DataArray:
    """Contributions that each letter would have at each position.

    ``h[letter, position] = m[letter, position] - sum over letters k of m[k, position] b[k, position]``

    Parameters
    ----------
    multipliers : DataArray
        Results of `deep_lift` or `integrated_gradients` with `multiply_by_inputs=False`: dims nucleotide, position and any
        others. A dim `baseline` is averaged in the result.
    baselines : DataArray or float, default 0.0
        The baselines of the multipliers.

    Returns
    -------
    DataArray
        Dims of `multipliers` without `baseline`. At the sequence's own letter it is the contribution of the position:
        ``(x * h).sum("nucleotide")`` is the attribution summed over the letters.

    Raises
    ------
    ValueError
        If there is no dim nucleotide, or if there are several baselines and the multipliers are already a mean over them: a
        mean of products is not the product of the means.

    Notes
    -----
    The multipliers of the sequence stand in for those of the sequences with another letter. The model is not evaluated.

    References
    ----------
    Shrikumar et al. (2018), Technical note on transcription factor motif discovery from importance scores (TF-MoDISco).
    arXiv:1811.00416

    Examples
    --------
    >>> m = xr.DataArray([[4.0], [0.0], [2.0], [0.0]], dims=("nucleotide", "position"))
    >>> hypothetical(m, 0.25).values.ravel().tolist()
    [2.5, -1.5, 0.5, -1.5]
    """
    _refuse_without_letters(multipliers, "multipliers")
    if isinstance(baselines, xr.DataArray):
        several = baselines.sizes.get("baseline", 1) > 1
        if several and "baseline" not in multipliers.dims:
            raise ValueError(
                "`baselines` has several, and `multipliers` no dim 'baseline'; compute them one by one: "
                "xr.concat([deep_lift(f, x, baselines=baselines.isel(baseline=k), ...) for k in ...], 'baseline')"
            )
        bare = baselines.drop_vars([c for c in baselines.coords if c not in baselines.indexes])
    else:
        bare = xr.DataArray(float(real("baselines", baselines))).expand_dims(
            nucleotide=multipliers.sizes["nucleotide"]
        )
    contributions = multipliers - (multipliers * bare).sum("nucleotide", skipna=False)
    if "baseline" in contributions.dims:
        contributions = contributions.mean("baseline", skipna=False)
    dims = [d for d in multipliers.dims if d != "baseline"]
    return _with_history(contributions.transpose(*dims), multipliers, "hypothetical contributions")


def _refuse_without_letters(a: xr.DataArray, name: str) -> None:
    if "nucleotide" not in getattr(a, "dims", ()):
        raise ValueError(
            f"`{name}` has the dims {getattr(a, 'dims', None)}, expected nucleotide among them; "
            "pass a DataArray, such as the functions of attrib return for sequences of one_hot"
        )


def _with_history(a: xr.DataArray, source: xr.DataArray, step: str) -> xr.DataArray:
    """`a` with the name and attrs of `source`, and a step added to the history."""
    before = str(source.attrs.get("history", ""))
    return a.assign_attrs(source.attrs, history=f"{before}\n{step}".strip()).rename(source.name)
