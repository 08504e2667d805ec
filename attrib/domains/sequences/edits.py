"""Edits of sequences: motifs put in, and the other strand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias, overload

import numpy as np
import xarray as xr

from attrib.domains.sequences.alphabet import NUCLEOTIDES, UNKNOWN, codes, fault, other_strand

_STRANDS = {"+": "-", "-": "+"}

Motifs: TypeAlias = str | Sequence[str] | Mapping[str, str]


@overload
def reverse_complement(x: str) -> str: ...
@overload
def reverse_complement(x: xr.DataArray) -> xr.DataArray: ...
def reverse_complement(x: str | xr.DataArray) -> str | xr.DataArray:
    """The reverse complement: sequences, or attributions of sequences, as read on the other strand.

    Parameters
    ----------
    x : str or DataArray
        A text; or an array with the dims nucleotide and position, of one-hot columns or any numbers.

    Returns
    -------
    str or DataArray
        Of the type of `x`. The nucleotides of an array keep their order, and values at A move to T. Positions are reversed
        with their labels, and so is every coord along them (`mask`, `locus`): a label still belongs to the same base. A
        coord `strand` is turned. Applied twice it returns `x`.

    Raises
    ------
    ValueError
        If a dim is missing, or the nucleotides are not A, C, G and T.

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


def named_motifs(motifs: Motifs) -> dict[str, np.ndarray]:
    """Codes of the motifs by name. The name of a motif without one is its letters.

    Raises
    ------
    ValueError
        If there are none, or one has other letters than A, C, G, T, U, N.
    """
    if isinstance(motifs, str):
        motifs = [motifs]
    named = dict(motifs) if isinstance(motifs, Mapping) else {m: m for m in motifs}
    if not named:
        raise ValueError("`motifs` is empty; pass at least one, as its letters")
    return {str(name): motif_codes(text, f"motifs[{name!r}]") for name, text in named.items()}


def motif_codes(motif: str, name: str) -> np.ndarray:
    """Codes of a motif.

    Raises
    ------
    ValueError
        If it has no letters, or other ones than A, C, G, T, U, N.
    """
    wrong = (
        fault(motif) if isinstance(motif, str) else f"it is a {type(motif).__name__}, expected its letters"
    )
    if wrong:
        raise ValueError(f"`{name}` is {motif!r}: {wrong}")
    return codes(motif)


def middle(mask: np.ndarray, width: int) -> np.ndarray:
    """The position at which a stretch of `width` in the middle of each sequence begins: middle letter on middle letter, as in tangermeme."""
    return mask.argmax(1) + mask.sum(1) // 2 - width // 2


def put(sequences: np.ndarray, motif: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Codes (samples, positions) with the motif from position `at` of each sample on; N in it changes nothing."""
    edited = sequences.copy()
    positions = at[:, None] + np.arange(len(motif))
    rows = np.arange(len(sequences))[:, None]
    edited[rows, positions] = np.where(motif == UNKNOWN, edited[rows, positions], motif)
    return edited


def refuse_outside(at: np.ndarray, width: int | np.ndarray, mask: np.ndarray, name: str) -> None:
    """Raise a ValueError unless the stretch lies inside of every sequence."""
    begin, end = mask.argmax(1), mask.argmax(1) + mask.sum(1)
    wrong = np.flatnonzero((at < begin) | (at + width > end))
    if len(wrong):
        k = wrong[0]
        last = (at + width)[k] - 1
        raise ValueError(
            f"{name} would lie at positions {at[k]} to {last} of sample number {k}, whose letters are at "
            f"{begin[k]} to {end[k] - 1} ({len(wrong)} samples in all); pass another position, or longer sequences"
        )
