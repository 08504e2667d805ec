"""What goes into the model beside the inputs, from files: masks, ids, covariates, lengths, matched to the samples by their labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from attrib.domains.expression.annotation import read_samples
from attrib.engine.model.companions import Beside
from attrib.io import read
from attrib.labels.inputs import parameters
from attrib.scale.samples import digest_of

TABLES = (".csv", ".tsv", ".txt")
NAMED = re.compile(r"([A-Za-z_]\w*)=(.+)")
Labelled = xr.DataArray | xr.Dataset


@dataclass(frozen=True)
class Value:
    """A value beside the inputs, for samples of which there may be more than are explained.

    Attributes
    ----------
    name : str, optional
        Of the model's parameter; None for a value by position.
    source : str
        What messages call it.
    values : DataArray
        Samples on the first dim.
    """

    name: str | None
    source: str
    values: xr.DataArray


@dataclass(frozen=True)
class Context:
    """What goes into the model beside the inputs.

    Attributes
    ----------
    values : tuple of Value
    """

    values: tuple[Value, ...] = ()

    def of(self, x: Labelled, dim: Hashable | None = None) -> Any:
        """`additional_forward_args` for the samples of `x`.

        Parameters
        ----------
        x : DataArray or Dataset
            Inputs.
        dim : hashable, optional
            The dim of the samples; default: `"sample"` if there, else the first dim.

        Raises
        ------
        ValueError
            For samples without a value, and where one has labels and the other has none.
        """
        if not self.values:
            return ()
        first = x if isinstance(x, xr.DataArray) else next(iter(x.data_vars.values()))
        dim = dim if dim is not None else "sample" if "sample" in first.dims else first.dims[0]
        labels = x.indexes.get(dim)
        chosen = [(v.name, _of_samples(v, labels, first.sizes[dim], dim)) for v in self.values]
        named = {name: a for name, a in chosen if name is not None}
        return Beside(tuple(a for name, a in chosen if name is None), named)

    def of_rows(self, names: Sequence[Any]) -> Any:
        """`additional_forward_args` for rows that belong to these samples, of which one may come several times."""
        if not self.values:
            return ()
        beside = self.of(xr.DataArray(np.zeros(len(names)), coords={"sample": list(names)}))
        bare = [a.drop_vars(list(a.coords)) for a in (*beside.positional, *beside.named.values())]
        count = len(beside.positional)
        return Beside(tuple(bare[:count]), dict(zip(beside.named, bare[count:], strict=True)))

    def of_one(self, label: str, count: int) -> Context:
        """The values of one sample, for each of so many rows that it is cut into."""
        sample = xr.DataArray([0.0], dims="sample", coords={"sample": [label]})
        return Context(
            tuple(
                replace(v, values=xr.concat([a.drop_vars(list(a.coords))] * count, a.dims[0]))
                for v in self.values
                for a in [_of_samples(v, sample.indexes["sample"], 1, "sample")]
            )
        )

    def labelled(self, x: xr.DataArray) -> Context:
        """The values where those without labels have the samples of `x`: by these they are found when only some are explained.

        Raises
        ------
        ValueError
            For values without labels of another number of samples.
        """
        labels = x.indexes["sample"]
        values = []
        for v in self.values:
            own = "sample" if "sample" in v.values.dims else v.values.dims[0]
            if own not in v.values.indexes:
                a = _of_samples(v, labels, len(labels), "sample")
                v = replace(v, values=a.assign_coords(sample=labels))
            values.append(v)
        return Context(tuple(values))

    def identity(self) -> dict[str, str]:
        """What identifies the values in the settings of a run; nothing without values."""
        return {"context": digest_of([[v.name, v.values] for v in self.values])} if self.values else {}

    def part(self, samples: slice | Sequence[int]) -> Context:
        """The values of some samples; those with labels are found by them anyway."""
        return Context(
            tuple(
                v if v.values.dims[0] in v.values.indexes else replace(v, values=v.values[samples])
                for v in self.values
            )
        )


def context_of(
    words: Sequence[str], model: Callable[..., Any], names: Iterable[str], used: Iterable[str] | None = None
) -> Context:
    """What goes into a model beside samples of these names, as `read_context`; refused where one of them, or of those used, lacks a value."""
    every, some = (
        xr.DataArray(np.zeros(len(labels)), coords={"sample": labels})
        for n in (names, names if used is None else used)
        for labels in [[str(v) for v in n]]
    )
    context = read_context(words, model).labelled(every)
    context.of(some)
    return context


def read_context(
    words: Sequence[str], model: Callable[..., Any] | None = None, data: str | Path | None = None
) -> Context:
    """Read what goes into a model beside the inputs.

    Parameters
    ----------
    words : sequence of str
        Each a ``FILE``, which goes in by position, or ``NAME=FILE``, by the name of the model's parameter. Tables (CSV, TSV) have
        the samples' labels in a column; the others are one array (samples, columns), or (samples,) of one column; columns that are
        all called like parameters of the model go in by their names. Arrays (`.npy`, `.npz`, `.nc`, `.zarr`, `.h5`) have samples on
        their first dim. In place of a file the name of a variable of `data`.
    model : callable, optional
        Whose parameters columns may name.
    data : str or path, optional
        The file of the inputs.

    Raises
    ------
    FileNotFoundError, ValueError
        For files that are not there or cannot be read, and names that come twice.
    """
    values: list[Value] = []
    for word in words:
        match = NAMED.fullmatch(word)
        name, file = (match[1], match[2]) if match and not Path(word).exists() else (None, word)
        values += _values(name, file, model, data)
    names = [v.name for v in values if v.name is not None]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f"`context` has {twice[0]} twice; each name goes in once")
    return Context(tuple(values))


def _values(
    name: str | None, file: str, model: Callable[..., Any] | None, data: str | Path | None
) -> list[Value]:
    path = Path(file)
    if path.suffixes and any(s in TABLES for s in path.suffixes[-2:]):
        return _of_table(name, path, model)
    if path.suffix:
        try:
            several = read(path, variables="all")
        except (FileNotFoundError, ValueError) as error:
            raise type(error)(f"`context`: {error}") from error
        arrays = several if isinstance(several, xr.Dataset) else {name: several}
        if name is not None and len(arrays) > 1:
            raise ValueError(
                f"`context` {name}: {path.name} has {len(arrays)} variables ({', '.join(map(str, arrays))}), which go in "
                f"by their own names; leave {name}= out"
            )
        return [Value(None if n is None else str(n), path.name, a) for n, a in arrays.items()]
    if data is None:
        raise ValueError(f"`context` is {file!r}, expected a file")
    try:
        return [Value(name, file, read(data, variables=[file]))]  # type: ignore[arg-type]
    except ValueError as error:
        raise ValueError(f"`context` is {file!r}, expected a file, or a variable: {error}") from error


def _of_table(name: str | None, path: Path, model: Callable[..., Any] | None) -> list[Value]:
    """The columns of a table, with the labels of its first column."""
    try:
        rows = read_samples(path).rows
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(str(error).replace("`samples`", "`context`")) from error
    if rows.shape[1] < 2:
        raise ValueError(f"`context`: {path.name} has one column, expected labels of samples and values")
    index = rows.iloc[:, 0].to_numpy(dtype=str)
    columns = {str(c): _numbers(rows[c], path) for c in rows.columns[1:]}
    takes = None if model is None else parameters(model)
    if name is None and takes is not None and set(columns) <= set(takes.keyword):
        return [
            Value(c, path.name, xr.DataArray(v, dims="sample", coords={"sample": index}))
            for c, v in columns.items()
        ]
    values = np.stack(list(columns.values()), 1)
    a = xr.DataArray(values, dims=("sample", "column"), coords={"sample": index})
    return [Value(name, path.name, a[:, 0] if len(columns) == 1 else a)]


def _numbers(column: pd.Series, path: Path) -> np.ndarray:
    try:
        values = pd.to_numeric(column)
    except (ValueError, TypeError):
        raise ValueError(
            f"`context`: column {column.name!r} of {path.name} is no number in every row; leave it out or encode it"
        ) from None
    if values.isna().any():
        raise ValueError(f"`context`: column {column.name!r} of {path.name} has empty cells; fill them")
    return values.to_numpy()


def _of_samples(value: Value, labels: pd.Index | None, count: int, dim: Hashable) -> xr.DataArray:
    """A value for the samples with these labels, along `dim`."""
    a = value.values if dim not in value.values.dims else value.values.transpose(dim, ...)
    index = a.indexes.get(a.dims[0])
    if index is None or (labels is None and index.equals(pd.RangeIndex(count))):
        if len(a) != count:
            raise ValueError(
                f"`context`: {value.source} has {len(a)} rows without labels, the data have {count} samples"
            )
        a = a.drop_vars(list(a.coords))
    elif labels is None:
        raise ValueError(
            f"`context`: {value.source} names its samples, but the data have no labels; pass rows in their order as .npy"
        )
    else:
        if not index.is_unique:
            raise ValueError(f"`context`: {value.source} has {index[index.duplicated()][0]!r} more than once")
        places = pd.Index(index.astype(str)).get_indexer(labels.astype(str))
        lacking = labels[places < 0]
        if len(lacking):
            more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
            raise ValueError(
                f"`context`: {value.source} lacks the samples {', '.join(map(repr, lacking[:3].tolist()))}{more}; it has "
                f"{', '.join(map(repr, index[:3].tolist()))}, ..."
            )
        a = a[places].drop_vars(list(a.coords)).assign_coords({a.dims[0]: labels})
    others = {d: f"context_{d}" for d in a.dims[1:] if d == dim}
    return a.rename(others | ({} if a.dims[0] == dim else {a.dims[0]: dim}))
