"""Edits of sequences, motifs put in and the other strand, and a function that is called on many edited copies in batches."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, overload

import numpy as np
import xarray as xr

from attrib._arguments import shown
from attrib._public import public
from attrib.domains.sequences.encoding import (
    AXES,
    UNKNOWN,
    codes,
    fault,
    one_hot_columns,
    other_strand,
    refuse_other_letters,
    sequence_codes,
    with_nucleotides_of,
)

_STRANDS = {"+": "-", "-": "+"}

Motifs: TypeAlias = str | Sequence[str] | Mapping[str, str]

Function = Callable[[xr.DataArray], Any]
Rows = tuple[
    np.ndarray, np.ndarray
]  # numbers of the samples (rows,), and codes of their edited copies (rows, positions)


@overload
def reverse_complement(x: str) -> str: ...


@overload
def reverse_complement(x: xr.DataArray) -> xr.DataArray: ...


@public
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
    if not isinstance(x, xr.DataArray):
        raise TypeError(f"`x` is {shown(x)}, expected a text or a DataArray")
    letters = refuse_other_letters(x, "x")
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
    if not isinstance(motifs, Iterable):
        raise TypeError(f"`motifs` is {shown(motifs)}, expected letters")
    named = dict(motifs) if isinstance(motifs, Mapping) else {str(m): m for m in motifs}
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


class Outputs(NamedTuple):
    """Outputs of the function.

    Attributes
    ----------
    values : array (rows, ...)
    dims : tuple
        Names of a row's dims.
    coords : dict
        Coords along these dims.
    """

    values: np.ndarray
    dims: tuple[Hashable, ...]
    coords: dict[Hashable, xr.Variable]


class Subject:
    """The sequences of an experiment and the function that is explained.

    Parameters
    ----------
    f : callable
        From a DataArray like `x`, with other samples, to a DataArray with its sample dim, or an array, samples first.
    x : DataArray
        One-hot sequences: a dim of samples, nucleotide, position.
    batch_size : int
        Rows per call of `f`.
    progress : bool
        True shows a bar.

    Attributes
    ----------
    codes, mask : array (samples, positions)
        See `attrib.domains.sequences.encoding.SequenceCodes`.
    sample : hashable
        The dim of the samples.

    Raises
    ------
    TypeError, ValueError
        If `f` is not a function, or `x` is not one-hot with one dim of samples.
    """

    def __init__(self, f: Function, x: xr.DataArray, batch_size: int, progress: bool) -> None:
        if not callable(f):
            raise TypeError(f"`f` is a {type(f).__name__}, expected a function of a DataArray like `x`")
        if hasattr(f, "state_dict"):  # a torch module takes tensors; this room does not import torch
            raise TypeError(
                f"`f` is the module {type(f).__name__}, expected a function of a DataArray; "
                "pass functools.partial(attrib.predict, model)"
            )
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"`batch_size` is {batch_size!r}, expected an int of at least 1")
        sequences = sequence_codes(x)
        if sequences.x.ndim != 3:
            raise ValueError(
                f"`x` has the dims {x.dims}, expected one dim of samples, nucleotide and position; "
                "of a single sequence pass x.expand_dims('sample')"
            )
        self.x, self.codes, self.mask = x, sequences.codes, sequences.mask
        self.sample = sequences.x.dims[0]
        self._template, self._f = sequences.x, f
        self._rows, self._progress = batch_size, progress

    @property
    def count(self) -> int:
        """The number of sequences."""
        return len(self.codes)

    def all_of(self, edits: Iterable[np.ndarray]) -> Iterator[Rows]:
        """Rows of edits, each of which (samples, positions) has all samples."""
        return ((np.arange(self.count), codes) for codes in edits)

    def outputs(self, blocks: Iterable[Rows], total: int) -> Outputs:
        """The function's outputs for `total` rows of edited copies, in their order."""
        batches: list[Outputs] = []
        with _bar(self._progress, total) as bar:
            for numbers, codes in _chunks(blocks, self._rows):
                batches.append(self._call(numbers, codes))
                bar.update(len(numbers))
        return batches[0]._replace(values=np.concatenate([o.values for o in batches]))

    def _call(self, numbers: np.ndarray, codes: np.ndarray) -> Outputs:
        rows = self._template.isel({self.sample: numbers}).copy(
            data=one_hot_columns(codes, self._template.dtype)
        )
        y = self._f(with_nucleotides_of(self.x, rows).transpose(*self.x.dims))
        if not isinstance(y, xr.DataArray):
            y = self._labelled(y.detach().cpu() if hasattr(y, "detach") else y, len(numbers))
        if y.sizes.get(self.sample) != len(numbers):
            raise ValueError(
                f"`f` returned dims {dict(y.sizes)} for {len(numbers)} sequences, expected the dim {self.sample!r} of that "
                "size; every sequence must get its own output"
            )
        y = y.transpose(self.sample, ...)
        coords = {k: c.variable for k, c in y.coords.items() if c.ndim and self.sample not in c.dims}
        values = np.asarray(y.values)
        return Outputs(values if values.dtype.kind == "f" else values.astype(float), y.dims[1:], coords)

    def _labelled(self, y: Any, n: int) -> xr.DataArray:
        """An array without labels, labelled: one output or several per sequence, or attributions."""
        values = np.asarray(y)
        if values.ndim == 0 or values.dtype == object or len(values) != n:
            raise ValueError(
                f"`f` returned {type(y).__name__} of shape {values.shape} for {n} sequences, expected a DataArray or an "
                "array with one entry for each on its first dim"
            )
        axes = tuple(d for d in self.x.dims if d != self.sample)
        if values.shape[1:] == tuple(self.x.sizes[d] for d in axes):
            return xr.DataArray(values, dims=(self.sample, *axes), coords={d: self.x[d] for d in axes})
        more = [f"output_{k}" for k in range(1, values.ndim - 1)]
        return xr.DataArray(values, dims=(self.sample, *["target"][: values.ndim - 1], *more))

    def with_coords(self, values: np.ndarray, lead: dict[str, np.ndarray], outputs: Outputs) -> xr.DataArray:
        """Values (*lead, samples, ...) with the coords of `lead`, of the samples, and of the outputs."""
        dims = (*lead, self.sample, *outputs.dims)
        sample_coords = {k: c for k, c in self.x.coords.items() if set(c.dims) <= set(dims)}
        return xr.DataArray(values, dims=dims, coords={**sample_coords, **outputs.coords, **lead})


def compared(before: xr.DataArray, after: xr.DataArray, experiment: str) -> xr.Dataset:
    """A Dataset of before, after, and the difference after minus before."""
    difference = (after - before).transpose(*after.dims)
    return xr.Dataset(
        {"before": before, "after": after, "difference": difference}, attrs={"experiment": experiment}
    )


def attributed(outputs: Outputs) -> bool:
    """Whether the outputs are attributions."""
    return bool(set(AXES) & set(outputs.dims))


def _chunks(blocks: Iterable[Rows], size: int) -> Iterator[Rows]:
    """Chunks of `size` rows: blocks are joined where they are smaller, and cut where they are larger."""
    waiting: list[Rows] = []
    count = 0
    for block in blocks:
        waiting.append(block)
        count += len(block[0])
        if count >= size:
            *full, remainder = _cut(_joined(waiting), size)
            yield from full
            waiting, count = [remainder], len(remainder[0])
    yield from (c for c in _cut(_joined(waiting), size) if len(c[0]))


def _joined(blocks: list[Rows]) -> Rows:
    return np.concatenate([n for n, _ in blocks]), np.concatenate([c for _, c in blocks])


def _cut(rows: Rows, size: int) -> list[Rows]:
    """Chunks of `size` rows, and a remainder, which may be empty."""
    numbers, codes = rows
    return [(numbers[k : k + size], codes[k : k + size]) for k in range(0, len(numbers) + 1, size)]


def _bar(show: bool, total: int) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=total, disable=not show, desc="sequences", unit="row", leave=False)
