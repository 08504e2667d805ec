"""A function of sequences, called on many edited copies, a chunk at a time."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from attrib.domains.sequences.encoding import AXES, columns, like, lines

Function = Callable[[xr.DataArray], Any]
Rows = tuple[
    np.ndarray, np.ndarray
]  # numbers (rows,) of the samples, codes (rows, positions) of the edited copies


class Outputs(NamedTuple):
    """What the function gave.

    Attributes
    ----------
    values : array (rows, ...)
    dims : tuple
        Of a row.
    coords : dict
        Along these dims.
    """

    values: np.ndarray
    dims: tuple[Hashable, ...]
    coords: dict[Hashable, xr.Variable]


class Subject:
    """The sequences of an experiment and the function it asks.

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
        See `attrib.domains.sequences.encoding.Lines`.
    sample : hashable
        The dim of the samples.

    Raises
    ------
    TypeError, ValueError
        For a function that is none, and arrays that are no one-hot sequences with one dim of samples.
    """

    def __init__(self, f: Function, x: xr.DataArray, batch_size: int, progress: bool) -> None:
        if not callable(f):
            raise TypeError(f"`f` is a {type(f).__name__}, expected a function of a DataArray like `x`")
        if hasattr(f, "state_dict"):  # a torch module takes tensors; this layer does not know torch
            raise TypeError(
                f"`f` is the module {type(f).__name__}, expected a function of a DataArray; "
                "pass functools.partial(attrib.predict, model)"
            )
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"`batch_size` is {batch_size!r}, expected an int of at least 1")
        given = lines(x)
        if given.x.ndim != 3:
            raise ValueError(
                f"`x` has the dims {x.dims}, expected one dim of samples, nucleotide and position; "
                "of a single sequence pass x.expand_dims('sample')"
            )
        self.x, self.codes, self.mask = x, given.codes, given.mask
        self.sample = given.x.dims[0]
        self._template, self._f = given.x, f
        self._rows, self._progress = batch_size, progress

    @property
    def count(self) -> int:
        """How many sequences there are."""
        return len(self.codes)

    def all_of(self, edits: Iterable[np.ndarray]) -> Iterator[Rows]:
        """Rows of edits (samples, positions) of all the samples at once."""
        return ((np.arange(self.count), codes) for codes in edits)

    def outputs(self, blocks: Iterable[Rows], total: int) -> Outputs:
        """The function's outputs for edited copies, in their order; `total` rows in all."""
        found: list[Outputs] = []
        with _bar(self._progress, total) as bar:
            for numbers, codes in _chunks(blocks, self._rows):
                found.append(self._call(numbers, codes))
                bar.update(len(numbers))
        return found[0]._replace(values=np.concatenate([o.values for o in found]))

    def _call(self, numbers: np.ndarray, codes: np.ndarray) -> Outputs:
        rows = self._template.isel({self.sample: numbers}).copy(data=columns(codes, self._template.dtype))
        y = self._f(like(self.x, rows).transpose(*self.x.dims))
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
        """An array without labels: one number or several per sequence, or attributions."""
        values = np.asarray(y)
        if values.ndim == 0 or values.dtype == object or len(values) != n:
            raise ValueError(
                f"`f` returned {type(y).__name__} of shape {values.shape} for {n} sequences, expected a DataArray or an "
                "array with one entry for each on its first dim"
            )
        rest = tuple(d for d in self.x.dims if d != self.sample)
        if values.shape[1:] == tuple(self.x.sizes[d] for d in rest):
            return xr.DataArray(values, dims=(self.sample, *rest), coords={d: self.x[d] for d in rest})
        more = [f"output_{k}" for k in range(1, values.ndim - 1)]
        return xr.DataArray(values, dims=(self.sample, *["target"][: values.ndim - 1], *more))

    def dressed(self, values: np.ndarray, lead: dict[str, np.ndarray], outputs: Outputs) -> xr.DataArray:
        """Values (*lead, samples, ...) with the labels of `lead`, of the samples, and of the outputs."""
        dims = (*lead, self.sample, *outputs.dims)
        own = {k: c for k, c in self.x.coords.items() if set(c.dims) <= set(dims)}
        return xr.DataArray(values, dims=dims, coords={**own, **outputs.coords, **lead})


def compared(before: xr.DataArray, after: xr.DataArray, experiment: str) -> xr.Dataset:
    """Both, and after minus before."""
    difference = (after - before).transpose(*after.dims)
    return xr.Dataset(
        {"before": before, "after": after, "difference": difference}, attrs={"experiment": experiment}
    )


def attributed(outputs: Outputs) -> bool:
    """Whether the outputs are attributions."""
    return bool(set(AXES) & set(outputs.dims))


def _chunks(blocks: Iterable[Rows], size: int) -> Iterator[Rows]:
    """Blocks joined until there are at least `size` rows, and cut where there are more."""
    waiting: list[Rows] = []
    count = 0
    for block in blocks:
        waiting.append(block)
        count += len(block[0])
        if count >= size:
            *full, rest = _cut(_joined(waiting), size)
            yield from full
            waiting, count = [rest], len(rest[0])
    yield from (c for c in _cut(_joined(waiting), size) if len(c[0]))


def _joined(blocks: list[Rows]) -> Rows:
    return np.concatenate([n for n, _ in blocks]), np.concatenate([c for _, c in blocks])


def _cut(rows: Rows, size: int) -> list[Rows]:
    """Chunks of `size` rows, and what is left over, which may be nothing."""
    numbers, codes = rows
    return [(numbers[k : k + size], codes[k : k + size]) for k in range(0, len(numbers) + 1, size)]


def _bar(show: bool, total: int) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, disable=not show, desc="sequences", unit="row", leave=False)
