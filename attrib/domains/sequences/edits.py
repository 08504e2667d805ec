"""Motifs put into sequences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import TypeAlias, overload

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from attrib.domains.sequences.alphabet import NUCLEOTIDES, UNKNOWN, codes, fault, other_strand
from attrib.domains.sequences.baselines import shuffle
from attrib.domains.sequences.encoding import columns, lines
from attrib.domains.sequences.evaluation import Function, Subject, compared

Motifs: TypeAlias = str | Sequence[str] | Mapping[str, str]


def named_motifs(motifs: Motifs) -> dict[str, np.ndarray]:
    """Codes of the motifs by name; a motif without a name is called by its letters.

    Raises
    ------
    ValueError
        If there are none, or one has other letters than A, C, G, T, U, N.
    """
    given = {motifs: motifs} if isinstance(motifs, str) else motifs
    named = dict(given) if isinstance(given, Mapping) else {m: m for m in given}
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
    """Where a stretch of `width` begins that lies in the middle of each sequence (samples, positions)."""
    return mask.argmax(1) + (mask.sum(1) - width) // 2


def put(given: np.ndarray, motif: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Codes (samples, positions) with a motif at each sample's place; N in it leaves what is there."""
    found = given.copy()
    places = at[:, None] + np.arange(len(motif))
    rows = np.arange(len(given))[:, None]
    found[rows, places] = np.where(motif == UNKNOWN, found[rows, places], motif)
    return found


def refuse_outside(at: np.ndarray, width: int | np.ndarray, mask: np.ndarray, what: str) -> None:
    """Raise a ValueError if a stretch does not lie inside of every sequence."""
    begin, end = mask.argmax(1), mask.argmax(1) + mask.sum(1)
    wrong = np.flatnonzero((at < begin) | (at + width > end))
    if len(wrong):
        k = wrong[0]
        last = (at + width)[k] - 1
        raise ValueError(
            f"{what} would lie at positions {at[k]} to {last} of sample number {k}, whose letters are at "
            f"{begin[k]} to {end[k] - 1} ({len(wrong)} samples in all); pass another place, or longer sequences"
        )


# FOLDED attrib/domains/sequences/edits.py: """Stretches of sequences taken out."""
Replacement = Callable[..., xr.DataArray]


def ablate(
    f: Function,
    x: xr.DataArray,
    start: ArrayLike,
    end: ArrayLike,
    *,
    n: int = 20,
    replacement: Replacement = shuffle,
    seed: int = 0,
    batch_size: int = 1024,
    progress: bool = False,
) -> xr.Dataset:
    """What a stretch of a sequence is needed for: replaced by shuffles of itself, before and after.

    ``difference[repeat, n] = f(x_n with the stretch shuffled) - f(x_n)``

    Parameters
    ----------
    f : callable
        From a DataArray like `x` to predictions or attributions; see `marginalize`.
    x : DataArray
        One-hot sequences, dims sample, nucleotide, position.
    start, end : int or array of int
        Positions from 0, the end not included; one for all samples or one for each.
    n : int, default 20
        Repeats.
    replacement : callable, default `shuffle`
        A function of the stretches (a one-hot DataArray), `n` and `seed` that gives as many one-hot ones along a dim
        `baseline`; `dinucleotide_shuffle` is another.
    seed : int, default 0
        Seed of the shuffles.
    batch_size : int, default 1024
        Sequences per call of `f`.
    progress : bool, default False
        True shows a bar.

    Returns
    -------
    Dataset
        `before` (sample, ...), `after` and `difference` (repeat, sample, ...), and the coords `ablated_from` and
        `ablated_to`.

    Raises
    ------
    ValueError
        If a stretch does not lie inside of its sequence, `x` is not one-hot, or `f` does not give an output for each
        sequence.

    Notes
    -----
    (1 + n) x samples evaluations of `f`. A stretch of a few letters often comes out of a shuffle as it was, or nearly:
    compare with the mean over many repeats, and look at their spread.

    Examples
    --------
    >>> from attrib.domains.sequences import one_hot
    >>> first_is_g = lambda x: x.sel(nucleotide="G", position=0)
    >>> found = ablate(first_is_g, one_hot("GAAAAA"), 0, 4, n=400)
    >>> abs(float(found.difference.mean()) + 3 / 4) < 0.1
    True
    """
    subject = Subject(f, x, batch_size, progress)
    starts, ends = (_per_sample(v, subject.count, name) for v, name in ((start, "start"), (end, "end")))
    if (starts >= ends).any():
        raise ValueError("`end` is not above `start` for every sample; the end is not included")
    refuse_outside(starts, ends - starts, subject.mask, "the stretch")
    shuffled = _replaced(subject, starts, ends, n, replacement, seed)
    total = (1 + n) * subject.count
    outputs = subject.outputs(subject.all_of(chain([subject.codes], shuffled)), total)
    values = outputs.values.reshape(1 + n, subject.count, *outputs.values.shape[1:])
    before = subject.dressed(values[0], {}, outputs)
    found = compared(before, subject.dressed(values[1:], {"repeat": np.arange(n)}, outputs), "ablate")
    return found.assign_coords(ablated_from=(subject.sample, starts), ablated_to=(subject.sample, ends))


def _per_sample(values: ArrayLike, count: int, name: str) -> np.ndarray:
    found = np.asarray(values)
    if found.dtype.kind not in "iu" or found.shape not in ((), (count,)):
        raise ValueError(
            f"`{name}` is {values!r}, expected an int, or one for each of the {count} samples, counted from 0"
        )
    return np.broadcast_to(found, (count,)).astype(int)


def _replaced(
    subject: Subject, starts: np.ndarray, ends: np.ndarray, n: int, replacement: Replacement, seed: int
) -> np.ndarray:
    """Codes (n, samples, positions) with the stretches replaced."""
    wide = int((ends - starts).max())
    inside = np.arange(wide) < (ends - starts)[:, None]
    places = np.where(inside, starts[:, None] + np.arange(wide), 0)
    own = np.where(inside, np.take_along_axis(subject.codes, places, 1), UNKNOWN).astype(np.uint8)
    coords = {"nucleotide": list(NUCLEOTIDES), "mask": (("sample", "position"), inside)}
    stretches = xr.DataArray(
        columns(own, subject.x.dtype), dims=("sample", "nucleotide", "position"), coords=coords
    )
    drawn = replacement(stretches, n=n, seed=seed)
    expected = {"sample": subject.count, "baseline": n, "nucleotide": 4, "position": wide}
    if dict(drawn.sizes) != expected:
        raise ValueError(f"`replacement` returned dims {dict(drawn.sizes)}, expected {expected}")
    letters = lines(drawn.transpose("baseline", "sample", "nucleotide", "position"), "replacement").codes
    found = np.repeat(subject.codes[None], n, 0)
    rows, at = np.nonzero(inside)
    found[:, rows, starts[rows] + at] = letters.reshape(n, subject.count, wide)[:, rows, at]
    return found


# FOLDED attrib/domains/sequences/edits.py: """The other strand."""
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
