"""The samples of a cohort and the options that have an entry for each, cut into blocks: from a file or labelled arrays."""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import nn

from attrib._arguments import list_of
from attrib.engine.model.companions import Shared, each, values_of
from attrib.io import opened
from attrib.labels import labelled_inputs
from attrib.labels.align import frame_of
from attrib.labels.frames import annotated_array, is_anndata, is_table, table_array

BLOCK_BYTES = (
    16 << 20
)  # of inputs in an automatic block: workers stay small, and compute much longer than they read
MOST_SAMPLES = 256
INPUT = "attrib_input"  # the name of an input that came without one
PLAIN = (
    bool,
    int,
    float,
    str,
    tuple,
    list,
    dict,
    np.ndarray,
    torch.Tensor,
)  # what a closure holds and a digest can tell apart
ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # another one in each process
Labelled = xr.DataArray | xr.Dataset

PER_SAMPLE = ("target", "targets")  # where a list, or an array with a dim, has an entry for each sample


@dataclass(frozen=True)
class Source:
    """Inputs of a model, and what else it takes, as variables of one Dataset.

    Attributes
    ----------
    path : str or None
        The file. Its arrays are opened in each process anew.
    arrays : Dataset or None
        The arrays, where they come from no file.
    inputs : tuple of str
        Variables that are explained, in the order of the model's arguments.
    single : bool
        Whether the model gets one input by itself.
    arguments : tuple, mapping or Beside
        `additional_forward_args`: names of variables, and other values.
    dims : tuple
        The sample dims. Blocks are cut along the first of them.
    """

    path: str | None
    arrays: xr.Dataset | None
    inputs: tuple[str, ...]
    single: bool
    arguments: Any
    dims: tuple[Hashable, ...]

    def opened(self) -> Source:
        """The same, its arrays opened in this process."""
        return (
            self
            if self.path is None or self.arrays is not None
            else replace(self, arrays=_without_levels(opened(self.path)))
        )

    def shipped(self) -> Source:
        """The same, for another process: without arrays. Blocks of arrays that come from no file are sent one by one."""
        return replace(self, arrays=None)

    @property
    def dataset(self) -> xr.Dataset:
        """The variables that are used."""
        assert self.arrays is not None
        return self.arrays[[*self.inputs, *_names(self.arguments, self.arrays)]]

    @property
    def size(self) -> int:
        """Number of samples along the dim that is cut."""
        return self.dataset.sizes[self.dims[0]]

    def block(self, start: int, stop: int) -> xr.Dataset:
        """Some samples, not yet read."""
        return self.dataset.isel({self.dims[0]: slice(start, stop)})

    def explained(self, ds: xr.Dataset) -> Labelled:
        """The inputs among the variables of some samples, as methods take them."""
        return ds[self.inputs[0]] if self.single else ds[list(self.inputs)]

    def additional(self, ds: xr.Dataset) -> Any:
        """`additional_forward_args` of some samples."""
        return each(self.arguments, lambda v: ds[v] if _is_name(v, ds) else v)


def source(
    data: Any,
    inputs: str | Sequence[str] | None,
    arguments: Any,
    sample_dims: Hashable | Sequence[Hashable] | None,
) -> Source:
    """The inputs and arguments among the arrays of a file, a DataArray or a Dataset.

    Raises
    ------
    TypeError
        For data of another kind.
    ValueError
        For variables that do not exist, and inputs that do not fit each other.
    """
    path = os.fspath(data) if isinstance(data, str | os.PathLike) else None
    if path is not None:
        arrays = opened(path)
        path = path if "://" in path else str(Path(path).resolve())
    elif is_table(data) or is_anndata(data):
        a = annotated_array(data, name="data") if is_anndata(data) else table_array(data, None, "data")
        arrays = a.to_dataset(name=INPUT, promote_attrs=False)
    elif isinstance(data, xr.DataArray):
        arrays = data.to_dataset(name=INPUT, promote_attrs=False)
    elif isinstance(data, xr.Dataset):
        arrays = data
    else:
        raise TypeError(
            f"`data` is a {type(data).__name__}, expected the path of a Zarr or netCDF file, a DataArray, a Dataset, a DataFrame or AnnData"
        )
    if isinstance(arguments, str | Shared) or not isinstance(arguments, tuple | list | Mapping):
        raise TypeError(
            f"`additional_forward_args` is {arguments!r}, expected a tuple or a mapping: ({arguments!r},)"
            if isinstance(arguments, str)
            else f"`additional_forward_args` is a {type(arguments).__name__}, expected a tuple of values or a mapping; for one "
            "value pass (value,)"
        )
    others = _names(arguments, arrays)
    names = (
        [inputs]
        if isinstance(inputs, str)
        else [str(n) for n in arrays.data_vars if n not in others]
        if inputs is None
        else list_of("inputs", inputs)
    )
    missing = [n for n in names if n not in arrays.data_vars]
    if missing or not names:
        raise ValueError(
            f"`inputs` has {missing or 'no names'}, but `data` has the variables {', '.join(map(str, arrays.data_vars))}"
        )
    samples = Source(path, _without_levels(arrays), tuple(names), len(names) == 1, arguments, ())
    samples = replace(
        samples, dims=labelled_inputs(samples.explained(samples.dataset), sample_dims).sample_dims
    )
    if not samples.dims or not samples.size:
        raise ValueError(f"`data` has no samples along {samples.dims or 'any dim'}")
    apart = [n for n in others if samples.dims[0] not in arrays[n].dims]
    if apart:
        raise ValueError(
            f"`additional_forward_args` names {apart}, which lack the sample dim {samples.dims[0]!r}; pass the values"
        )
    return samples


def _names(arguments: Any, ds: xr.Dataset) -> list[str]:
    return [v for v in values_of(arguments) if _is_name(v, ds)]


def _is_name(value: Any, ds: xr.Dataset) -> bool:
    return isinstance(value, str) and value in ds.data_vars


def _without_levels(ds: xr.Dataset) -> xr.Dataset:
    """MultiIndexes as plain coords, which a Zarr store can hold."""
    several = [d for d in ds.dims if isinstance(ds.indexes.get(d), pd.MultiIndex)]
    return ds.reset_index(several) if several else ds


def block_size(samples: Source, block: int | str) -> int:
    """Samples in a block; `"auto"` fits the bytes of a sample and the chunks of the file.

    Raises
    ------
    ValueError
        If it is neither a positive int nor "auto".
    """
    if block != "auto":
        if isinstance(block, bool) or not isinstance(block, int) or block < 1:
            raise ValueError(f'`block` is {block!r}, expected a positive int or "auto"')
        return min(block, samples.size)
    ds, dim = samples.dataset, samples.dims[0]
    nbytes = sum(v.nbytes for v in ds.data_vars.values() if dim in v.dims) // samples.size
    most = min(samples.size, MOST_SAMPLES, max(1, BLOCK_BYTES // max(nbytes, 1)))
    first = ds[samples.inputs[0]]
    chunk = dict(
        zip(first.dims, first.encoding.get("chunks") or first.encoding.get("chunksizes") or (), strict=False)
    ).get(dim)
    if first.chunks is not None:
        chunk = first.variable.chunksizes[dim][0]
    if not chunk or chunk >= samples.size:
        return most
    if chunk <= most:
        return most // chunk * chunk
    return next(chunk // k for k in range(-(-chunk // most), chunk + 1) if chunk % k == 0)


def is_lazy(ds: xr.Dataset) -> bool:
    """Whether Dask computes any of its arrays; `ds.chunks` refuses arrays that are cut differently."""
    return any(v.chunks is not None for v in ds.variables.values())


def loaded(ds: xr.Dataset) -> xr.Dataset:
    """A block in memory, read by this thread alone."""
    if not is_lazy(ds):
        return ds.load()
    import dask

    with dask.config.set(scheduler="synchronous"):
        return ds.compute()


def checksum(ds: xr.Dataset) -> int:
    """Of the values of a block."""
    crc = 0
    for name in ds.data_vars:
        values = np.ascontiguousarray(ds[name].values)
        crc = zlib.crc32(
            values.view(np.uint8).data
            if values.dtype.kind in "biuf" and values.size
            else repr(values).encode(),
            crc,
        )
    return crc


def labels_digest(samples: Source) -> str:
    """Of all that names the samples and their entries: variables, dims, sizes, dtypes, coords."""
    ds = samples.dataset
    parts: list[Any] = [
        [(str(k), v.dims, v.shape, str(v.dtype)) for k, v in ds.data_vars.items()],
        samples.dims,
    ]
    parts += sorted((str(k), digest_of(v.variable)) for k, v in ds.coords.items())
    return digest_of(parts)


def stamp(path: str | None) -> str | None:
    """Of the names, sizes and times of the files that `path` consists of; None where it cannot tell."""
    if path is None or "://" in path:
        return None
    root = Path(path)
    files = [root] if root.is_file() else sorted(f for f in root.rglob("*") if f.is_file())
    return digest_of([(str(f.relative_to(root)), f.stat().st_size, f.stat().st_mtime_ns) for f in files])


def digest_of(value: Any) -> str:
    """A short digest of an option: of the values of arrays, and of the code of functions."""
    sha256 = hashlib.sha256()
    _feed(sha256, value)
    return sha256.hexdigest()[:16]


def _feed(sha256: Any, value: Any) -> None:
    if isinstance(value, Mapping) and not isinstance(value, xr.Dataset):
        value = sorted(((str(k), v) for k, v in value.items()), key=lambda entry: entry[0])
    if isinstance(value, list | tuple):
        sha256.update(f"{len(value)}[".encode())
        for entry in value:
            _feed(sha256, entry)
    elif isinstance(value, xr.Dataset):
        _feed(sha256, {str(k): v for k, v in value.variables.items()})
    elif isinstance(value, xr.DataArray):
        _feed(sha256, [value.variable, {str(k): v.variable for k, v in value.coords.items()}])
    elif isinstance(value, xr.Variable):
        _feed(sha256, [value.dims, value.values])
    elif isinstance(value, pd.Series | pd.DataFrame | pd.Index):
        _feed(sha256, [np.asarray(value), list(map(str, getattr(value, "index", ())))])
    elif isinstance(value, torch.Tensor):
        _feed(
            sha256,
            value.detach().cpu().float().numpy()
            if value.dtype == torch.bfloat16
            else value.detach().cpu().numpy(),
        )
    elif isinstance(value, np.ndarray):
        spelled = value.dtype.kind in "OUT"  # texts are the same in each of their dtypes
        sha256.update(f"{'U' if spelled else value.dtype.kind}{value.shape}".encode())
        sha256.update(
            repr(value.tolist()).encode()
            if spelled or value.dtype.kind == "S"
            else np.ascontiguousarray(value).tobytes()
        )
    elif isinstance(value, nn.Module):
        _feed(sha256, [repr(value), list(value.state_dict().values())])
    elif callable(value) and hasattr(value, "func"):  # functools.partial
        _feed(sha256, [value.func, list(value.args), dict(value.keywords)])
    elif callable(value):
        name = getattr(value, "__qualname__", type(value).__name__)
        sha256.update(f"{getattr(value, '__module__', '')}.{name}".encode())
        if hasattr(value, "__code__"):
            _feed_code(sha256, value.__code__)
            _feed(
                sha256,
                [c.cell_contents for c in value.__closure__ or () if isinstance(c.cell_contents, PLAIN)],
            )
    elif isinstance(value, set | frozenset):
        _feed(sha256, sorted(map(repr, value)))
    else:
        sha256.update(f"{type(value).__name__}:{ADDRESS.sub('', repr(value))}".encode())


def _feed_code(sha256: Any, code: Any) -> None:
    """What a function does, by names, constants and instructions; the same in every process."""
    sha256.update(code.co_code)
    for constant in code.co_consts:
        if hasattr(constant, "co_code"):
            _feed_code(sha256, constant)
        else:
            _feed(sha256, constant)
    _feed(sha256, code.co_names)


def aligned(options: Mapping[str, Any], x: Labelled, dims: tuple) -> dict[str, Any]:
    """The options, labelled ones with the samples in the order of the inputs.

    Raises
    ------
    ValueError
        For labels along a sample dim that are not those of the inputs.
    """
    return {name: _aligned(name, value, x, dims) for name, value in options.items()}


def aligned_beside(values: Any, x: Labelled, dims: tuple) -> Any:
    """`additional_forward_args` with the samples in the order of the inputs, in the form that they have.

    Raises
    ------
    ValueError
        As `aligned`.
    """
    name = "additional_forward_args"
    return each(values, lambda v: _aligned(name, frame_of(v, name) if is_anndata(v) else v, x, dims))


def _aligned(name: str, value: Any, x: Labelled, dims: tuple) -> Any:
    if isinstance(value, pd.Series) and name in PER_SAMPLE and len(dims) == 1:
        labels = value.index if dims[0] in x.indexes and not isinstance(value.index, pd.RangeIndex) else None
        value = xr.DataArray(value.to_numpy(), dims=dims, coords={} if labels is None else {dims[0]: labels})
    if isinstance(value, Shared):
        return value
    if isinstance(value, pd.Series | pd.DataFrame) and _of_samples(value, x, dims):
        return value.loc[x.indexes[dims[0]]]
    if isinstance(value, xr.DataArray | xr.Dataset):
        for d in dims:
            if d not in value.dims:
                continue
            if value.sizes[d] not in (1, x.sizes[d]):
                raise ValueError(f"`{name}` has size {value.sizes[d]} along {d!r}, `data` has {x.sizes[d]}")
            both = d in value.indexes and d in x.indexes and value.sizes[d] == x.sizes[d]
            if both and not value.indexes[d].equals(x.indexes[d]):
                if not value.indexes[d].is_unique or set(value.indexes[d]) != set(x.indexes[d]):
                    raise ValueError(
                        f"`{name}` and `data` have different labels along {d!r}; select the same ones in both"
                    )
                value = value.reindex({d: x.indexes[d]})
        return value
    if isinstance(value, dict):
        return {k: _aligned(name, v, x, dims) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(_aligned(name, v, x, dims) for v in value)
    return value


def _of_samples(table: pd.Series | pd.DataFrame, x: Labelled, dims: tuple) -> bool:
    """Whether the rows of a table are the samples, by their labels."""
    labels = x.indexes.get(dims[0]) if len(dims) == 1 else None
    return labels is not None and table.index.is_unique and set(table.index) == set(labels)


def cut_beside(values: Any, samples: slice, x: Labelled, dims: tuple) -> Any:
    """`additional_forward_args` for some samples; arrays without a row for each of all samples are marked as shared.

    Else an array of as many rows as there are samples in a block would be taken for one with a row for each.
    """

    def of_block(value: Any) -> Any:
        of_samples = _cut("additional_forward_args", value, samples, x, dims, tuple(range(1, 9)))
        if of_samples is not value or x.sizes[dims[0]] == 1:
            return of_samples
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiub" and value.ndim:
            return xr.DataArray(value, dims=[f"shared_dim_{k}" for k in range(value.ndim)])
        return Shared(value) if isinstance(value, torch.Tensor) else value

    return each(values, of_block)


def cut(
    options: Mapping[str, Any], samples: slice, x: Labelled, dims: tuple, ranks: tuple[int, ...]
) -> dict[str, Any]:
    """The options for some samples.

    Parameters
    ----------
    options : mapping
        For all samples, `aligned`.
    samples : slice
        Along the first sample dim.
    x : DataArray or Dataset
        All inputs.
    dims : tuple
        The sample dims.
    ranks : tuple of int
        Numbers of dims that an array without labels has if it has an entry for each sample; the first of them is theirs.
    """
    return {name: _cut(name, value, samples, x, dims, ranks) for name, value in options.items()}


def _cut(name: str, value: Any, samples: slice, x: Labelled, dims: tuple, ranks: tuple[int, ...]) -> Any:
    size = x.sizes[dims[0]]
    if isinstance(value, Shared):
        return value
    if isinstance(value, pd.Series | pd.DataFrame):
        return value.iloc[samples] if _of_samples(value, x, dims) else value
    if isinstance(value, xr.DataArray | xr.Dataset):
        return value.isel({dims[0]: samples}) if value.sizes.get(dims[0]) == size > 1 else value
    if isinstance(value, np.ndarray | torch.Tensor):
        rank = (len(dims),) if name in PER_SAMPLE else ranks
        return value[samples] if value.ndim in rank and len(value) == size > 1 else value
    if isinstance(value, list) and name == "target" and len(value) == size and len(dims) == 1:
        return value[samples]
    if isinstance(value, list) and name == "targets":
        return [
            _cut("target", v, samples, x, dims, ranks)
            if isinstance(v, list | np.ndarray | torch.Tensor | xr.DataArray)
            else v
            for v in value
        ]
    if isinstance(value, dict):
        return {k: _cut(name, v, samples, x, dims, ranks) for k, v in value.items()}
    if isinstance(value, tuple) and name not in PER_SAMPLE:
        return tuple(_cut(name, v, samples, x, dims, ranks) for v in value)
    return value
